package pages

import (
	"strings"

	"golang.org/x/text/language"
)

// maxAcceptLanguage bounds what is parsed of a header, in bytes.
const maxAcceptLanguage = 200

// matcher knows the languages of the pages, the default first.
var matcher = language.NewMatcher([]language.Tag{language.English, language.French})

// Language picks fr or en by an Accept-Language header; en where neither is
// wanted.
func Language(acceptLanguage string) string {
	if len(acceptLanguage) > maxAcceptLanguage {
		end := strings.LastIndexByte(acceptLanguage[:maxAcceptLanguage], ',')
		acceptLanguage = acceptLanguage[:max(0, end)]
	}
	wanted, _, err := language.ParseAcceptLanguage(acceptLanguage)
	if err != nil {
		return "en"
	}
	if _, index, _ := matcher.Match(wanted...); index == 1 {
		return "fr"
	}
	return "en"
}
