package gate

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// browserSuffix makes the browser cookie's name from the session cookie's.
const browserSuffix = "-browser"

// idLength is the length of 256 bits in unpadded base64url.
const idLength = 43

// newID returns 256 random bits.
func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// isID tells whether s could have come from newID.
func isID(s string) bool {
	return len(s) == idLength && isBase64URL(s)
}

func isBase64URL(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// hashID is what the cache keeps of a secret that it has to compare.
func hashID(id string) [sha256.Size]byte { return sha256.Sum256([]byte(id)) }

// findCookie returns the value of the named cookie and how often it occurs. It
// does not allocate: it runs for every request of a protected route.
func findCookie(lines []string, name string) (value string, count int) {
	for _, line := range lines {
		for len(line) > 0 {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			n, v, _ := strings.Cut(pair, "=")
			if strings.TrimSpace(n) == name {
				value = strings.TrimSpace(v)
				count++
			}
		}
	}
	return value, count
}

// secretCookie returns the named cookie if it is there once and well formed.
// Any other is no cookie: never an error, never a pass.
func secretCookie(lines []string, name string) (string, bool) {
	value, count := findCookie(lines, name)
	if count != 1 || !isID(value) {
		return "", false
	}
	return value, true
}

// withoutCookies returns lines without the gateway's cookies of that base name.
// It leaves lines as they are and returns them where there is nothing to drop.
func withoutCookies(lines []string, base string) []string {
	var kept []string
	changed := false
	for _, line := range lines {
		var b strings.Builder
		dropped := false
		for rest := line; len(rest) > 0; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			name, _, _ := strings.Cut(pair, "=")
			if isGatewayCookie(strings.TrimSpace(name), base) {
				dropped = true
				continue
			}
			if b.Len() > 0 {
				b.WriteString(";")
			} else {
				pair = strings.TrimLeft(pair, " ")
				b.Grow(len(line))
			}
			b.WriteString(pair)
		}
		if !dropped {
			kept = append(kept, line)
			continue
		}
		changed = true
		if b.Len() > 0 {
			kept = append(kept, b.String())
		}
	}
	if !changed {
		return lines
	}
	return kept
}

// isGatewayCookie knows all the names that a gateway cookie can have, so that
// no variant of it reaches the site.
func isGatewayCookie(name, base string) bool {
	if rest, ok := strings.CutPrefix(name, "__Host-"); ok {
		name = rest
	} else if rest, ok := strings.CutPrefix(name, "__Secure-"); ok {
		name = rest
	}
	name = strings.TrimSuffix(name, browserSuffix)
	return name == base
}
