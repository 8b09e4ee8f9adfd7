package gate

import (
	"net/url"
	"slices"
	"strings"

	"github.com/numberverify/caddy-number-verify/internal/percent"
)

const (
	// maxReadings and maxReadingBytes bound what one request can have computed.
	maxReadings     = 128
	maxReadingBytes = 32 << 10
)

// Readings are the paths that servers are known to make of the path of u, each as
// a path matcher has to see it. Servers differ in which steps of decoding and
// cleaning they take, and in what order, so these are the results of all steps in
// any order. A plain path has no other reading, and costs nothing.
//
// Where ok is false there are more readings than a request may ask for, or none
// that a matcher could see; then the path has to be taken for a protected one.
func Readings(u *url.URL) (readings []string, ok bool) {
	if u.Opaque != "" {
		return nil, false // "http:account" is sent on as it came, and has no path
	}
	sent := withPlainText(u.EscapedPath())
	if isPlain(sent) && (u.RawPath == "" || sent == u.Path) {
		return nil, true
	}
	if short := strings.TrimSuffix(sent, "/"); short != "/" && isPlain(short) && u.RawPath == "" {
		return []string{short}, true // a directory's, the commonest by far
	}
	all := []string{sent}
	// RawPath is what was sent where it is no valid encoding, which EscapedPath
	// then leaves aside
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

// ForMatcher writes a reading for a path matcher. Matchers join slashes, as Caddy's own
// reading of the path does; here an empty segment counts, so it is written as a name.
func ForMatcher(reading string) string { return strings.ReplaceAll(reading, "//", "/%2f") }

// readingSteps are what servers do to a path before they choose what to serve.
var readingSteps = []func(string) string{
	percent.Decode, // a proxy and the server behind it may both do it
	cutAt("\x00"),
	cutAt("?#"), // for whoever parses the decoded path again
	dropBlanks,
	func(path string) string { return strings.ReplaceAll(path, `\`, "/") },
	dropParameters,
	dropHost,
	joinSlashes,
	func(path string) string { return resolveDots(path, isDots) },
	func(path string) string { return resolveDots(path, isPlainDots) },
	func(path string) string { return strings.TrimSuffix(path, "/") },
}

// isPlain tells whether all servers read a path, as it was sent, alike. A final
// slash, which some drop, is no plain one.
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

// dropBlanks takes away the tabs and line breaks of a path, and the blanks at its
// end, as who parses it as an address does: new URL of Node, urlsplit of Python.
func dropBlanks(path string) string {
	return strings.TrimRightFunc(lineBreaks.Replace(path), func(c rune) bool { return c <= ' ' })
}

var lineBreaks = strings.NewReplacer("\t", "", "\n", "", "\r", "")

// dropHost is what remains where what follows two slashes or more is taken for a
// host: parse_url of PHP, new URL(target, base) of Node, urlsplit of Python.
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

// withPlainText decodes what can be sent encoded only and means the same to all
// servers, such as UTF-8 and spaces: the patterns of matchers have it decoded.
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

// resolveDots is remove_dot_segments of RFC 3986, section 5.2.4, in which empty
// segments count: ".." takes back one of them like any other.
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
			kept = append(kept, "") // what dots end in is a directory
		}
	}
	return strings.Join(kept, "/")
}

func mayHaveDots(path string) bool {
	return strings.Contains(path, "/.") || strings.Contains(path, "/%")
}

// isDots counts the dots of a segment that is "." or "..", each of them plain or
// encoded; 0 for any other segment.
func isDots(segment string) int {
	if len(segment) > len("%2e%2e") {
		return 0
	}
	return isPlainDots(encodedDots.Replace(segment))
}

var encodedDots = strings.NewReplacer("%2e", ".", "%2E", ".")

func isPlainDots(segment string) int {
	if segment == "." || segment == ".." {
		return len(segment)
	}
	return 0
}

// withEncodedDots encodes the dots of dot segments. Caddy's matchers resolve dots; in
// a reading of a server that does not they have to stay.
func withEncodedDots(path string) string {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if !mayHaveDots(path) {
		return path
	}
	return eachSegment(path, func(segment string) string {
		if isPlainDots(segment) == 0 {
			return segment
		}
		return strings.Repeat("%2e", len(segment))
	})
}
