package pages

import (
	"strings"

	"golang.org/x/text/language"
)

// To add a language, write its file beside english.go, and name it in the two
// variables below.
var (
	// tags are the languages of the pages, the default first.
	tags = []language.Tag{language.English, language.French}
	// languages are their texts, by what Language returns.
	languages = map[string]*texts{"en": english, "fr": french}
)

var matcher = language.NewMatcher(tags)

// maxAcceptLanguage bounds what is parsed of a header, in bytes.
const maxAcceptLanguage = 200

// Language picks the language of a page by an Accept-Language header, such as en;
// the default if there is none that the header wants.
func Language(acceptLanguage string) string {
	if len(acceptLanguage) > maxAcceptLanguage {
		end := strings.LastIndexByte(acceptLanguage[:maxAcceptLanguage], ',')
		acceptLanguage = acceptLanguage[:max(0, end)]
	}
	wanted, _, err := language.ParseAcceptLanguage(acceptLanguage)
	if err != nil {
		return tags[0].String()
	}
	_, index, _ := matcher.Match(wanted...)
	return tags[index].String()
}
