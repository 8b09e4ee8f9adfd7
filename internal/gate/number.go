package gate

import (
	"slices"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers/v2"
)

// maxNumberInput bounds what is parsed as a number, in bytes.
const maxNumberInput = 32

// number is a mobile number that may be verified.
type number struct {
	E164   string
	Region string // ISO 3166-1
}

// ValidRegion tells whether s is a country with telephone numbers, in the upper
// case letters of ISO 3166-1.
func ValidRegion(s string) bool {
	return phonenumbers.GetCountryCodeForRegion(s) != 0
}

// parseNumber reads what a person typed. A national number is read as one of
// region; where that gives no number, as one of the accepted countries, so that
// 0692… is understood on Réunion although the site says FR.
func parseNumber(input, region string, countries []string) (number, Code) {
	input, ok := plainNumber(strings.TrimSpace(input))
	if !ok {
		return number{}, NumberInvalid
	}
	parsed, err := phonenumbers.Parse(input, region)
	if err != nil {
		return number{}, NumberInvalid
	}
	if !isInternational(input) && !phonenumbers.IsValidNumber(parsed) {
		if other, ok := parseElsewhere(input, countries); ok {
			parsed = other
		}
	}
	if phonenumbers.IsPossibleNumberWithReason(parsed) != phonenumbers.IS_POSSIBLE {
		return number{}, NumberInvalid
	}
	n := number{E164: phonenumbers.Format(parsed, phonenumbers.E164), Region: regionOf(parsed)}
	if !slices.Contains(countries, n.Region) || !maybeMobile(parsed) {
		return number{}, NumberUnsupported
	}
	return n, ""
}

// plainNumber folds the blanks and dashes that people and keyboards put into
// numbers. It refuses what the library would read besides: letters, extensions
// and the digits of other scripts.
func plainNumber(s string) (string, bool) {
	if len(s) > maxNumberInput || strings.LastIndexByte(s, '+') > 1 || strings.Count(s, "+") > 1 {
		return "", false
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case '0' <= r && r <= '9', strings.ContainsRune("+ .-/()", r):
			b.WriteRune(r)
		case unicode.Is(unicode.Zs, r), unicode.Is(unicode.Pd, r):
			b.WriteByte(' ')
		default:
			return "", false
		}
	}
	return b.String(), b.Len() > 0
}

func isInternational(s string) bool {
	return strings.HasPrefix(s, "+") || strings.HasPrefix(s, "(+") || strings.HasPrefix(s, "00")
}

func parseElsewhere(input string, countries []string) (*phonenumbers.PhoneNumber, bool) {
	for _, country := range countries {
		parsed, err := phonenumbers.Parse(input, country)
		if err == nil && phonenumbers.IsValidNumberForRegion(parsed, country) && maybeMobile(parsed) {
			return parsed, true
		}
	}
	return nil, false
}

// regionOf names the country of n. The library's metadata lags behind the
// regulators, so a number of a range that it does not know counts as one of the
// main country of its calling code.
func regionOf(n *phonenumbers.PhoneNumber) string {
	if region := phonenumbers.GetRegionCodeForNumber(n); region != "" {
		return region
	}
	return phonenumbers.GetRegionCodeForCountryCode(int(n.GetCountryCode()))
}

// maybeMobile tells whether n is not known to be anything but a mobile number.
// In France 06 and 07 are mobile, whatever the library knows of the range.
func maybeMobile(n *phonenumbers.PhoneNumber) bool {
	switch phonenumbers.GetNumberType(n) {
	case phonenumbers.MOBILE, phonenumbers.FIXED_LINE_OR_MOBILE:
		return true
	case phonenumbers.UNKNOWN:
		national := phonenumbers.GetNationalSignificantNumber(n)
		return n.GetCountryCode() != 33 || national[0] == '6' || national[0] == '7'
	default:
		return false
	}
}

// Mask hides all but the country code, the first digit and the last two:
// +33 6 •• •• •• 01.
func Mask(e164 string) string {
	parsed, err := phonenumbers.Parse(e164, "")
	if err != nil {
		return "••••"
	}
	formatted := phonenumbers.Format(parsed, phonenumbers.INTERNATIONAL)
	code, rest, _ := strings.Cut(formatted, " ")
	digits := 0
	for _, r := range rest {
		if '0' <= r && r <= '9' {
			digits++
		}
	}
	var b strings.Builder
	b.WriteString(code + " ")
	seen := 0
	for _, r := range rest {
		if r < '0' || r > '9' {
			b.WriteRune(r)
			continue
		}
		seen++
		if seen == 1 || seen > digits-2 {
			b.WriteRune(r)
		} else {
			b.WriteRune('•')
		}
	}
	return b.String()
}
