package gate

import (
	"net/url"
	"slices"
	"strings"

	"github.com/numberverify/caddy-number-verify/internal/percent"
)

const (
	// maxReadings and maxReadingBytes are the most that is computed for a request.
	maxReadings     = 128
	maxReadingBytes = 32 << 10
)

// Readings returns the ways in which servers are known to read the path of u, each as a
// path matcher has to see it. Servers decode and clean a path in different steps and
// orders, so these are the results of all steps in any order. For a plain path, which
// all servers read alike, there are none, and it costs nothing.
//
// If ok is false, there are too many readings, or none that a matcher could see. Then
// the path must be treated as protected.
func Readings(u *url.URL) (readings []string, ok bool) {
	if u.Opaque != "" {
		return nil, false // "http:account" is forwarded as it is, and has no path
	}
	sent := withPlainText(u.EscapedPath())
	if isPlain(sent) && (u.RawPath == "" || sent == u.Path) {
		return nil, true
	}
	if short := strings.TrimSuffix(sent, "/"); short != "/" && isPlain(short) && u.RawPath == "" {
		return []string{short}, true // a directory, by far the most common case
	}
	all := []string{sent}
	// If what was sent is no valid encoding, EscapedPath ignores it, but it is in
	// RawPath.
	for _, path := range []string{withPlainText(u.RawPath), u.Path} {
		if path != "" && !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	size := 0
	for i := 0; i < len(all); i++ {
		size += len(all[i])
		if len(all) > maxReadings || size > maxReadingBytes {
			return nil, false
		}
		for _, step := range readingSteps {
			if next := step(all[i]); !slices.Contains(all, next) {
				all = append(all, next)
			}
		}
	}
	for i, path := range all {
		all[i] = withEncodedDots(path)
	}
	return all, true
}

// ForMatcher writes a reading in the way in which a path matcher has to see it.
// Matchers join slashes, but in a reading an empty segment counts, so it is written as
// a name.
func ForMatcher(reading string) string { return strings.ReplaceAll(reading, "//", "/%2f") }

// readingSteps are the steps that servers take before they choose what to serve.
var readingSteps = []func(string) string{
	percent.Decode, // a proxy and the server behind it may both decode
	cutAt("\x00"),
	cutAt("?#"), // some parse the decoded path as an address again
	dropBlanks,
	func(path string) string { return strings.ReplaceAll(path, `\`, "/") },
	dropParameters,
	dropHost,
	joinSlashes,
	func(path string) string { return resolveDots(path, countDots) },
	func(path string) string { return resolveDots(path, countPlainDots) },
	func(path string) string { return strings.TrimSuffix(path, "/") },
}

// isPlain tells whether all servers read a path, as it was sent, in the same way. A
// path with a final slash is not plain, since some drop the slash.
func isPlain(path string) bool {
	if path == "" || path[0] != '/' {
		return false // "GET http://host", "GET *"
	}
	if strings.HasSuffix(path, " ") {
		return false // see dropBlanks
	}
	for i := range len(path) {
		switch path[i] {
		case '%', '\\', ';', 0:
			return false
		case '/':
			if i+1 == len(path) {
				return i == 0
			}
			if path[i+1] == '/' || path[i+1] == '.' {
				return false
			}
		}
	}
	return true
}

func cutAt(chars string) func(string) string {
	return func(path string) string {
		if i := strings.IndexAny(path, chars); i >= 0 {
			return path[:i]
		}
		return path
	}
}

// dropBlanks removes the tabs and line breaks of a path, and the blanks at its end, as
// parsers of addresses do: new URL of Node, urlsplit of Python.
func dropBlanks(path string) string {
	return strings.TrimRightFunc(lineBreaks.Replace(path), func(c rune) bool { return c <= ' ' })
}

var lineBreaks = strings.NewReplacer("\t", "", "\n", "", "\r", "")

// dropHost returns the rest of a path that begins with two slashes or more. Some
// parsers take what follows these for a host: parse_url of PHP, new URL(target, base)
// of Node, urlsplit of Python.
func dropHost(path string) string {
	if !strings.HasPrefix(path, "//") {
		return path
	}
	rest := strings.TrimLeft(path, "/")
	i := strings.IndexByte(rest, '/')
	if i < 0 {
		return "/"
	}
	return rest[i:]
}

// withPlainText decodes characters that can only be sent encoded and that mean the same
// to all servers, such as UTF-8 and spaces: matchers' patterns contain them decoded.
func withPlainText(path string) string {
	return percent.DecodeOnly(path, func(c byte) bool { return c > 0x7f || strings.IndexByte(" \"<>^`{|}", c) >= 0 })
}

// dropParameters cuts what follows a semicolon in each segment, as servlet
// containers do.
func dropParameters(path string) string {
	if !strings.Contains(path, ";") {
		return path
	}
	return eachSegment(path, func(segment string) string {
		name, _, _ := strings.Cut(segment, ";")
		return name
	})
}

func eachSegment(path string, change func(string) string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = change(segment)
	}
	return strings.Join(segments, "/")
}

func joinSlashes(path string) string {
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}

// resolveDots resolves dot segments by RFC 3986, section 5.2.4. Empty segments count
// as segments: ".." removes one like any other. Count returns the dots of a segment.
func resolveDots(path string, count func(segment string) int) string {
	if !mayHaveDots(path) {
		return path
	}
	segments := strings.Split(path, "/")
	kept := segments[:0]
	for i, segment := range segments {
		dots := count(segment)
		if dots == 2 && len(kept) > 1 {
			kept = kept[:len(kept)-1]
		}
		if dots == 0 {
			kept = append(kept, segment)
		} else if i == len(segments)-1 {
			kept = append(kept, "") // a path that ends in dots is a directory
		}
	}
	return strings.Join(kept, "/")
}

func mayHaveDots(path string) bool {
	return strings.Contains(path, "/.") || strings.Contains(path, "/%")
}

// countDots returns how many dots a segment has that is "." or "..", with each dot plain
// or encoded. It returns 0 for any other segment.
func countDots(segment string) int {
	if len(segment) > len("%2e%2e") {
		return 0
	}
	return countPlainDots(encodedDots.Replace(segment))
}

var encodedDots = strings.NewReplacer("%2e", ".", "%2E", ".")

func countPlainDots(segment string) int {
	if segment == "." || segment == ".." {
		return len(segment)
	}
	return 0
}

// withEncodedDots encodes the dots of dot segments, since Caddy's matchers would resolve
// them. A server of this reading does not.
func withEncodedDots(path string) string {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if !mayHaveDots(path) {
		return path
	}
	return eachSegment(path, func(segment string) string {
		if countPlainDots(segment) == 0 {
			return segment
		}
		return strings.Repeat("%2e", len(segment))
	})
}
