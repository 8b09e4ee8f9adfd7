package verifier

import (
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/numberverify/caddy-number-verify/internal/percent"
)

// Reveals tells whether text holds secret: as it is, in other letter case,
// percent-encoded up to three times, in hex or in base64. An empty secret is
// never held. A verifier can ask it of what a provider sent, such as an
// operator's name, before passing it on.
func Reveals(text, secret string) bool {
	if secret == "" {
		return false
	}
	spellings := encodings(secret)
	for range 4 {
		folded := strings.ToLower(text)
		for _, s := range spellings {
			if strings.Contains(text, s) || strings.Contains(folded, s) {
				return true
			}
		}
		text = percent.Decode(text)
	}
	return false
}

// encodings returns the forms of secret that can be searched for without
// decoding the text around them. Base64 writes the secret differently at each of
// three offsets; the characters that also depend on its neighbours are cut off.
func encodings(secret string) []string {
	forms := []string{secret, strings.ToLower(secret), hex.EncodeToString([]byte(secret))}
	for offset := range 3 {
		padded := append(make([]byte, offset), secret...)
		whole := base64.RawStdEncoding.EncodeToString(padded)
		first := (offset*8 + 5) / 6
		last := len(padded) * 8 / 6
		if last-first < 8 {
			continue // so short that it may stand there by chance
		}
		form := whole[first:last]
		forms = append(forms, form, strings.NewReplacer("+", "-", "/", "_").Replace(form))
	}
	return forms
}
