package gate

import (
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
)

func parsed(t testing.TB, target string) *url.URL {
	t.Helper()
	if target == "" {
		return &url.URL{Scheme: "http", Host: "www.example.com"} // GET http://www.example.com
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	return u
}

// Each case is named after what some servers do with the path.
func TestReadingsAreWhatServersMakeOfAPath(t *testing.T) {
	for _, c := range []struct{ name, target, reading string }{
		{"routed as it was sent (Go's ServeMux)", "/account/..%2fx", "/account/..%2fx"},
		{"decoded, nothing resolved (WSGI)", "/account/..%2fx", "/account/%2e%2e/x"},
		{"decoded, dots resolved (Caddy, nginx)", "/account/..%2fx", "/x"},
		{"dots resolved before decoding (WHATWG URL)", "/public/%2e%2e/account/..%2fx", "/account/..%2fx"},
		{"plain dots alone resolved", "/public/../account/%2e%2e/x", "/account/%2e%2e/x"},
		{"decoded twice", "/%2561ccount/x", "/account/x"},
		{"decoded twice, then resolved", "/public/%252e%252e/account/x", "/account/x"},
		{"slashes joined before dots are resolved", "/account//../x", "/x"},
		{"empty segments count", "/account//../x", "/account/x"},
		{"without parameters", "/account;v=1/x", "/account/x"},
		{"without parameters of dots (servlet containers)", "/public/..;/account/x", "/account/x"},
		{"without encoded parameters", "/account%3bv=1/x", "/account/x"},
		{"backslashes as slashes (IIS)", "/public/..%5caccount%5cx", "/account/x"},
		{"cut at NUL (C)", "/account%00/../../public", "/account"},
		{"cut at a question mark that was encoded", "/account%3f/../public", "/account"},
		{"without its final slash", "/account/", "/account"},
		{"without its final slash, which was encoded", "/account%2f", "/account"},
		{"routed as it was sent, with what must not be sent plain", `/account"/..%2fx`, `/account"/..%2fx`},
		{"an empty segment of the root counts (routed as it was sent)", "//", "//"},
		{"its first segment taken for a host (PHP's parse_url, Node's URL)", "//x/account/y", "/account/y"},
		{"more slashes before the host", "///x/account/y", "/account/y"},
		{"empty, as after a host without a path", "", "/"},
		{"of UTF-8, as patterns have it", "/%C3%A9t%C3%A9;x/a%20b", "/été/a b"},
		{"without tabs and line breaks (urlsplit, new URL)", "/acc%0aount/%09x", "/account/x"},
		{"without blanks at its end (new URL)", "/account%20", "/account"},
		{"up past the root", "/../../account/x", "/account/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			readings, ok := Readings(parsed(t, c.target))
			if !ok || !slices.Contains(readings, c.reading) {
				t.Errorf("%s is read as %q, not as %s", c.target, readings, c.reading)
			}
		})
	}
}

// A target such as "http:account" is forwarded as it is, and has no path to match.
func TestTargetWithoutAPathIsTakenForAProtectedOne(t *testing.T) {
	for _, target := range []string{"http:account/x", "http:%2faccount/x", "x:", "mailto:account"} {
		if readings, ok := Readings(parsed(t, target)); ok && len(readings) == 0 {
			t.Errorf("%s has no other reading", target)
		}
	}
}

func TestPlainPathHasNoOtherReadingAndCostsNothing(t *testing.T) {
	for _, target := range []string{"/", "/account/x", "/well-known", "/a.b/c-d_e~f/g,h=i:j@k", "/account/x?q=%2F;//"} {
		u := parsed(t, target)
		if allocs := testing.AllocsPerRun(100, func() {
			if readings, ok := Readings(u); len(readings) != 0 || !ok {
				t.Errorf("%s is read as %q as well", target, readings)
			}
		}); allocs > 0 {
			t.Errorf("%s costs %v allocations", target, allocs)
		}
	}
}

func TestPathWithTooManyReadingsIsTakenForAProtectedOne(t *testing.T) {
	for name, target := range map[string]string{
		"everything at once":    `/a/%2e%2e;b//%5c..%252f%00/./c%3f/..;/d/`,
		"encoded over and over": "/%" + strings.Repeat("25", 400) + "61/",
		"very long":             "/" + strings.Repeat("%2f", maxReadingBytes/3),
	} {
		if readings, ok := Readings(parsed(t, target)); ok {
			t.Errorf("%s: %d readings", name, len(readings))
		}
	}
}

func FuzzReadings(f *testing.F) {
	for _, target := range []string{
		"/account/..%2fx", "/%252e%252e/a", "/a//b/;c/../d/", `/a\..\b`, "/a%00b", "/%", "/%zz%2", "/a/%2e/%2E%2e/b", "//a", "/./", "/a/b/", "/caf%C3%A9",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		readings, ok := Readings(u)
		if !ok {
			return // taken for a protected one
		}
		if len(readings) > maxReadings {
			t.Fatalf("%d readings", len(readings))
		}
		// what the standard library makes of a path must be among the readings
		twice, _ := url.PathUnescape(u.Path)
		for _, other := range []string{u.Path, path.Clean(u.Path), path.Clean(withPlainText(u.EscapedPath())), path.Clean("/" + twice)} {
			if shown := withEncodedDots(other); shown != u.Path && twice != "" && !slices.Contains(readings, shown) && !slices.Contains(readings, shown+"/") && len(readings) > 0 {
				t.Errorf("%q is not read as %q but as %q", target, shown, readings)
			}
		}
		for _, reading := range readings {
			if !strings.HasPrefix(reading, "/") || strings.Contains(reading+"/", "/../") || strings.Contains(reading+"/", "/./") {
				t.Errorf("%q is shown to matchers as %q, whose dots they would resolve", target, reading)
			}
		}
	})
}
