// Package phone reads the numbers that people type (phone.go), and writes them in
// the forms that providers take (wire.go). Two numbers never share a form: if they
// did, whoever has one of them would be verified as the other.
package phone

import (
	"errors"
	"slices"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers/v2"
)

// maxInput bounds what is parsed as a number, in bytes.
const maxInput = 32

// The refusals of Parse.
var (
	// ErrInvalid: there is no such number.
	ErrInvalid = errors.New("no telephone number")
	// ErrUnsupported: a number that cannot be verified here.
	ErrUnsupported = errors.New("no mobile number that can be verified here")
)

// Number is a mobile number that may be verified.
type Number struct {
	E164   string
	Region string // ISO 3166-1
}

// Rules say which numbers are accepted.
type Rules struct {
	// Region is the country (ISO 3166-1) of numbers without a country code.
	Region string
	// Countries are those whose mobile numbers are accepted.
	Countries []string
	// Understands tells whether the provider, when it is sent this number,
	// understands this number and no other.
	Understands func(e164 string) bool
}

// ValidRegion tells whether s is a country with telephone numbers, in the upper
// case letters of ISO 3166-1.
func ValidRegion(s string) bool {
	return phonenumbers.GetCountryCodeForRegion(s) != 0
}

// TakenFor maps a country to another whose mobile numbers look the same: all its
// numbers are taken for those of the other. Source: the metadata of libphonenumber.
var TakenFor = map[string]string{
	"AX": "FI", "BL": "GP", "CC": "AU", "CX": "AU", "EH": "MA", "MF": "GP", "SJ": "NO", "VA": "IT",
}

// Parse reads what a person typed. A number without a country code is read as one
// of rules.Region. If that country has no such number, the accepted countries are
// tried: exactly one of them must have it, or the number could be somebody else's.
// Errors are ErrInvalid and ErrUnsupported.
func Parse(input string, rules *Rules) (Number, error) {
	input, ok := plain(strings.TrimSpace(input))
	if !ok {
		return Number{}, ErrInvalid
	}
	typed, err := phonenumbers.Parse(input, rules.Region)
	if err != nil {
		return Number{}, ErrInvalid
	}
	if isInternational(input) {
		return rules.judge(typed)
	}
	if shared, ok := inFrenchPlan(input, rules.Region); ok {
		return rules.judge(shared) // even if that country is not accepted: the number is no other's
	}
	n, err := rules.judge(typed)
	if err == nil || phonenumbers.IsValidNumber(typed) || isMobile(typed) {
		return n, err
	}
	return rules.elsewhere(input, err)
}

// elsewhere reads a national number as one of the accepted countries. It returns
// the error refused if none of them has it.
func (r *Rules) elsewhere(input string, refused error) (Number, error) {
	var found Number
	for _, country := range r.Countries {
		parsed, err := phonenumbers.Parse(input, country)
		if err != nil {
			continue
		}
		n, err := r.judge(parsed)
		if err != nil || n == found {
			continue
		}
		if found != (Number{}) {
			return Number{}, ErrInvalid // two persons have it
		}
		found = n
	}
	if found == (Number{}) {
		return found, refused
	}
	return found, nil
}

// International reads a number with its country code, of any country and kind, and
// returns it in E.164. The error is ErrInvalid.
func International(input string) (e164 string, err error) {
	input, ok := plain(strings.TrimSpace(input))
	if !ok || !isInternational(input) {
		return "", ErrInvalid
	}
	parsed, err := phonenumbers.Parse(input, "FR") // whose prefix of international calls is 00
	if err != nil || phonenumbers.IsPossibleNumberWithReason(parsed) != phonenumbers.IS_POSSIBLE {
		return "", ErrInvalid
	}
	return phonenumbers.Format(parsed, phonenumbers.E164), nil
}

// plain makes ordinary spaces of the blanks and dashes that people and keyboards
// put into numbers. It refuses letters, extensions and the digits of other scripts,
// which the library would accept.
func plain(s string) (string, bool) {
	if len(s) > maxInput || strings.LastIndexByte(s, '+') > 1 || strings.Count(s, "+") > 1 {
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

// inFrenchPlan reads a national number that was typed in a country of the French
// plan. All these countries share the plan: 0690… is of Guadeloupe wherever it is
// typed. The 0 may be missing.
func inFrenchPlan(input, region string) (*phonenumbers.PhoneNumber, bool) {
	if !National.Covers(region) {
		return nil, false
	}
	digits := strings.TrimPrefix(phonenumbers.NormalizeDigitsOnly(input), "0")
	e164, ok := FromWire("0"+digits, National)
	if !ok && len(digits) == 9 && (digits[0] == '6' || digits[0] == '7') {
		e164, ok = "+33"+digits, true // an unassigned range is part of the plan, too
	}
	if !ok {
		return nil, false
	}
	parsed, err := phonenumbers.Parse(e164, "")
	return parsed, err == nil
}

// judge returns a number that may be verified; otherwise ErrInvalid or ErrUnsupported.
func (r *Rules) judge(parsed *phonenumbers.PhoneNumber) (Number, error) {
	if phonenumbers.IsPossibleNumberWithReason(parsed) != phonenumbers.IS_POSSIBLE {
		return Number{}, ErrInvalid
	}
	n := Number{E164: phonenumbers.Format(parsed, phonenumbers.E164), Region: regionOf(parsed)}
	if !slices.Contains(r.Countries, n.Region) || !isMobile(parsed) || !r.Understands(n.E164) {
		return Number{}, ErrUnsupported
	}
	return n, nil
}

// regionOf returns the country of n. The library's metadata lags behind the
// regulators: a number in a range that it does not know counts for the main
// country of the calling code.
func regionOf(n *phonenumbers.PhoneNumber) string {
	if region := phonenumbers.GetRegionCodeForNumber(n); region != "" {
		return region
	}
	return phonenumbers.GetRegionCodeForCountryCode(int(n.GetCountryCode()))
}

// isMobile tells whether n is a mobile number. In metropolitan France all of 06 and
// 07 is mobile, even in ranges that the library does not know. Only the ranges of
// the overseas territories are not: nobody has +33 690….
func isMobile(n *phonenumbers.PhoneNumber) bool {
	if n.GetCountryCode() == 33 {
		_, ok := Wire(phonenumbers.Format(n, phonenumbers.E164), National)
		return ok
	}
	switch phonenumbers.GetNumberType(n) {
	case phonenumbers.MOBILE, phonenumbers.FIXED_LINE_OR_MOBILE:
		return true
	default:
		return false
	}
}

// Mask hides all digits except the country code, the first one and the last two:
// +33 6 •• •• •• 01. A number that cannot be read becomes ••••.
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
