package adversary

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// spelling is one of what is behind the gate, or of an endpoint of the gate
// that would let it fall through.
type spelling struct {
	vector
	target string
}

// The kinds of mistakes that paths imitate.
const (
	otherCase   = "CVE-2026-27587 (Caddy): a path that the matcher compares by letter case, and the site does not"
	encoded     = "GHSA-6jwx-7vp4-9847, GHSA-gm3x-23wp-hc2c (Traefik): a path that the matcher reads encoded and the site decoded, or the reverse"
	dotted      = "CVE-2026-48020 (Traefik): dots that the site resolves after the matcher has looked"
	backslashed = "GHSA-qrp7-cvwr-j2c6 (Caddy): a backslash that the site takes for a slash"
	otherPath   = "a path that the matcher reads in one way and the site in another"
	exempt      = "a path that looks as if it were exempt: an asset, a health check, the gate's own"
	otherTarget = "a request target that is not a path"
)

var paths = []spelling{
	{vector{"plain", otherPath}, "/account/"},
	{vector{"without its slash", otherPath}, "/account"},
	{vector{"upper case", otherCase}, "/ACCOUNT/"},
	{vector{"mixed case", otherCase}, "/aCCount/x"},
	{vector{"a letter is encoded", encoded}, "/%61ccount/"},
	{vector{"all letters are encoded", encoded}, "/%61%63%63%6f%75%6e%74/"},
	{vector{"upper case, encoded", otherCase}, "/%41CCOUNT/"},
	{vector{"encoded twice", encoded}, "/%2561ccount/"},
	{vector{"the slash is encoded", encoded}, "/account%2Fx"},
	{vector{"the slash is encoded in lower case", encoded}, "/account%2fx"},
	{vector{"the first slash is encoded", encoded}, "/%2Faccount/"},
	{vector{"two slashes before", otherPath}, "//account/"},
	{vector{"many slashes before", otherPath}, "/////account/"},
	{vector{"two slashes within", otherPath}, "/account//x"},
	{vector{"a dot before", dotted}, "/./account/"},
	{vector{"an encoded dot before", dotted}, "/%2e/account/"},
	{vector{"up and down", dotted}, "/public/../account/"},
	{vector{"up and down, encoded", dotted}, "/public/%2e%2e/account/"},
	{vector{"up and down, half encoded", dotted}, "/public/.%2E/account/"},
	{vector{"up and down, slash encoded", dotted}, "/public/..%2faccount/"},
	{vector{"up and down, all encoded", dotted}, "/public%2f%2e%2e%2faccount%2f"},
	{vector{"up and down, encoded twice", dotted}, "/public/%252e%252e/account/"},
	{vector{"up past the root", dotted}, "/../../account/"},
	{vector{"out and in again", dotted}, "/account/../account/"},
	{vector{"down and up", dotted}, "/account/x/../"},
	{vector{"a dot at the end", dotted}, "/account/."},
	{vector{"two dots at the end", dotted}, "/public/account/../../account/x/.."},
	{vector{"backslashes", backslashed}, "/public\\..\\account\\"},
	{vector{"encoded backslashes", backslashed}, "/public%5c..%5caccount%5c"},
	{vector{"a leading backslash", backslashed}, "/\\account/"},
	{vector{"a path parameter", otherPath}, "/account;a=b/"},
	{vector{"a path parameter of dots", dotted}, "/public/..;/account/"},
	{vector{"a path parameter before", otherPath}, "/;a/account/"},
	{vector{"a NUL at the end", otherPath}, "/account/%00"},
	{vector{"a NUL within", otherPath}, "/account%00/"},
	{vector{"a line break at the end", otherPath}, "/account/%0a"},
	{vector{"a carriage return at the end", otherPath}, "/account/%0d%0a"},
	{vector{"a blank at the end", otherPath}, "/account/%20"},
	{vector{"a plus at the end", otherPath}, "/account/+"},
	{vector{"overlong UTF-8 for a slash", otherPath}, "/public/..%c0%afaccount/"},
	{vector{"overlong UTF-8 for a dot", dotted}, "/public/%c0%ae%c0%ae/account/"},
	{vector{"a broken encoding", encoded}, "/account/%"},
	{vector{"an encoding that is none", encoded}, "/account/%zz"},
	{vector{"Unicode that folds to it", otherPath}, "/ａccount/"},
	{vector{"a long s", otherPath}, "/account/ſ"},
	{vector{"a Kelvin sign", otherPath}, "/acKount/"},
	{vector{"a question mark, encoded", encoded}, "/account/%3fa=b"},
	{vector{"a number sign, encoded", encoded}, "/account/%23"},
	{vector{"a number sign as it is", otherPath}, "/account/#/public"},
	{vector{"slashes alone", otherPath}, "//"},
	{vector{"an encoded slash alone", encoded}, "/%2F"},
	{vector{"a parameter alone", otherPath}, "/;/"},
	{vector{"a long query", otherPath}, "/?" + strings.Repeat("a", 4000)},

	{vector{"an image", exempt}, "/account/x.png"},
	{vector{"robots.txt", exempt}, "/account/robots.txt"},
	{vector{"a well-known place", exempt}, "/account/.well-known/security.txt"},
	{vector{"a static file behind a parameter", exempt}, "/account/;.css"},
	{vector{"a query that names an open path", exempt}, "/account/?/public"},
	{vector{"a query that names the gate", exempt}, "/account/?/.number-verify/"},
	{vector{"through the gate's path and up", exempt}, "/.number-verify/../account/"},
	{vector{"through the gate's path and up, encoded", exempt}, "/.number-verify/%2e%2e/account/"},
	{vector{"through the gate's path and a slash that is encoded", exempt}, "/.number-verify/..%2faccount/"},
	{vector{"through the gate's path with a parameter", exempt}, "/.number-verify/..;/account/"},
	{vector{"the gate's path within", exempt}, "/account/.number-verify/status"},
	{vector{"the gate's path in upper case", exempt}, "/.NUMBER-VERIFY/../account/"},
	{vector{"the gate's path in upper case, alone", exempt}, "/.NUMBER-VERIFY/"},
	{vector{"a name that begins like the gate's", exempt}, "/.number-verify-not"},
	{vector{"the gate's path, two slashes before", exempt}, "//.number-verify/status"},
	{vector{"the gate's path, two slashes behind", exempt}, "/.number-verify//"},
	{vector{"an endpoint with a segment behind it", exempt}, "/.number-verify/start/x"},
	{vector{"an endpoint with more behind it", exempt}, "/.number-verify/status/../../account/"},
	{vector{"the callback with more behind it", exempt}, "/.number-verify/callback/../../account/?state=x"},

	{vector{"the address of the site", otherTarget}, "http://SITE/account/"},
	{vector{"the address of another site", otherTarget}, "http://evil.example/account/"},
	{vector{"another scheme", otherTarget}, "https://SITE/account/"},
	{vector{"a scheme that is none", otherTarget}, "x://SITE/account/"},
	{vector{"no scheme", otherTarget}, "SITE/account/"},
	{vector{"somebody's name", otherTarget}, "http://a:b@SITE/account/"},
	{vector{"an opaque target", otherTarget}, "http:/account/"},
	{vector{"a scheme in the path", otherTarget}, "/http://SITE/account/"},
	{vector{"the front page of another site", otherTarget}, "http://evil.example/"},
	{vector{"an asterisk", otherTarget}, "*"},
	{vector{"no slash", otherTarget}, "account/"},
}

func TestPathsOfAnotherSpelling(t *testing.T) {
	one, all := newSite(t, account), newSite(t, whole)
	attack(t, "Paths of another spelling", paths, func(t *testing.T, p spelling) {
		for _, w := range stage.Wires {
			for _, method := range []string{"GET", "POST"} {
				w.Send(one.Stage, stage.Request{Method: method, Path: one.Fill(p.target)})
				one.unverified(t)
				w.Send(all.Stage, stage.Request{Method: method, Path: all.Fill(p.target)})
				if got := all.Upstream.Take(); len(got) > 0 {
					t.Errorf("%v passed a gate that is before the whole site", got[0])
				}
			}
		}
	})
}

// Where there is no gate, they arrive: what gets through would be noticed.
func TestPathsAreNoticedWithoutAGate(t *testing.T) {
	s, arrivals, gated := newSite(t, "reverse_proxy UPSTREAM"), 0, 0
	for _, p := range paths {
		s.Get(s.Fill(p.target))
		got := s.Upstream.Take()
		arrivals += len(got)
		if slices.ContainsFunc(got, func(a *stage.Received) bool { return servesProtected(t, a.RequestURI) }) {
			gated++
		}
	}
	if arrivals < 60 || gated < 45 {
		t.Errorf("of %d spellings %d arrive, %d of them at what is behind the gate", len(paths), arrivals, gated)
	}
}

// A stranger chooses Host. It may lead him to nothing, or around, but never
// decide where others are sent.
func TestHostsOfAStrangersChoice(t *testing.T) {
	type host struct {
		vector
		host   string
		fields []string
	}
	const (
		poisoned  = "Host poisoning: addresses that are built from what the client says"
		otherCase = "GHSA-x76f-jf84-rqj8 (Caddy): a host that is compared by letter case"
		forwarded = "CVE-2024-21498, CVE-2024-21499 (caddy-security), CVE-2024-52003 (Traefik): forwarded headers of a proxy that nobody trusts"
	)
	vectors := []host{
		{vector{"another host", poisoned}, "evil.example", nil},
		{vector{"a host that begins like the site", poisoned}, "SITE.evil.example", nil},
		{vector{"a host that ends like the site", poisoned}, "evil-SITE", nil},
		{vector{"somebody's name before the site", poisoned}, "evil@SITE", nil},
		{vector{"the site before a name", poisoned}, "SITE@evil.example", nil},
		{vector{"another port", poisoned}, "127.0.0.1:1", nil},
		{vector{"no port", poisoned}, "127.0.0.1", nil},
		{vector{"a port that is none", poisoned}, "127.0.0.1:evil", nil},
		{vector{"a trailing dot", poisoned}, "localhost.", nil},
		{vector{"upper case", otherCase}, "LOCALHOST", nil},
		{vector{"an address in decimal", poisoned}, "2130706433", nil},
		{vector{"an IPv6 address", poisoned}, "[::1]", nil},
		{vector{"a zone", poisoned}, "[::1%25evil.example]", nil},
		{vector{"an open bracket", poisoned}, "[::1", nil},
		{vector{"a slash", poisoned}, "evil.example/SITE", nil},
		{vector{"a question mark", poisoned}, "evil.example?SITE", nil},
		{vector{"a number sign", poisoned}, "evil.example#SITE", nil},
		{vector{"a backslash", poisoned}, "evil.example\\SITE", nil},
		{vector{"a comma", poisoned}, "SITE, evil.example", nil},
		{vector{"a blank", poisoned}, "SITE evil.example", nil},
		{vector{"markup", poisoned}, "\"><script>evil", nil},
		{vector{"a placeholder", poisoned}, "{env.ADVERSARY_SECRET}", nil},
		{vector{"a name in brackets", "CVE-2025-47912 (Go): text in brackets that is no address"}, "[localhost]", nil},
		{vector{"punycode", poisoned}, "xn--evl-7na.example", nil},
		{vector{"nothing", poisoned}, " ", nil},
		{vector{"X-Forwarded-Host", forwarded}, "", []string{"X-Forwarded-Host: evil.example"}},
		{vector{"X-Forwarded-Host and all its kin", forwarded}, "", []string{"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: gopher", "X-Forwarded-Port: 1", "X-Host: evil.example", "X-Forwarded-Server: evil.example"}},
		{vector{"Forwarded", forwarded}, "", []string{"Forwarded: host=evil.example;proto=https"}},
		{vector{"X-Original-Host", forwarded}, "", []string{"X-Original-Host: evil.example", "X-HTTP-Host-Override: evil.example"}},
		{vector{"X-Forwarded-Prefix", forwarded}, "", []string{"X-Forwarded-Prefix: //evil.example", "X-Forwarded-Uri: //evil.example", "X-Script-Name: //evil.example"}},
		{vector{"X-Forwarded-Proto as a script", forwarded}, "", []string{"X-Forwarded-Proto: javascript"}},
		{vector{"X-Forwarded-Proto", forwarded}, "", []string{"X-Forwarded-Proto: https", "Front-End-Https: on", "X-Forwarded-Ssl: on"}},
	}
	s := newSite(t, account)
	attack(t, "Hosts of a stranger's choice", vectors, func(t *testing.T, h host) {
		for _, w := range stage.Wires {
			if w.Name == stage.HTTP10.Name && h.host == " " {
				continue // is a request without Host, which HTTP/1.0 allows
			}
			v := s.VisitorAt(t, s.Origin(w))
			v.Open("/.number-verify/")
			r := stage.Request{Method: "POST", Path: "/.number-verify/start", Host: s.Fill(h.host), Body: "number=0639980001&return=/account/"}
			r = r.With(append(h.fields, v.CookieField(), "Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: same-origin", "Accept: text/html")...)
			before := s.Provider.Calls()
			a := w.Send(s.Stage, r)
			if h.host != "" && s.Provider.Calls() != before {
				t.Errorf("%s: a start was made (%d)", w.Name, a.StatusCode)
			}
			if h.host == "" {
				if a.StatusCode != http.StatusSeeOther {
					t.Fatalf("%s: the start answers %d %q", w.Name, a.StatusCode, a.Code())
				}
				// the operator sends the visitor back to the site, and nowhere else
				back := v.Open(a.Location()).Location()
				if !strings.HasPrefix(back, s.Origin(w)+"/.number-verify/callback?") {
					t.Errorf("%s: the callback goes to %s", w.Name, back)
				}
			}
			for name, values := range a.Header {
				for _, value := range values {
					if strings.Contains(value, "evil") {
						t.Errorf("%s: %s: %s", w.Name, name, value)
					}
				}
			}
			w.Send(s.Stage, stage.Request{Path: "/account/", Host: s.Fill(h.host), Fields: h.fields})
			s.unverified(t)
		}
	})
}
