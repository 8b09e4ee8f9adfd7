package simulator

import (
	"regexp"
	"strings"
)

// dialable matches a number in any format.
var dialable = regexp.MustCompile(`^\+?[0-9]{5,17}$`)

// subscriber returns in E.164 the number that DQE was sent. A number that begins
// with a single 0 is French. Any other is international: after +, after 00, or as it
// is. It returns "" for a number that nobody can have.
func subscriber(number string) string {
	switch digits := strings.TrimPrefix(number, "+"); {
	case !dialable.MatchString(number):
		return ""
	case digits != number:
		return international(digits)
	case strings.HasPrefix(number, "00"):
		return international(number[2:])
	case strings.HasPrefix(number, "0"):
		return french(number)
	default:
		return international(number)
	}
}

// abroad matches a number with its calling code, without + or 00.
var abroad = regexp.MustCompile(`^[1-9][0-9]{4,14}$`)

func international(digits string) string {
	if !abroad.MatchString(digits) {
		return ""
	}
	return "+" + digits
}

// exchanges give the calling code of a number that is dialled within the French
// plan: the first match counts. The group in brackets is the number after that code.
// The source is the one that internal/phone/wire.go names.
var exchanges = []struct {
	dialled *regexp.Regexp
	code    string
}{
	{regexp.MustCompile(`^0(63998[0-9]{4})$`), "+33"},                            // fiction
	{regexp.MustCompile(`^0(639[0-9]{6}|69[23][0-9]{6})$`), "+262"},              // Mayotte, Réunion
	{regexp.MustCompile(`^0(7092[0-9]{5}|7093[5-7][0-9]{4})$`), "+262"},          // the same
	{regexp.MustCompile(`^0(69[01][0-9]{6}|7090[0-9]{5})$`), "+590"},             // Guadeloupe
	{regexp.MustCompile(`^0(694[0-9]{6}|7093[0-3][0-9]{4})$`), "+594"},           // French Guiana
	{regexp.MustCompile(`^0(69[67][0-9]{6}|7091[0-9]{5})$`), "+596"},             // Martinique
	{regexp.MustCompile(`^0(708[0-9]{6})$`), "+508"},                             // Saint-Pierre-et-Miquelon
	{regexp.MustCompile(`^0508([0-9]{6})$`), "+508"},                             // the same
	{regexp.MustCompile(`^0(6[0-9]{8}|70[0-7][0-9]{6}|7[1-9][0-9]{7})$`), "+33"}, // metropolitan France
}

func french(number string) string {
	for _, exchange := range exchanges {
		if m := exchange.dialled.FindStringSubmatch(number); m != nil {
			return exchange.code + m[1]
		}
	}
	return ""
}
