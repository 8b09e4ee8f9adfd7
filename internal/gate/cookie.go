package gate

import "strings"

// browserSuffix is appended to the session cookie's name for the browser cookie.
const browserSuffix = "-browser"

// nextPair finds the next pair of a Cookie line that contains text. The search begins
// at from, where a pair must begin. It skips all other pairs quickly, since it runs
// for every request and browsers send many cookies.
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

// pair is a cookie as the client sent it.
type pair struct{ name, value string }

// takePairs returns line without the gate's cookies, and own with them appended. It
// allocates nothing where they stand together at either end, as they mostly do.
func takePairs(line, base string, own []pair) (kept string, _ []pair) {
	var joined strings.Builder
	keep := func(part string) {
		part = trimSeparators(part)
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
		name, value, _ := strings.Cut(line[start:end], "=")
		name = strings.TrimSpace(name)
		if isGateCookie(name, base) {
			own = append(own, pair{name, strings.TrimSpace(value)})
			keep(line[copied:start])
			copied = min(end+1, len(line))
		}
	}
	if copied == 0 {
		return line, own
	}
	keep(line[copied:])
	if joined.Len() > 0 {
		kept = joined.String()
	}
	return kept, own
}

// trimSeparators does what strings.Trim(s, "; ") does, but faster: it runs for every
// request.
func trimSeparators(s string) string {
	for s != "" && (s[0] == ';' || s[0] == ' ') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ';' || s[len(s)-1] == ' ') {
		s = s[:len(s)-1]
	}
	return s
}

// isGateCookie knows all names that a cookie of the gate can have, so that none
// reaches the site.
func isGateCookie(name, base string) bool {
	if rest, ok := strings.CutPrefix(name, "__Host-"); ok {
		name = rest
	} else if rest, ok := strings.CutPrefix(name, "__Secure-"); ok {
		name = rest
	}
	name = strings.TrimSuffix(name, browserSuffix)
	return name == base
}
