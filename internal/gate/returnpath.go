package gate

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxReturn is the largest size of a return path, in bytes.
const maxReturn = 2048

// returnPath makes raw safe to redirect to: a path and query of this site, not under
// base. Anything else becomes "/". It is applied when a path comes in and again when
// the stored path is used.
func returnPath(raw, base string) string {
	clean, paths := sitePath(raw)
	if slices.ContainsFunc(paths, func(path string) bool { return under(path, base) }) {
		return "/"
	}
	return clean
}

// sitePath makes raw safe to redirect to: a path and query of this site. Anything else
// becomes "/". Paths are all readings of the path.
func sitePath(raw string) (clean string, paths []string) {
	if raw == "" || len(raw) > maxReturn || !plainPath(raw) {
		return "/", nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		return "/", nil
	}
	if strings.Contains(u.Path, `\`) {
		return "/", nil
	}
	// A site that cleans "/a/..//evil.example" and redirects to the result would send
	// the visitor to another site, "//evil.example".
	readings, ok := Readings(u)
	if !ok || slices.ContainsFunc(readings, func(path string) bool { return strings.HasPrefix(path, "//") }) {
		return "/", nil
	}
	clean = u.EscapedPath()
	if u.RawQuery != "" {
		clean += "?" + u.RawQuery
	}
	if len(clean) > maxReturn || !plainPath(clean) {
		return "/", nil
	}
	return clean, append(readings, u.Path)
}

// plainPath tells whether s begins with exactly one slash and contains nothing that
// browsers change: they take a backslash for a slash, and drop tabs and line breaks.
func plainPath(s string) bool {
	if s[0] != '/' || (len(s) > 1 && s[1] == '/') {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == '\\' || s[i] == 0x7f || s[i] == '#' {
			return false
		}
	}
	return utf8.ValidString(s) // or the JSON in a cache would change it
}

// under tells whether the decoded path p is base or lies below it.
func under(p, base string) bool {
	return strings.HasPrefix(p, base) && (len(p) == len(base) || p[len(base)] == '/')
}

// requestReturn returns the return path for an address of the site.
func requestReturn(u *url.URL, base string) string { return returnPath(pathAndQuery(u), base) }

// requestAddress returns the path and query of a request, which may be for an
// endpoint.
func requestAddress(u *url.URL) string {
	clean, _ := sitePath(pathAndQuery(u))
	return clean
}

func pathAndQuery(u *url.URL) string {
	raw := u.EscapedPath()
	if u.RawQuery != "" {
		raw += "?" + u.RawQuery
	}
	return raw
}
