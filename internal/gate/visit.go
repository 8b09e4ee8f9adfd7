package gate

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// Visit is what the gates of a site know of one request. The first gate that sees the
// request makes it, and later ones share it, since what it was read from is removed
// from the request.
type Visit struct {
	method string   // as received, before any rewrite
	url    *url.URL // likewise
	// own are the cookies of gates that were removed, as received.
	own []pair
	// stripped are the cookies and header prefixes that were already removed.
	stripped []string
	// written are the headers that gates have set. No later gate removes them.
	written []*Headers
	// session is the session that the last gate let the request pass with.
	session *ledger.Session
	// room holds the slices' elements, which saves allocations on most sites.
	room struct {
		own      [2]pair
		stripped [2]string
		written  [1]*Headers
		values   [3]string // of the written headers
		cookies  [1]string // the request's other cookies
		vary     [1]string
		private  [1]string
	}
}

// NewVisit returns the visit of a request, with the method and address that the client
// sent.
func NewVisit(method string, u *url.URL) *Visit {
	v := &Visit{method: method, url: u}
	v.own, v.stripped, v.written = v.room.own[:0], v.room.stripped[:0], v.room.written[:0]
	return v
}

// Arrived returns the method and address that the client sent. The address must not be
// changed.
func (v *Visit) Arrived() (method string, u *url.URL) { return v.method, v.url }

// String returns nothing, so that no cookie gets into a log.
func (*Visit) String() string { return "" }

// Strip removes what only the gate may say: headers under prefix, the gate's cookies,
// and ways around both. It does so once in a request's life. With an empty prefix the
// headers stay.
func (g *Gate) Strip(r *http.Request, v *Visit, prefix string) {
	r.Trailer = nil // deleted entries would come back as the body is read
	if v.markStripped(g.cookieMark) {
		v.takeCookies(r.Header, g.cfg.CookieName)
	}
	if v.markStripped(prefix) {
		v.stripHeaders(r.Header, prefix)
	}
}

// markStripped notes what is about to be stripped, and tells whether that is new.
func (v *Visit) markStripped(what string) (isNew bool) {
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
		kept = nil // room holds those that an earlier gate kept
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

// secretCookie returns the value of a gate's cookie that occurs once and is well
// formed. Anything else is no cookie, "": never an error, never a pass.
func (v *Visit) secretCookie(name string) string {
	value, count := v.cookie(name)
	if count != 1 || !ledger.IsID(value) {
		return ""
	}
	return value
}

// secretCookies returns all well-formed values of a gate's cookie, even if there are
// several.
func (v *Visit) secretCookies(name string) (values []string) {
	for _, own := range v.own {
		if own.name == name && ledger.IsID(own.value) {
			values = append(values, own.value)
		}
	}
	return values
}

// stripHeaders removes all headers whose names an upstream may read as beginning with
// prefix (see hasFoldedPrefix). It also removes upgrades to h2c, in which further
// requests would pass every gate in a tunnel. It reads the headers only once, since it
// does so for every request.
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

// stripConnection removes the gate's headers from Connection: a proxy drops all headers
// that are named there.
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

// SetSession notes the session that lets the request pass a gate, and tells whether it
// is the first gate that was passed.
func (v *Visit) SetSession(s *ledger.Session) (isFirst bool) {
	isFirst = v.session == nil
	v.session = s
	return isFirst
}

// Session returns the session of the last gate that was passed.
func (v *Visit) Session() *ledger.Session { return v.session }

// Headers are the names of the headers that tell the upstream of a
// verification, in canonical form.
type Headers struct{ Number, At, Operator string }

// SetHeaders tells the upstream of a verification. No later gate removes these headers.
// Each value has its own slice, since later handlers may change values in place.
func (v *Visit) SetHeaders(h http.Header, names *Headers, s *ledger.Session) {
	values := &v.room.values
	if len(v.written) > 0 {
		values = new([3]string) // room holds those of an earlier gate
	}
	*values = [3]string{s.Number, s.At(), s.Operator}
	h[names.Number] = values[0:1:1]
	h[names.At] = values[1:2:2]
	h[names.Operator] = values[2:3:3]
	v.written = append(v.written, names)
}

// SetVary says in an answer's headers that it depends on the cookies.
func (v *Visit) SetVary(h http.Header) { addField(h, "Vary", "Cookie", &v.room.vary) }

// SetPrivate says in an answer's headers that no shared cache may keep it, in addition
// to what the site says.
func (v *Visit) SetPrivate(h http.Header) { addField(h, "Cache-Control", "private", &v.room.private) }

// addField adds a value to the field of a canonical name, unless it is there. It
// allocates nothing for a new field.
func addField(h http.Header, name, value string, room *[1]string) {
	switch lines := h[name]; {
	case lines == nil:
		room[0] = value
		h[name] = room[:1:1]
	case !slices.Contains(lines, value):
		h[name] = append(lines, value)
	}
}

// hasFoldedPrefix ignores letter case, and takes every byte but letters and digits for
// "-". CGI servers turn "-" into "_" (RFC 3875, section 4.1.18), and some do so with
// all such bytes, such as lighttpd's mod_cgi. To the site X~Verified~Number is then
// the same variable as X-Verified-Number.
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

// folded is a table because it is used for every header of every request.
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

// isNavigation tells whether the request is a page load: no other request can be
// answered with a redirect or a page. The destination is "empty" where a service worker
// forwards a page load by fetch(event.request) (Fetch standard, section 5.4, Request
// constructor).
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
