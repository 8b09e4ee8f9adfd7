package phone

import (
	"slices"
	"strings"
)

// Format is the form in which a provider is sent numbers.
type Format string

// The formats.
const (
	// National is the form of the French numbering plan only: 0639980001.
	National Format = "national"
	// E164 is +33639980001.
	E164 Format = "e164"
	// MSISDN is 33639980001.
	MSISDN Format = "msisdn"
	// IDD is 0033639980001.
	IDD Format = "idd"
)

// Formats lists all formats.
var Formats = []Format{National, E164, MSISDN, IDD}

// frenchCountries are the countries that share the French plan.
var frenchCountries = []string{"FR", "GP", "GF", "MQ", "RE", "YT", "BL", "MF", "PM"}

// Covers tells whether the format can write numbers of a country (ISO 3166-1).
func (f Format) Covers(country string) bool {
	return f != National || slices.Contains(frenchCountries, country)
}

// frenchPlan maps the first digits of a mobile number, as it is dialled within the
// French plan, to its calling code. The longest match counts; an empty code means
// that nobody has the range. One plan serves several calling codes: the national
// part of a number alone does not tell whose it is.
//
// Source: ARCEP, decision 2018-0881 on the national numbering plan, annex 1, as
// amended; within 07 08 and 07 09 its table of assigned ranges, as the metadata
// of libphonenumber has it.
var frenchPlan = map[string]string{
	"06": "33", // metropolitan France
	"07": "33",

	"0690":   "590", // Guadeloupe, Saint-Barthélemy, Saint-Martin
	"0691":   "590",
	"07090":  "590",
	"0694":   "594", // French Guiana
	"070930": "594",
	"070931": "594",
	"070932": "594",
	"070933": "594",
	"0696":   "596", // Martinique
	"0697":   "596",
	"07091":  "596",
	"0692":   "262", // Réunion
	"0693":   "262",
	"07092":  "262",
	"0639":   "262", // Mayotte
	"070935": "262",
	"070936": "262",
	"070937": "262",
	"063998": "33",  // kept for fiction
	"0708":   "508", // Saint-Pierre-et-Miquelon
	"0508":   "508",
	"0709":   "", // kept for the territories
}

// frenchCodes are the calling codes of the French plan.
var frenchCodes = []string{"33", "262", "508", "590", "594", "596"}

// shortOf508 is the prefix that one dials within the French plan before a six-digit
// number of Saint-Pierre-et-Miquelon. It is not part of the number.
const shortOf508 = "0508"

// Wire writes a mobile number in a provider's format. ok is false if the provider,
// reading that form, would understand another number or none.
func Wire(e164 string, format Format) (wire string, ok bool) {
	digits := strings.TrimPrefix(e164, "+")
	switch format {
	case National:
		wire = toFrench(digits)
	case E164:
		wire = "+" + digits
	case MSISDN:
		wire = digits
	case IDD:
		wire = "00" + digits
	}
	back, ok := FromWire(wire, format)
	return wire, ok && back == e164
}

// FromWire reads a mobile number as a provider with this format does. ok is false if
// it is nobody's number.
func FromWire(wire string, format Format) (e164 string, ok bool) {
	switch format {
	case National:
		return fromFrench(wire)
	case E164:
		return wire, isE164(wire)
	case MSISDN:
		return "+" + wire, isE164("+" + wire)
	case IDD:
		digits, ok := strings.CutPrefix(wire, "00")
		return "+" + digits, ok && isE164("+"+digits)
	default:
		return "", false
	}
}

// toFrench writes a number, given as digits with its calling code, as it is dialled
// within the French plan; "" if the calling code is not in the plan.
func toFrench(digits string) string {
	for _, code := range frenchCodes {
		rest, ok := strings.CutPrefix(digits, code)
		if ok && code == "508" && len(rest) == 6 {
			return shortOf508 + rest
		}
		if ok {
			return "0" + rest
		}
	}
	return ""
}

// fromFrench reads a number of ten digits as the French plan does.
func fromFrench(wire string) (e164 string, ok bool) {
	if len(wire) != 10 || !isDigits(wire) {
		return "", false
	}
	for n := 6; n >= 2; n-- {
		code, ok := frenchPlan[wire[:n]]
		switch {
		case !ok:
			continue
		case code == "":
			return "", false
		case strings.HasPrefix(wire, shortOf508):
			return "+" + code + wire[len(shortOf508):], true
		default:
			return "+" + code + wire[1:], true
		}
	}
	return "", false
}

// isE164 tells whether s has the form of E.164: at most 15 digits, the first of
// them not 0.
func isE164(s string) bool {
	digits, ok := strings.CutPrefix(s, "+")
	return ok && len(digits) > 4 && len(digits) <= 15 && digits[0] != '0' && isDigits(digits)
}

func isDigits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}
