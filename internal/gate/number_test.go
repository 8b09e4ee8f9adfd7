package gate

import (
	"testing"

	"github.com/nyaruka/phonenumbers/v2"
)

var testCountries = []string{"FR", "GP", "GF", "MQ", "RE", "YT", "BL", "MF", "PM"}

func TestOneNumberHasManySpellings(t *testing.T) {
	for _, input := range []string{
		"0639980001", "06 39 98 00 01", "06.39.98.00.01", "06-39-98-00-01", " 0639980001 ", "0639 980 001",
		"+33639980001", "+33 6 39 98 00 01", "+33 (0)6 39 98 00 01", "0033639980001", "00 33 6 39 98 00 01",
		"33639980001", "639980001", "(06) 39 98 00 01", "06\u00a039\u00a098\u00a000\u00a001", "06\u202f39 98\u2009 00 01",
		"06/39/98/00/01", "06\u201139\u201198\u201100\u201101",
	} {
		n, code := parseNumber(input, "FR", testCountries)
		if code != "" || n.E164 != "+33639980001" || n.Region != "FR" {
			t.Errorf("%q: %+v %s", input, n, code)
		}
	}
}

func TestNumbersThatCannotBeVerified(t *testing.T) {
	example := func(region string, kind phonenumbers.PhoneNumberType) string {
		return phonenumbers.Format(phonenumbers.GetExampleNumberForTypeInRegion(region, kind), phonenumbers.E164)
	}
	for name, c := range map[string]struct {
		input string
		want  Code
	}{
		"empty":              {"", NumberInvalid},
		"words":              {"zero six", NumberInvalid},
		"vanity letters":     {"06 39 FREE 01", NumberInvalid},
		"an extension":       {"0639980001;ext=5", NumberInvalid},
		"x extension":        {"0639980001 x5", NumberInvalid},
		"digits of a script": {"٠٦٣٩٩٨٠٠٠١", NumberInvalid},
		"full-width digits":  {"０６３９９８０００１", NumberInvalid},
		"a tel URI":          {"tel:+33639980001", NumberInvalid},
		"too short":          {"06 39 98", NumberInvalid},
		"a digit too many":   {"06399800011", NumberInvalid},
		"over the bound":     {"06 39 98 00 01                              ", ""},
		"over the bound, no": {"0" + "6 3 9 9 8 0 0 0 1 6 3 9 9 8 0 0 0 1", NumberInvalid},
		"two numbers":        {"0639980001/0639980002", NumberInvalid},
		"emergency":          {"112", NumberInvalid},
		"two plus signs":     {"++33639980001", NumberInvalid},
		"a landline":         {example("FR", phonenumbers.FIXED_LINE), NumberUnsupported},
		"premium rate":       {example("FR", phonenumbers.PREMIUM_RATE), NumberUnsupported},
		"toll free":          {example("FR", phonenumbers.TOLL_FREE), NumberUnsupported},
		"VoIP":               {example("FR", phonenumbers.VOIP), NumberUnsupported},
		"another country":    {example("GB", phonenumbers.MOBILE), NumberUnsupported},
		"satellite":          {"+881612345678", NumberUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			if _, code := parseNumber(c.input, "FR", testCountries); code != c.want {
				t.Errorf("%q: %q, want %q", c.input, code, c.want)
			}
		})
	}
}

func TestOverseasNumbersAreUnderstoodAsTypedThere(t *testing.T) {
	for _, region := range []string{"GP", "GF", "MQ", "RE", "YT"} {
		example := phonenumbers.GetExampleNumberForTypeInRegion(region, phonenumbers.MOBILE)
		national := phonenumbers.Format(example, phonenumbers.NATIONAL)
		n, code := parseNumber(national, "FR", testCountries)
		if want := phonenumbers.Format(example, phonenumbers.E164); code != "" || n.E164 != want || n.Region != region {
			t.Errorf("%s, %s: %+v %s, want %s", region, national, n, code, want)
		}
	}
}

func TestMaskHidesAllButTheEnds(t *testing.T) {
	for e164, want := range map[string]string{
		"+33639980001": "+33 6 •• •• •• 01",
		"not a number": "••••",
		"":             "••••",
	} {
		if got := Mask(e164); got != want {
			t.Errorf("Mask(%q) = %q, want %q", e164, got, want)
		}
	}
}

func FuzzParseNumber(f *testing.F) {
	for _, seed := range []string{"0639980001", "+33 (0)6 39 98 00 01", "tel:+33", "0033", "(+", "+262"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		n, code := parseNumber(input, "FR", testCountries)
		if code != "" {
			return
		}
		again, code := parseNumber(n.E164, "FR", testCountries)
		if code != "" || again != n {
			t.Errorf("%q is %+v, which is %+v %s", input, n, again, code)
		}
		if masked := Mask(n.E164); masked == n.E164 || len(masked) < 8 {
			t.Errorf("%q is masked as %q", n.E164, masked)
		}
	})
}
