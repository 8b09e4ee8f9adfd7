package phone

import (
	"errors"
	"testing"

	"github.com/nyaruka/phonenumbers/v2"
)

// rulesOf accepts numbers of countries that a provider understands in format.
func rulesOf(format Format, countries ...string) *Rules {
	return &Rules{Region: "FR", Countries: countries, Understands: func(e164 string) bool {
		_, ok := Wire(e164, format)
		return ok
	}}
}

var defaults = rulesOf(National, frenchCountries...)

func TestOneNumberHasManySpellings(t *testing.T) {
	for _, input := range []string{
		"0639980001", "06 39 98 00 01", "06.39.98.00.01", "06-39-98-00-01", " 0639980001 ", "0639 980 001",
		"+33639980001", "+33 6 39 98 00 01", "+33 (0)6 39 98 00 01", "0033639980001", "00 33 6 39 98 00 01",
		"33639980001", "639980001", "(06) 39 98 00 01", "06\u00a039\u00a098\u00a000\u00a001", "06\u202f39 98\u2009 00 01",
		"06/39/98/00/01", "06\u201139\u201198\u201100\u201101",
	} {
		n, err := Parse(input, defaults)
		if err != nil || n.E164 != "+33639980001" || n.Region != "FR" {
			t.Errorf("%q: %+v %v", input, n, err)
		}
	}
}

func example(region string, kind phonenumbers.PhoneNumberType) string {
	return phonenumbers.Format(phonenumbers.GetExampleNumberForTypeInRegion(region, kind), phonenumbers.E164)
}

func TestNumbersThatCannotBeVerified(t *testing.T) {
	for name, c := range map[string]struct {
		input string
		want  error
	}{
		"empty":              {"", ErrInvalid},
		"words":              {"zero six", ErrInvalid},
		"vanity letters":     {"06 39 FREE 01", ErrInvalid},
		"an extension":       {"0639980001;ext=5", ErrInvalid},
		"x extension":        {"0639980001 x5", ErrInvalid},
		"digits of a script": {"٠٦٣٩٩٨٠٠٠١", ErrInvalid},
		"full-width digits":  {"０６３９９８０００１", ErrInvalid},
		"a tel URI":          {"tel:+33639980001", ErrInvalid},
		"too short":          {"06 39 98", ErrInvalid},
		"a digit too many":   {"06399800011", ErrInvalid},
		"over the bound":     {"06 39 98 00 01                              ", nil},
		"over the bound, no": {"0" + "6 3 9 9 8 0 0 0 1 6 3 9 9 8 0 0 0 1", ErrInvalid},
		"two numbers":        {"0639980001/0639980002", ErrInvalid},
		"emergency":          {"112", ErrInvalid},
		"two plus signs":     {"++33639980001", ErrInvalid},
		"a landline":         {example("FR", phonenumbers.FIXED_LINE), ErrUnsupported},
		"premium rate":       {example("FR", phonenumbers.PREMIUM_RATE), ErrUnsupported},
		"toll free":          {example("FR", phonenumbers.TOLL_FREE), ErrUnsupported},
		"VoIP":               {example("FR", phonenumbers.VOIP), ErrUnsupported},
		"another country":    {example("GB", phonenumbers.MOBILE), ErrUnsupported},
		"satellite":          {"+881612345678", ErrUnsupported},

		"a territory's number as a metropolitan one": {"+33690001234", ErrUnsupported},
		"the same, by 00":                       {"0033690001234", ErrUnsupported},
		"a metropolitan number as Guadeloupe's": {"+590639980001", ErrUnsupported},
		"as French Guiana's":                    {"+594639980001", ErrUnsupported},
		"as Martinique's":                       {"+596639980001", ErrUnsupported},
		"as Réunion's":                          {"+262639980001", ErrUnsupported},
		"as Saint-Pierre's":                     {"+508639980001", ErrUnsupported},
		"Guadeloupe's as Réunion's":             {"+262690001234", ErrUnsupported},
		"an unknown range of Martinique":        {"+596698001234", ErrUnsupported},
		"a range that nobody has":               {"0709901234", ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			if n, err := Parse(c.input, defaults); !errors.Is(err, c.want) {
				t.Errorf("%q: %+v %v, want %v", c.input, n, err, c.want)
			}
		})
	}
}

// Nobody has +33 690…, whatever the format in which numbers are sent.
func TestTerritorysNumberIsNoMetropolitanOneInAnyFormat(t *testing.T) {
	for _, format := range Formats {
		for _, input := range []string{"+33690001234", "+33691221234", "+33692001234", "+33693001234", "+33694001234", "+33696001234", "+33697001234",
			"+33639001234", "+33708401234", "+33709001234", "+262639980001", "+590639980001", "+594639980001", "+596639980001"} {
			if n, err := Parse(input, rulesOf(format, frenchCountries...)); !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s as %s: %+v %v", input, format, n, err)
			}
		}
	}
}

func TestOverseasNumbersAreUnderstoodAsTypedThere(t *testing.T) {
	for _, region := range []string{"GP", "GF", "MQ", "RE", "YT", "PM"} {
		want := example(region, phonenumbers.MOBILE)
		typed, ok := Wire(want, National)
		if !ok {
			t.Fatalf("%s has no national form", want)
		}
		for _, from := range frenchCountries {
			rules := *defaults
			rules.Region = from
			if n, err := Parse(typed, &rules); err != nil || n.E164 != want || n.Region != region {
				t.Errorf("%s, %s typed in %s: %+v %v, want %s", region, typed, from, n, err, want)
			}
		}
	}
}

// Numbering plans of several countries overlap.
func TestNationalNumberIsOfTheRegionThenOfWhereItIsValid(t *testing.T) {
	for name, c := range map[string]struct {
		input, region string
		format        Format
		countries     []string
		want          string
	}{
		"a number of the region":                {"0639980001", "FR", E164, []string{"FR", "MA"}, "+33639980001"},
		"the order of the countries is nothing": {"0639980001", "FR", E164, []string{"MA", "FR"}, "+33639980001"},
		"the other region":                      {"0639980001", "MA", E164, []string{"FR", "MA"}, "+212639980001"},
		"of the region, which is not accepted":  {"0639980001", "FR", E164, []string{"MA"}, ""},
		"of a territory that is not accepted":   {"0690001234", "FR", E164, []string{"FR", "MA"}, ""},
		"the same without its 0":                {"690001234", "FR", MSISDN, []string{"FR", "ES", "MA"}, ""},
		"of one other country":                  {"0639016459", "BE", E164, []string{"BE", "MA"}, "+212639016459"},
		"of two others, either's":               {"0639016459", "BE", E164, []string{"BE", "MA", "NL"}, ""},
		"the same in the other order":           {"0639016459", "BE", E164, []string{"BE", "NL", "MA"}, ""},
		"one that territories share":            {"0692001234", "BE", E164, append([]string{"BE"}, frenchCountries...), "+262692001234"},
		"of a territory that is accepted":       {"0690001234", "FR", E164, []string{"FR", "MA", "GP"}, "+590690001234"},
		"not understood elsewhere":              {"0690001234", "FR", National, []string{"FR", "MA"}, ""},
		"a territory's in one that shares":      {"0692001234", "YT", National, []string{"YT", "RE"}, "+262692001234"},
		"fiction, typed on Mayotte":             {"0639980001", "YT", National, []string{"YT", "FR"}, "+33639980001"},
		"fiction, where Mayotte alone is":       {"0639980001", "YT", National, []string{"YT"}, ""},
		"metropolitan, where Réunion alone is":  {"0639980001", "RE", National, []string{"RE"}, ""},
		"fiction, typed on Réunion, without 0":  {"639980001", "RE", National, frenchCountries, "+33639980001"},
		"fiction, typed on Réunion, by 33":      {"33639980001", "RE", National, frenchCountries, "+33639980001"},
		"a landline of the region":              {"0199000001", "FR", E164, []string{"FR", "MA"}, ""},
		"Saint-Pierre's six digits":             {"0508551234", "FR", National, []string{"FR", "PM"}, "+508551234"},
		"the same as typed there":               {"551234", "PM", National, []string{"PM"}, "+508551234"},
		"the same where it is not accepted":     {"0508551234", "FR", National, []string{"FR"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			rules := rulesOf(c.format, c.countries...)
			rules.Region = c.region
			n, err := Parse(c.input, rules)
			if n.E164 != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%s: %+v %v, want %q", c.input, n, err, c.want)
			}
		})
	}
}

// A site that accepts FR and MA knows a customer of Guadeloupe by 0690…. Whoever has
// the SIM of +212690… is somebody else.
func TestKnownNumberOfATerritoryIsNotAStrangersMoroccanOne(t *testing.T) {
	for _, format := range []Format{E164, MSISDN, IDD} {
		rules := rulesOf(format, "FR", "MA", "DZ", "TN", "SN", "CI")
		for _, known := range []string{"0690001234", "0694001234", "0696 00 12 34", "0692001234", "0639001234", "0708401234", "690001234", "0709001234", "0709401234", "0709341234"} {
			if n, err := Parse(known, rules); !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s as %s: %+v %v", known, format, n, err)
			}
		}
	}
}

// The library's metadata tells which countries these are.
func TestCountriesWhoseNumbersAreAllAnothers(t *testing.T) {
	for country, numbers := range mobiles(t) {
		of := make(map[string]int)
		for seed := range 100 {
			parsed, err := phonenumbers.Parse(numbers.Example(seed), "")
			if err != nil {
				t.Fatal(err)
			}
			of[regionOf(parsed)]++
		}
		other, isOthers := TakenFor[country]
		if isOthers != (of[country] == 0) || isOthers && of[other] != 100 {
			t.Errorf("numbers of %s are taken for those of %v", country, of)
		}
	}
}

func TestMaskHidesAllButTheEnds(t *testing.T) {
	for e164, want := range map[string]string{
		"+33639980001":  "+33 6 •• •• •• 01",
		"+33709901234":  "+33 7 •• •• •• 34",
		"+590690001234": "+590 6•• •• •• 34",
		"+262639980001": "+262 6•• •• •• 01",
		"+508551234":    "+508 5• •• 34",
		"+508708401234": "+508 7•• ••• •34",
		"not a number":  "••••",
		"":              "••••",
	} {
		if got := Mask(e164); got != want {
			t.Errorf("Mask(%q) = %q, want %q", e164, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0639980001", "+33 (0)6 39 98 00 01", "tel:+33", "0033", "(+", "+262", "0508551234", "+590639980001", "0708401234", "33690001234"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, input string) {
		n, err := Parse(input, defaults)
		if err != nil {
			return
		}
		again, err := Parse(n.E164, defaults)
		if err != nil || again != n {
			t.Errorf("%q is %+v, which is %+v %v", input, n, again, err)
		}
		wire, ok := Wire(n.E164, National)
		if typed, err := Parse(wire, defaults); !ok || err != nil || typed != n {
			t.Errorf("%q goes out as %q, which is %+v %v", input, wire, typed, err)
		}
		if masked := Mask(n.E164); masked == n.E164 || len(masked) < 8 {
			t.Errorf("%q is masked as %q", n.E164, masked)
		}
	})
}
