package provider

import (
	"strings"
	"unicode"
)

// The most that an operator's name may have: bytes, bytes in one word, digits. Tokens
// and nonces have longer words, and phone numbers more digits.
const (
	maxName   = 64
	maxWord   = 24
	maxDigits = 3
)

// OperatorName makes a provider's text fit for headers and logs. It returns "" for
// text that does not look like a name: it may contain a number or a token that the
// provider was sent.
func OperatorName(s string) string {
	s = strings.TrimSpace(s)
	if len(s) > maxName {
		return ""
	}
	word, digits := 0, 0
	for _, r := range s {
		switch {
		case strings.ContainsRune(" &'’.()", r):
			word = 0
			continue
		case '0' <= r && r <= '9':
			digits++
		case r != '-' && !unicode.In(r, unicode.L, unicode.Mn):
			return ""
		}
		if word++; word > maxWord || digits > maxDigits {
			return ""
		}
	}
	return s
}
