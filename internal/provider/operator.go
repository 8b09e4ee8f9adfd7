package provider

import (
	"strings"
	"unicode"
)

// The bounds of an operator's name: its length in bytes, that of one word of it,
// and how many digits it may have. Tokens and nonces are longer words than any
// name has, and numbers have more digits.
const (
	maxName   = 64
	maxWord   = 24
	maxDigits = 3
)

// OperatorName makes the provider's text fit for a header and a log. Text that
// does not look like a name is none: it may be a number or a token that the
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
