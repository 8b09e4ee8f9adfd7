package phone

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers/v2"
	"pgregory.net/rapid"
)

// The plan as a person reads it: the dialled digits, and the number in E.164.
func TestFrenchPlanByHand(t *testing.T) {
	for dialled, want := range map[string]string{
		"0600000000":  "+33600000000", // metropolitan France
		"0638999999":  "+33638999999",
		"0640000000":  "+33640000000",
		"0689999999":  "+33689999999",
		"0695000000":  "+33695000000",
		"0698000000":  "+33698000000",
		"0699999999":  "+33699999999",
		"0700000000":  "+33700000000",
		"0707999999":  "+33707999999",
		"0710000000":  "+33710000000",
		"0799999999":  "+33799999999",
		"0639000000":  "+262639000000", // Mayotte, around the numbers for fiction
		"0639979999":  "+262639979999",
		"0639980000":  "+33639980000",
		"0639980001":  "+33639980001",
		"0639989999":  "+33639989999",
		"0639990000":  "+262639990000",
		"0639999999":  "+262639999999",
		"0709350000":  "+262709350000",
		"0709379999":  "+262709379999",
		"0690000000":  "+590690000000", // Guadeloupe
		"0691999999":  "+590691999999",
		"0709000000":  "+590709000000",
		"0709099999":  "+590709099999",
		"0692000000":  "+262692000000", // Réunion
		"0693999999":  "+262693999999",
		"0709200000":  "+262709200000",
		"0709299999":  "+262709299999",
		"0694000000":  "+594694000000", // French Guiana
		"0694999999":  "+594694999999",
		"0709300000":  "+594709300000",
		"0709339999":  "+594709339999",
		"0696000000":  "+596696000000", // Martinique
		"0697999999":  "+596697999999",
		"0709100000":  "+596709100000",
		"0709199999":  "+596709199999",
		"0508000000":  "+508000000", // Saint-Pierre-et-Miquelon
		"0508551234":  "+508551234",
		"0708000000":  "+508708000000",
		"0708999999":  "+508708999999",
		"0709340000":  "", // nobody's
		"0709380000":  "",
		"0709400000":  "",
		"0709999999":  "",
		"0199000001":  "", // no mobile numbers
		"0507551234":  "",
		"0509551234":  "",
		"0800000000":  "",
		"0999999999":  "",
		"0039980001":  "",
		"1639980001":  "", // not dialled like this
		"639980001":   "",
		"06399800011": "",
		"063998000":   "",
		"06 3998000":  "",
		"+639980001":  "",
		"063998000x":  "",
		"":            "",
	} {
		got, ok := FromWire(dialled, National)
		if got != want || ok != (want != "") {
			t.Errorf("%q is read as %q, want %q", dialled, got, want)
		}
		if want == "" {
			continue
		}
		if back, ok := Wire(want, National); !ok || back != dialled {
			t.Errorf("%s is written as %q %v, want %q", want, back, ok, dialled)
		}
	}
}

// A provider would take these for another number, or for none.
func TestNumbersThatHaveNoFormOfTheirOwn(t *testing.T) {
	all := slices.Clone(Formats)
	for number, refused := range map[string][]Format{
		"+33639980001": {}, "+508551234": {}, "+262639001234": {},
		"+590639980001": {National}, "+594639980001": {National}, "+596639980001": {National}, "+262639980001": {National}, "+508639980001": {National},
		"+590692001234": {National}, "+262690001234": {National}, "+33690001234": {National}, "+33639001234": {National}, "+33508551234": {National},
		"+508508551234": {National}, "+508708": {National}, "+5085512345": {National},
		"+212639980001": {National}, "+32470123456": {National}, "+441632960001": {National},
		"": all, "+": all, "33639980001": all, "0639980001": all, "+0639980001": all, "0033639980001": all, "+33 639980001": all, "++33639980001": all,
		"+3363998000a": all, "+1234567890123456": all, "+1234": all,
	} {
		for _, format := range append(all, "", "National", "tel") {
			wire, ok := Wire(number, format)
			if want := slices.Contains(all, format) && !slices.Contains(refused, format); ok != want {
				t.Errorf("%q as %q: %q %v", number, format, wire, ok)
			}
		}
	}
}

// mobiles generates mobile numbers of each country, in E.164, from the library's
// patterns.
func mobiles(t *testing.T) map[string]*rapid.Generator[string] {
	t.Helper()
	collection, err := phonenumbers.MetadataCollection()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]*rapid.Generator[string])
	for _, m := range collection.GetMetadata() {
		pattern := m.GetMobile().GetNationalNumberPattern()
		if pattern == "" || pattern == "NA" || m.GetId() == "001" {
			continue
		}
		prefix := fmt.Sprintf("+%d", m.GetCountryCode())
		all[m.GetId()] = rapid.Map(rapid.StringMatching("(?:"+pattern+")"), func(national string) string { return prefix + national })
	}
	if len(all) < 200 {
		t.Fatalf("%d countries", len(all))
	}
	return all
}

// Tries numbers of every country, and their national parts under every other calling
// code. Each number that is accepted has a form of its own, which is read back as the
// same number.
func TestNumbersOfAllCountriesAreOneToOneWithWhatAProviderIsSent(t *testing.T) {
	numbers := mobiles(t)
	var countries, codes []string
	for country := range numbers {
		countries = append(countries, country)
		codes = append(codes, fmt.Sprintf("+%d", phonenumbers.GetCountryCodeForRegion(country)))
	}
	slices.Sort(countries)
	slices.Sort(codes)
	codes = slices.Compact(codes)
	rules := &Rules{Region: "FR", Countries: countries, Understands: func(string) bool { return true }}
	accepted := make(map[string]int) // by country
	rapid.Check(t, func(t *rapid.T) {
		country := rapid.SampledFrom(countries).Draw(t, "country")
		if rapid.Bool().Draw(t, "French plan") {
			country = rapid.SampledFrom(frenchCountries).Draw(t, "country of the French plan")
		}
		e164 := numbers[country].Draw(t, "number")
		national := strings.TrimPrefix(e164, fmt.Sprintf("+%d", phonenumbers.GetCountryCodeForRegion(country)))
		forms := make(map[string]string)
		for _, code := range codes {
			n, err := Parse(code+national, rules)
			if err != nil {
				continue
			}
			for _, format := range Formats {
				wire, ok := Wire(n.E164, format)
				if !ok {
					continue
				}
				accepted[n.Region]++
				if back, ok := FromWire(wire, format); !ok || back != n.E164 {
					t.Fatalf("%s goes out as %s %q, which is read as %q", n.E164, format, wire, back)
				}
				form := string(format) + " " + wire
				if other, ok := forms[form]; ok && other != n.E164 {
					t.Fatalf("%s and %s go out as the same %s", other, n.E164, form)
				}
				forms[form] = n.E164
			}
		}
	})
	if len(accepted) < 100 {
		t.Errorf("numbers of %d countries were accepted", len(accepted))
	}
}

// Compares the plan with the library's metadata: no number is left out, and each is
// sent as its owner dials it.
func TestEveryMobileNumberOfTheFrenchCountriesHasANationalForm(t *testing.T) {
	numbers := mobiles(t)
	for _, country := range frenchCountries {
		t.Run(country, func(t *testing.T) {
			code := fmt.Sprintf("+%d", phonenumbers.GetCountryCodeForRegion(country))
			rapid.Check(t, func(t *rapid.T) {
				e164 := numbers[country].Draw(t, "number")
				dialled := strings.Replace(e164, code, "0", 1)
				if len(dialled) == 7 {
					dialled = strings.Replace(e164, code, "0508", 1)
				}
				if wire, ok := Wire(e164, National); !ok || wire != dialled {
					t.Fatalf("%s goes out as %q, want %q", e164, wire, dialled)
				}
				if n, err := Parse(dialled, defaults); err != nil || n.E164 != e164 {
					t.Fatalf("%s is read as %+v %v, want %s", dialled, n, err, e164)
				}
			})
		})
	}
}
