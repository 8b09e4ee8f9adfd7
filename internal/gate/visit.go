package gate

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// Visit is what the gates of a site know of one request. The first to see the
// request makes it, and it stays with the request, since what it was read from
// is removed before the request goes on.
type Visit struct {
	method string   // as received, before any rewrite
	url    *url.URL // likewise
	// own are the cookies of gates that were removed, as received.
	own []pair
	// stripped are the cookies and the prefixes of headers that were removed
	// already.
	stripped []string
	// written are the headers that gates have set, which no later one removes.
	written []*Headers
	// session is the last that a gate has let the request pass for.
	session *ledger.Session
	// room saves allocations for all but odd sites.
	room struct {
		own      [2]pair
		stripped [2]string
		written  [1]*Headers
		values   [3]string // of the written headers
		cookies  [1]string // that are not the gate's
		vary     [1]string
		private  [1]string
	}
}

// NewVisit begins with a request as it arrived. The method and address are
// those that the client sent.
func NewVisit(method string, u *url.URL) *Visit {
	v := &Visit{method: method, url: u}
	v.own, v.stripped, v.written = v.room.own[:0], v.room.stripped[:0], v.room.written[:0]
	return v
}

// Arrived is the request's method and address as the client sent them. Nobody may
// change the address.
func (v *Visit) Arrived() (method string, u *url.URL) { return v.method, v.url }

// String shows nothing: a visit holds cookies.
func (*Visit) String() string { return "" }

// Strip removes, once in a request's life, what only the gate may say: headers
// under prefix, the gate's cookies, and what would carry either past it. An
// empty prefix leaves the headers alone.
func (g *Gate) Strip(r *http.Request, v *Visit, prefix string) {
	r.Trailer = nil // deleting from it would not help: the body fills it again
	if v.markStripped(g.cookieMark) {
		v.takeCookies(r.Header, g.cfg.CookieName)
	}
	if v.markStripped(prefix) {
		v.stripHeaders(r.Header, prefix)
	}
}

// markStripped notes what is about to be stripped, and tells whether it was not yet.
func (v *Visit) markStripped(what string) bool {
	if slices.Contains(v.stripped, what) {
		return false
	}
	v.stripped = append(v.stripped, what)
	return true
}

// takeCookies moves the cookies of the gate from the header to the visit.
func (v *Visit) takeCookies(h http.Header, base string) {
	lines, ok := h["Cookie"]
	if !ok {
		return
	}
	kept := v.room.cookies[:0:1]
	if len(v.stripped) > 1 {
		kept = nil // an earlier gate's stand there
	}
	for _, line := range lines {
		if line, v.own = takePairs(line, base, v.own); line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = kept
}

// cookie returns the value of a gate's cookie and how often it occurs.
func (v *Visit) cookie(name string) (value string, count int) {
	for _, own := range v.own {
		if own.name == name {
			value = own.value
			count++
		}
	}
	return value, count
}

// secretCookie returns a gate's cookie if it is there once and well formed. Any
// other is no cookie: never an error, never a pass.
func (v *Visit) secretCookie(name string) (string, bool) {
	value, count := v.cookie(name)
	if count != 1 || !ledger.IsID(value) {
		return "", false
	}
	return value, true
}

// secretCookies returns all values of a gate's cookie that are well formed, of
// doubled ones too.
func (v *Visit) secretCookies(name string) (values []string) {
	for _, own := range v.own {
		if own.name == name && ledger.IsID(own.value) {
			values = append(values, own.value)
		}
	}
	return values
}

// stripHeaders removes all headers whose name begins with prefix in any spelling
// that an upstream reads as the same name (see hasFoldedPrefix). It also closes a
// way around headers, an upgrade to a protocol in which further requests would
// tunnel past every gate (h2c). It goes over the headers once, since it does so
// for every request.
func (v *Visit) stripHeaders(h http.Header, prefix string) {
	for name, lines := range h {
		switch {
		case prefix != "" && hasFoldedPrefix(name, prefix):
			if !v.hasWritten(name) {
				delete(h, name)
			}
		case name == "Http2-Settings":
			delete(h, name)
		case name == "Upgrade":
			if len(lines) != 1 || !strings.EqualFold(strings.TrimSpace(lines[0]), "websocket") {
				delete(h, name)
			}
		case name == "Connection" && prefix != "":
			stripConnection(h, lines, prefix)
		}
	}
}

// stripConnection takes the gate's headers out of Connection: a proxy drops what
// is named there, the gate's own included.
func stripConnection(h http.Header, lines []string, prefix string) {
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

func (v *Visit) hasWritten(name string) bool {
	return slices.ContainsFunc(v.written, func(set *Headers) bool {
		return name == set.Number || name == set.At || name == set.Operator
	})
}

// Pass notes the session that lets the request pass a gate, and tells whether it
// is the first.
func (v *Visit) Pass(s *ledger.Session) (first bool) {
	first = v.session == nil
	v.session = s
	return first
}

// Session is that of the last gate passed, which the headers tell of as well.
func (v *Visit) Session() *ledger.Session { return v.session }

// Headers are the names of the headers that tell the upstream of a
// verification, in canonical form.
type Headers struct{ Number, At, Operator string }

// SetHeaders tells the upstream of a verification; no later gate removes these
// headers. Each has a slice of its own, since a later handler may change values in
// place.
func (v *Visit) SetHeaders(h http.Header, names *Headers, s *ledger.Session) {
	values := &v.room.values
	if len(v.written) > 0 {
		values = new([3]string) // an earlier gate's stand there
	}
	*values = [3]string{s.Number, s.At(), s.Operator}
	h[names.Number] = values[0:1:1]
	h[names.At] = values[1:2:2]
	h[names.Operator] = values[2:3:3]
	v.written = append(v.written, names)
}

// Vary says in an answer that it depends on the cookies.
func (v *Visit) Vary(h http.Header) { addField(h, "Vary", "Cookie", &v.room.vary) }

// Private says in an answer that no shared cache may keep it, whatever else the
// site says of it.
func (v *Visit) Private(h http.Header) { addField(h, "Cache-Control", "private", &v.room.private) }

// addField is h.Add for a canonical name and a value that is not there yet, and
// allocates nothing where the field is new.
func addField(h http.Header, name, value string, room *[1]string) {
	switch lines := h[name]; {
	case lines == nil:
		room[0] = value
		h[name] = room[:1:1]
	case !slices.Contains(lines, value):
		h[name] = append(lines, value)
	}
}

// hasFoldedPrefix ignores letter case, and takes every byte that is no letter or
// digit for "-": CGI servers make one "_" of them all (RFC 3875, section 4.1.18,
// names "-" alone; lighttpd's mod_cgi is one that goes further), so that
// X~Verified~Number and X-Verified-Number are one variable to the site.
func hasFoldedPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if folded[name[i]] != folded[prefix[i]] {
			return false
		}
	}
	return true
}

// folded is a table because it is asked for every header of every request.
var folded = func() (table [256]byte) {
	for c := range len(table) {
		switch b := byte(c); {
		case 'A' <= b && b <= 'Z':
			table[c] = b + 'a' - 'A'
		case 'a' <= b && b <= 'z', '0' <= b && b <= '9':
			table[c] = b
		default:
			table[c] = '-'
		}
	}
	return table
}()

// isNavigation tells a page load from everything else: only for a page load can
// the gate redirect, or answer with a page. A service worker that passes a page
// load on, by fetch(event.request), makes its destination "empty" (Fetch standard,
// section 5.4, Request constructor).
func (v *Visit) isNavigation(h http.Header) bool {
	mode, dest := h.Get("Sec-Fetch-Mode"), h.Get("Sec-Fetch-Dest")
	if mode != "" || dest != "" {
		return mode == "navigate" && (dest == "document" || dest == "empty")
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
