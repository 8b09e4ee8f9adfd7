package adversary

import (
	"slices"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// forgery is a request that says what only the gate may say, or asks the site to
// speak something that the gate does not hear.
type forgery struct {
	vector
	fields, trailers []string
}

// The kinds of mistakes that forgeries imitate.
const (
	identityHeader = "CVE-2026-30851 (Caddy forward_auth): identity headers that the client sends, and nobody removes"
	withUnderscore = "CVE-2025-64484 (oauth2-proxy), GHSA-5m6w-wvh7-57vm (Traefik), GHSA-f59h-q822-g45g (Caddy): headers that are removed by one spelling and read by another"
	withDots       = "GHSA-49wc-4hcv-v58q (Caddy), CVE-2026-88011 (Traefik): headers with dots, which some sites read as hyphens"
	hopByHop       = "CVE-2021-32813, CVE-2024-45410 (Traefik), CVE-2025-48865 (Fabio), CVE-2021-33197 (Go): headers that Connection declares to be of one hop, so that the next one never sees them"
	byTrailer      = "what is removed from the headers comes back as a trailer"
	tunnel         = "CVE-2026-88008 (Traefik): an upgrade that the proxy passes on becomes a tunnel past it"
	parsing        = "CVE-2019-16276 (Go) and its kind: field lines that two parsers read in two ways"
	otherAddress   = "CVE-2026-40575 (oauth2-proxy), GHSA-6384-m2mw-rf54 (Traefik): a header that tells another address than the request's own"
	otherKind      = "a kind of request that is passed on before anybody looks at its session"
)

const gatesHeader = "X-Verified-Number: " + forged

var forgeries = []forgery{
	{vector: vector{"the gate's own header", identityHeader}, fields: []string{gatesHeader}},
	{vector: vector{"all of the gate's headers", identityHeader}, fields: []string{gatesHeader, "X-Verified-At: " + forged, "X-Verified-Operator: " + forged}},
	{vector: vector{"one that the gate does not set", identityHeader}, fields: []string{"X-Verified-Role: " + forged}},
	{vector: vector{"the bare prefix", identityHeader}, fields: []string{"X-Verified-: " + forged}},
	{vector: vector{"a real number", identityHeader}, fields: []string{"X-Verified-Number: +33639980099"}},
	{vector: vector{"nothing as its value", identityHeader}, fields: []string{"X-Verified-Role:"}},
	{vector: vector{"a list as its value", identityHeader}, fields: []string{"X-Verified-Number: " + stage.VisitorsNumber + ", " + forged}},
	{vector: vector{"a thousand times", identityHeader}, fields: slices.Repeat([]string{gatesHeader}, 1000)},
	{vector: vector{"sent twice", identityHeader}, fields: []string{gatesHeader, gatesHeader}},
	{vector: vector{"a session as Authorization", identityHeader}, fields: []string{"Authorization: NumberVerify AAAA"}},
	{vector: vector{"as a cookie", identityHeader}, fields: []string{"Cookie: X-Verified-Number=" + forged}},

	{vector: vector{"lower case", identityHeader}, fields: []string{"x-verified-number: " + forged}},
	{vector: vector{"upper case", identityHeader}, fields: []string{"X-VERIFIED-NUMBER: " + forged}},
	{vector: vector{"mixed case", identityHeader}, fields: []string{"x-VeRiFiEd-nUmBeR: " + forged}},
	{vector: vector{"underscores", withUnderscore}, fields: []string{"X_Verified_Number: " + forged}},
	{vector: vector{"one underscore", withUnderscore}, fields: []string{"X-Verified_Number: " + forged}},
	{vector: vector{"underscore in the prefix", withUnderscore}, fields: []string{"X_Verified-Number: " + forged}},
	{vector: vector{"underscores and upper case", withUnderscore}, fields: []string{"X_VERIFIED_NUMBER: " + forged}},
	{vector: vector{"dots", withDots}, fields: []string{"X.Verified.Number: " + forged}},
	{vector: vector{"dot and underscore", withDots}, fields: []string{"X.Verified_Number: " + forged}},
	{vector: vector{"underscores beside the plain one", withUnderscore}, fields: []string{gatesHeader, "X_Verified_Number: " + forged, "x-verified_number: " + forged}},
	{vector: vector{"a blank before the colon", parsing}, fields: []string{"X-Verified-Number : " + forged}},
	{vector: vector{"a tab before the colon", parsing}, fields: []string{"X-Verified-Number\t: " + forged}},
	{vector: vector{"a blank before the name", parsing}, fields: []string{" X-Verified-Number: " + forged}},
	{vector: vector{"a folded line", parsing}, fields: []string{"X-Other: a\r\n X-Verified-Number: " + forged}},
	{vector: vector{"a folded line with a tab", parsing}, fields: []string{"X-Other: a\r\n\tX-Verified-Number: " + forged}},
	{vector: vector{"a bare line feed", parsing}, fields: []string{"X-Other: a\nX-Verified-Number: " + forged}},
	{vector: vector{"a bare carriage return", parsing}, fields: []string{"X-Other: a\rX-Verified-Number: " + forged}},
	{vector: vector{"a line break in a value", parsing}, fields: []string{"X-Other: a\r\nX-Verified-Number: " + forged}},
	{vector: vector{"a NUL in the name", parsing}, fields: []string{"X-Verified\x00-Number: " + forged}},
	{vector: vector{"a NUL in the value", parsing}, fields: []string{"X-Verified-Number: " + forged + "\x00"}},
	{vector: vector{"a hyphen of Unicode", parsing}, fields: []string{"X‐Verified‐Number: " + forged}},
	{vector: vector{"a long s", parsing}, fields: []string{"X-Verified-Operatorſ: " + forged}},
	{vector: vector{"no name", parsing}, fields: []string{": " + forged, gatesHeader}},

	{vector: vector{"Connection takes the gate's header away", hopByHop}, fields: []string{"Connection: close, X-Verified-Number"}},
	{vector: vector{"Connection in lower case", hopByHop}, fields: []string{"connection: close, x-verified-number, x-verified-at"}},
	{vector: vector{"Connection with underscores", hopByHop}, fields: []string{"Connection: close, X_Verified_Number"}},
	{vector: vector{"Connection with dots", hopByHop}, fields: []string{"Connection: close, x.verified.number"}},
	{vector: vector{"Connection twice", hopByHop}, fields: []string{"Connection: close", "Connection: X-Verified-Number"}},
	{vector: vector{"Connection twice, empty at first", hopByHop}, fields: []string{"Connection:", "Connection: close, X-Verified-Number"}},
	{vector: vector{"Connection with quotes", hopByHop}, fields: []string{`Connection: close, "X-Verified-Number"`}},
	{vector: vector{"Connection with a parameter", hopByHop}, fields: []string{"Connection: close, X-Verified-Number;q=1"}},
	{vector: vector{"Connection with a thousand names", hopByHop}, fields: []string{"Connection: close" + strings.Repeat(", X-Verified-Number", 1000)}},
	{vector: vector{"Connection with blanks and empty parts", hopByHop}, fields: []string{"Connection: close,, ,\t X-Verified-Number ,"}},
	{vector: vector{"Connection and the forged header", hopByHop}, fields: []string{"Connection: close, X-Verified-Number", gatesHeader}},
	{vector: vector{"Connection takes all of the prefix", hopByHop}, fields: []string{"Connection: close, X-Verified-Number, X-Verified-At, X-Verified-Operator, X-Verified-"}},
	{vector: vector{"Connection takes the cookie away", hopByHop}, fields: []string{"Connection: close, Cookie"}},
	{vector: vector{"Connection takes Host and the forwarded headers away", hopByHop}, fields: []string{"Connection: close, Host, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto"}},
	{vector: vector{"Keep-Alive and Proxy-Connection", hopByHop}, fields: []string{"Keep-Alive: X-Verified-Number", "Proxy-Connection: X-Verified-Number"}},
	{vector: vector{"TE", hopByHop}, fields: []string{"TE: trailers, X-Verified-Number", "Connection: close, TE"}},

	{vector: vector{"a trailer", byTrailer}, trailers: []string{gatesHeader}},
	{vector: vector{"a trailer in lower case", byTrailer}, trailers: []string{"x-verified-number: " + forged}},
	{vector: vector{"a trailer with underscores", byTrailer}, trailers: []string{"X_Verified_Number: " + forged}},
	{vector: vector{"a trailer beside an honest one", byTrailer}, trailers: []string{"X-Checksum: 1", gatesHeader}},
	{vector: vector{"a trailer that nobody announced", byTrailer}, fields: []string{"Trailer: X-Checksum"}, trailers: []string{gatesHeader}},
	{vector: vector{"a trailer that Connection names", byTrailer}, fields: []string{"Connection: close, X-Verified-Number"}, trailers: []string{gatesHeader}},
	{vector: vector{"the session cookie as a trailer", byTrailer}, trailers: []string{"Cookie: number-verify=AAAA"}},
	{vector: vector{"a header that is announced as a trailer", byTrailer}, fields: []string{"Trailer: X-Verified-Number", gatesHeader}},

	{vector: vector{"an upgrade to h2c", tunnel}, fields: []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}},
	{vector: vector{"an upgrade to h2c without its settings", tunnel}, fields: []string{"Connection: Upgrade", "Upgrade: h2c"}},
	{vector: vector{"H2C", tunnel}, fields: []string{"Connection: upgrade", "Upgrade: H2C"}},
	{vector: vector{"h2c beside websocket", tunnel}, fields: []string{"Connection: Upgrade", "Upgrade: websocket, h2c"}},
	{vector: vector{"h2c on a second line", parsing}, fields: []string{"Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"}},
	{vector: vector{"websocket on a second line", tunnel}, fields: []string{"Connection: Upgrade", "Upgrade: h2c", "Upgrade: websocket"}},
	{vector: vector{"h2c with a version", tunnel}, fields: []string{"Connection: Upgrade", "Upgrade: h2c/1"}},
	{vector: vector{"blanks around h2c", tunnel}, fields: []string{"Connection: Upgrade", "Upgrade:  h2c\t"}},
	{vector: vector{"TLS", tunnel}, fields: []string{"Connection: Upgrade", "Upgrade: TLS/1.3"}},
	{vector: vector{"a protocol that nobody knows", tunnel}, fields: []string{"Connection: Upgrade", "Upgrade: anything"}},
	{vector: vector{"the settings alone", tunnel}, fields: []string{"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"}},
	{vector: vector{"an Upgrade that Connection does not name", parsing}, fields: []string{"Upgrade: h2c"}},
	{vector: vector{"a websocket with the forged header", hopByHop}, fields: []string{"Connection: Upgrade, X-Verified-Number", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", gatesHeader}},

	{vector: vector{"X-Original-URL", otherAddress}, fields: []string{"X-Original-URL: /public", "X-Rewrite-URL: /public"}},
	{vector: vector{"X-Forwarded-Uri", otherAddress}, fields: []string{"X-Forwarded-Uri: /public", "X-Forwarded-Method: OPTIONS"}},
	{vector: vector{"X-Forwarded-Prefix", otherAddress}, fields: []string{"X-Forwarded-Prefix: /public", "X-Forwarded-Path: /public"}},
	{vector: vector{"another method", otherAddress}, fields: []string{"X-HTTP-Method-Override: OPTIONS", "X-Method-Override: HEAD"}},
	{vector: vector{"a request from this machine", otherAddress}, fields: []string{"X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1;proto=https;host=localhost", "True-Client-IP: ::1"}},
	{vector: vector{"a health check", "CVE-2026-34457 (oauth2-proxy): a browser's name that passes everywhere"}, fields: []string{"User-Agent: GoogleHC/1.0 kube-probe/1.30"}},
	{vector: vector{"an event stream", otherKind}, fields: []string{"Accept: text/event-stream"}},
	{vector: vector{"a frame", otherKind}, fields: []string{"Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"}},
	{vector: vector{"an expectation", otherKind}, fields: []string{"Expect: 100-continue"}},
	{vector: vector{"a preflight", otherAddress}, fields: []string{"Origin: https://evil.example", "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: X-Verified-Number"}},
}

func TestForgedHeaders(t *testing.T) {
	s := newSite(t, account)
	try := s.forge(t)
	attack(t, "Forged and smuggled headers", forgeries, try)
}

// Caddy itself drops names with underscores and dots, unless it is told that the
// site expects them.
var expecting = []string{
	"expected_underscore_headers x_* X-Verified_Number X.Verified_Number",
	"expected_dot_headers x.* X.Verified_Number",
}

func TestForgedHeadersThatCaddyIsToldToExpect(t *testing.T) {
	s := newSite(t, account, expecting...)
	try := s.forge(t)
	for _, f := range forgeries {
		if f.like == withUnderscore || f.like == withDots {
			t.Run(f.name, func(t *testing.T) { try(t, f) })
		}
	}
}

// forge returns what sends a forgery over all wires: to what is open, and to what
// is not, unverified and verified.
func (s *site) forge(t *testing.T) func(*testing.T, forgery) {
	visitors := map[bool]*stage.Visitor{false: s.verifiedAt(t, s.Origin(stage.HTTP11)), true: s.verifiedAt(t, s.Origin(stage.HTTP11S))}
	s.Upstream.Take()
	return func(t *testing.T, f forgery) {
		for _, w := range stage.Wires {
			t.Run(w.Name, func(t *testing.T) {
				r := stage.Request{Method: "POST", Path: "/public", Fields: f.fields, Trailers: f.trailers, Body: "a"}
				w.Send(s.Stage, r)
				s.unverified(t)
				r.Path = "/account/"
				w.Send(s.Stage, r)
				s.unverified(t)
				w.Send(s.Stage, r.With(visitors[w.IsSecure].CookieField()))
				s.verified(t)
			})
		}
	}
}

// Where there is no gate, they arrive: what gets through would be noticed. Some
// get through nowhere, and some no site believes.
func TestForgedHeadersAreNoticedWithoutAGate(t *testing.T) {
	s, lenient := newSite(t, "reverse_proxy UPSTREAM"), newSite(t, "reverse_proxy UPSTREAM", expecting...)
	noticed := make(map[string]int)
	for _, f := range forgeries {
		found := 0
		for _, s := range []*site{s, lenient} {
			for _, w := range stage.Wires {
				w.Send(s.Stage, stage.Request{Method: "POST", Path: "/public", Fields: f.fields, Trailers: f.trailers, Body: "a"})
				for _, a := range s.Upstream.Take() {
					found += len(breaches(t, a))
				}
			}
		}
		switch {
		case found > 0:
			noticed[f.like]++
		case f.like == withUnderscore, f.like == withDots, f.like == byTrailer, f.like == tunnel:
			t.Errorf("%s is not noticed", f.name)
		}
	}
	if noticed[identityHeader] < 8 || noticed[parsing] < 2 {
		t.Errorf("noticed: %v", noticed)
	}
}
