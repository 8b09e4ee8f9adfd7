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
	// languages are their texts, by the name that Language returns.
	languages = map[string]*texts{"en": english, "fr": french}
)

var matcher = language.NewMatcher(tags)

// maxAcceptLanguage bounds the part of a header that is parsed, in bytes.
const maxAcceptLanguage = 200

// Language returns the language of a page, such as "en", that fits an Accept-Language
// header best. If none fits, or the header is invalid, it returns the default.
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
