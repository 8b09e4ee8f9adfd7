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

// nextPair finds the next pair of a Cookie line, from the pair that begins at
// from, in which text stands. It jumps over all others: it runs for every
// request, and browsers send many cookies.
func nextPair(line, text string, from int) (start, end int, ok bool) {
	if from > len(line) {
		return 0, 0, false
	}
	at := strings.Index(line[from:], text)
	if at < 0 {
		return 0, 0, false
	}
	at += from
	start = from + strings.LastIndexByte(line[from:at], ';') + 1
	end = len(line)
	if i := strings.IndexByte(line[at:], ';'); i >= 0 {
		end = at + i
	}
	return start, end, true
}

// findCookie returns the value of the named cookie and how often it occurs. It
// does not allocate.
func findCookie(lines []string, name string) (value string, count int) {
	for _, line := range lines {
		for start, end, ok := nextPair(line, name, 0); ok; start, end, ok = nextPair(line, name, end+1) {
			n, v, _ := strings.Cut(line[start:end], "=")
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

// withoutPairs returns line without the gateway's cookies. Where they stand
// together at either end, as they mostly do, that takes no allocation.
func withoutPairs(line, base string) string {
	var kept string
	var joined strings.Builder
	keep := func(part string) {
		part = strings.Trim(part, "; ")
		switch {
		case part == "":
		case kept == "":
			kept = part
		default:
			if joined.Len() == 0 {
				joined.Grow(len(line))
				joined.WriteString(kept)
			}
			joined.WriteString("; ")
			joined.WriteString(part)
		}
	}
	copied := 0
	for start, end, ok := nextPair(line, base, 0); ok; start, end, ok = nextPair(line, base, end+1) {
		name, _, _ := strings.Cut(line[start:end], "=")
		if isGatewayCookie(strings.TrimSpace(name), base) {
			keep(line[copied:start])
			copied = min(end+1, len(line))
		}
	}
	if copied == 0 {
		return line
	}
	keep(line[copied:])
	if joined.Len() > 0 {
		return joined.String()
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
