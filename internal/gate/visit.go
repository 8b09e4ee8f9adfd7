package gate

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
)

// Visit is what the gates of a site know of one request. The first to see the
// request makes it, and it stays with the request, since what it was read from
// is removed before the request goes on.
type Visit struct {
	method string   // as received, before any rewrite
	url    *url.URL // likewise
	// cookies are the Cookie lines as received.
	cookies []string

	// stripped are the cookies and the prefixes of headers that were removed
	// already; written the headers that gates have set, which no later one
	// removes. The arrays save allocations for all but odd sites.
	stripped, written []string
	// unknownSession says that the request came with the cookie of a session
	// that does not exist, or no longer.
	unknownSession bool
	strippedArray  [2]string
	writtenArray   [3]string
	hop            bool
}

// NewVisit begins with a request as it arrived. The method and address are
// those that the client sent.
func NewVisit(r *http.Request, method string, u *url.URL) *Visit {
	v := &Visit{method: method, url: u, cookies: r.Header["Cookie"]}
	v.stripped, v.written = v.strippedArray[:0], v.writtenArray[:0]
	return v
}

// String shows nothing: a visit holds cookies.
func (*Visit) String() string { return "" }

// Strip removes, once in a request's life, what only the gate may say: headers
// under prefix, the gate's cookies, and what would carry either past it. An
// empty prefix leaves the headers alone.
func (g *Gate) Strip(r *http.Request, v *Visit, prefix string) {
	v.stripHop(r)
	if v.first(g.cookieMark) {
		stripCookies(r.Header, g.cfg.CookieName)
	}
	if prefix != "" && v.first(prefix) {
		v.stripPrefix(r.Header, prefix)
	}
}

// first tells whether what is to be stripped was not stripped yet, and notes it.
func (v *Visit) first(what string) bool {
	if slices.Contains(v.stripped, what) {
		return false
	}
	v.stripped = append(v.stripped, what)
	return true
}

// stripHop closes the ways around headers: trailers, which a proxy would send
// on as they come, and upgrades to a protocol in which further requests would
// tunnel past every gate (h2c).
func (v *Visit) stripHop(r *http.Request) {
	r.Trailer = nil // deleting from it would not help: the body fills it again
	if v.hop {
		return
	}
	v.hop = true
	delete(r.Header, "Http2-Settings")
	if upgrade, ok := r.Header["Upgrade"]; ok {
		if len(upgrade) != 1 || !strings.EqualFold(strings.TrimSpace(upgrade[0]), "websocket") {
			delete(r.Header, "Upgrade")
		}
	}
}

func stripCookies(h http.Header, base string) {
	lines, ok := h["Cookie"]
	if !ok {
		return
	}
	kept := make([]string, 0, len(lines)) // a visit keeps the old ones
	for _, line := range lines {
		if line = withoutPairs(line, base); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

// stripPrefix removes all headers whose name begins with prefix, as upstreams
// read names: many take "_" or "." for "-". A header named in Connection would
// be dropped by the proxy, the gate's own included.
func (v *Visit) stripPrefix(h http.Header, prefix string) {
	for name := range h {
		if hasFoldedPrefix(name, prefix) && !slices.Contains(v.written, name) {
			delete(h, name)
		}
	}
	lines, ok := h["Connection"]
	if !ok {
		return
	}
	var kept []string
	for _, line := range lines {
		for token := range strings.SplitSeq(line, ",") {
			token = textproto.TrimString(token)
			if token != "" && !hasFoldedPrefix(token, prefix) {
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, "Connection")
		return
	}
	h["Connection"] = []string{strings.Join(kept, ", ")}
}

// SetHeader sets a header for the upstream that no later gate removes. The name
// is in canonical form.
func (v *Visit) SetHeader(h http.Header, name string, value []string) {
	h[name] = value
	v.written = append(v.written, name)
}

// hasFoldedPrefix ignores letter case and takes "_" and "." for "-".
func hasFoldedPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if foldByte(name[i]) != foldByte(prefix[i]) {
			return false
		}
	}
	return true
}

func foldByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_' || c == '.':
		return '-'
	default:
		return c
	}
}

// isNavigation tells a page load from everything else: only for a page load can
// the gate redirect, or answer with a page.
func (v *Visit) isNavigation(h http.Header) bool {
	mode, dest := h.Get("Sec-Fetch-Mode"), h.Get("Sec-Fetch-Dest")
	if mode != "" || dest != "" {
		return mode == "navigate" && dest == "document"
	}
	if h.Get("Upgrade") != "" {
		return false
	}
	return slices.ContainsFunc(h["Accept"], func(accept string) bool {
		return strings.Contains(strings.ToLower(accept), "text/html")
	})
}

// isSafe tells whether the request can be answered with a redirect.
func (v *Visit) isSafe() bool {
	return v.method == http.MethodGet || v.method == http.MethodHead
}
