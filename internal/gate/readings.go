package gate

import (
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
)

const (
	// maxReadings and maxReadingBytes bound what one request can have computed.
	maxReadings     = 256
	maxReadingBytes = 64 << 10
)

// Readings are the paths that servers are known to make of the path of u, each as
// a path matcher has to see it. Servers differ in which steps of decoding and
// cleaning they take, and in what order, so these are all results of all steps
// taken in any order. The path as Caddy's own matchers read it is among them, but
// is not told apart: ask for that first. A plain path has no other reading, and
// costs nothing.
//
// Where ok is false there are more readings than a request may ask for; then the
// path has to be taken for a protected one.
func Readings(u *url.URL) (readings []string, ok bool) {
	sent := u.EscapedPath()
	if isPlain(sent) && u.RawPath == "" {
		return nil, true
	}
	all := []string{sent}
	// RawPath is what was sent where it is no valid encoding, which EscapedPath
	// then leaves aside
	for _, path := range []string{u.RawPath, u.Path} {
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
		all[i] = withPlainDots(path)
	}
	return all, true
}

// readingSteps are what servers do to a path before they choose what to serve.
var readingSteps = []func(string) string{
	decodeOnce, // a proxy and the server behind it may both do it
	cutAt("\x00"),
	cutAt("?#"), // once decoded, they begin the query for who parses again
	func(path string) string { return strings.ReplaceAll(path, `\`, "/") },
	dropParameters,
	joinSlashes,
	func(path string) string { return resolveDots(path, isDots) },
	func(path string) string { return resolveDots(path, isPlainDots) },
	func(path string) string { return strings.TrimSuffix(path, "/") },
}

// isPlain tells whether all servers read a path, as it was sent, alike. A final
// slash, which some drop, is no plain one.
func isPlain(path string) bool {
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

// decodeOnce undoes percent-encoding, and leaves what is none as it is.
func decodeOnce(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	var b strings.Builder
	b.Grow(len(path))
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			if decoded, err := hex.DecodeString(path[i+1 : i+3]); err == nil {
				b.WriteByte(decoded[0])
				i += 2
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

func cutAt(chars string) func(string) string {
	return func(path string) string {
		if i := strings.IndexAny(path, chars); i >= 0 {
			return path[:i]
		}
		return path
	}
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

// withPlainDots is how a matcher that resolves dots itself, as Caddy's do, is
// shown a path in which a server takes them for names like any other.
func withPlainDots(path string) string {
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
