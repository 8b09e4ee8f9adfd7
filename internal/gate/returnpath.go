package gate

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxReturn bounds a return path, in bytes.
const maxReturn = 2048

// returnPath makes raw safe to redirect to: a path and query of this site, not
// under base. Anything else becomes "/". It is applied when a path comes in and
// again when it is used, so that no stored value is trusted.
func returnPath(raw, base string) string {
	if raw == "" || len(raw) > maxReturn || !plainPath(raw) {
		return "/"
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return "/"
	}
	if strings.Contains(u.Path, `\`) || under(u.Path, base) || !readsHarmless(u, base) {
		return "/"
	}
	clean := u.EscapedPath()
	if u.RawQuery != "" {
		clean += "?" + u.RawQuery
	}
	if len(clean) > maxReturn || !plainPath(clean) {
		return "/"
	}
	return clean
}

// plainPath tells whether s begins with exactly one slash and holds nothing
// that a browser would read as something else: it takes a backslash for a
// slash, and drops tabs and line breaks.
func plainPath(s string) bool {
	if s[0] != '/' || (len(s) > 1 && s[1] == '/') {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == '\\' || s[i] == 0x7f || s[i] == '#' {
			return false
		}
	}
	return utf8.ValidString(s) // what a cache keeps as text
}

// readsHarmless tells whether what a browser or a server makes of the path is as
// harmless as what is written: "/a/..//evil.example" is cleaned to
// "//evil.example", which a redirect of the site's own would take for another site.
func readsHarmless(u *url.URL, base string) bool {
	readings, ok := Readings(u)
	return ok && !slices.ContainsFunc(readings, func(reading string) bool {
		return strings.HasPrefix(reading, "//") || under(reading, base)
	})
}

// under tells whether the decoded path p is base or lies below it.
func under(p, base string) bool {
	return strings.HasPrefix(p, base) && (len(p) == len(base) || p[len(base)] == '/')
}

// requestReturn is the return path of a request, from its original address.
func requestReturn(u *url.URL, base string) string {
	raw := u.EscapedPath()
	if u.RawQuery != "" {
		raw += "?" + u.RawQuery
	}
	return returnPath(raw, base)
}
