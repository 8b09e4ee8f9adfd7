package adversary

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// wayBack is a return path that leads elsewhere, or would do something on the way.
type wayBack struct {
	vector
	to string
}

// The kinds of mistakes that return paths imitate.
const (
	openRedirect = "CVE-2020-5233 (oauth2-proxy), CVE-2024-21497 (caddy-security): open redirect by an address that passes for a path"
	otherDomain  = "CVE-2021-21291 (oauth2-proxy): open redirect to a host that only looks like the site's"
	withBlanks   = "CVE-2020-11053 (oauth2-proxy): open redirect by blanks and control characters that the browser drops"
	confusedURL  = "CVE-2020-4037 (oauth2-proxy): open redirect by an address that checker and browser read differently"
	splitAnswer  = "response splitting by an address"
	scripted     = "GHSA-cf57-c578-7jvv (Anubis), CVE-2024-21496 (caddy-security): an address that is a script"
	upAndOut     = "CVE-2022-28923 (Caddy): a path that is cleaned into an address"
	sentOn       = "CVE-2026-27142 (Go): an address in a page that sends on"
	looped       = "a way back that leads into the gate again"
)

var waysBack = []wayBack{
	{vector{"another site", openRedirect}, "https://evil.example/"},
	{vector{"another site by http", openRedirect}, "http://evil.example/"},
	{vector{"no scheme", openRedirect}, "//evil.example/"},
	{vector{"no scheme, and up", upAndOut}, "//evil.example/.."},
	{vector{"no scheme, and up, encoded", upAndOut}, "//evil.example/%2e%2e"},
	{vector{"three slashes", openRedirect}, "///evil.example/"},
	{vector{"many slashes", openRedirect}, "//////evil.example/"},
	{vector{"a scheme without slashes", openRedirect}, "https:evil.example"},
	{vector{"a scheme with one slash", openRedirect}, "https:/evil.example"},
	{vector{"a scheme with three slashes", openRedirect}, "https:///evil.example"},
	{vector{"no slash at all", openRedirect}, "evil.example"},
	{vector{"a dot before", openRedirect}, ".evil.example"},
	{vector{"an at sign before", openRedirect}, "@evil.example"},
	{vector{"a colon before", openRedirect}, ":80@evil.example"},
	{vector{"the site as a name", otherDomain}, "https://SITE@evil.example/"},
	{vector{"the site as a password", otherDomain}, "https://a:SITE@evil.example/"},
	{vector{"the site as a beginning", otherDomain}, "https://SITE.evil.example/"},
	{vector{"the site as a path", otherDomain}, "https://evil.example/SITE"},
	{vector{"the site as a query", otherDomain}, "https://evil.example?SITE"},
	{vector{"the site as a fragment", otherDomain}, "https://evil.example#SITE"},
	{vector{"upper case", openRedirect}, "HTTPS://EVIL.EXAMPLE/"},
	{vector{"an IPv6 address", openRedirect}, "//[2001:db8::1]/"},
	{vector{"an address in decimal", openRedirect}, "//3221226025/"},
	{vector{"the site itself, whole", openRedirect}, "http://SITE/account/"},
	{vector{"the site by the other scheme", openRedirect}, "https://SITE/account/"},

	{vector{"a backslash", confusedURL}, "\\evil.example"},
	{vector{"two backslashes", confusedURL}, "\\\\evil.example"},
	{vector{"slash and backslash", confusedURL}, "/\\evil.example"},
	{vector{"backslash and slash", confusedURL}, "\\/evil.example"},
	{vector{"slash, backslash, slash", confusedURL}, "/\\/evil.example"},
	{vector{"two slashes and a backslash", confusedURL}, "//\\evil.example"},
	{vector{"a backslash after the scheme", confusedURL}, "https:\\\\evil.example"},
	{vector{"a tab between the slashes", withBlanks}, "/\t/evil.example"},
	{vector{"a tab before", withBlanks}, "\t//evil.example"},
	{vector{"a line feed between the slashes", withBlanks}, "/\n/evil.example"},
	{vector{"a carriage return between the slashes", withBlanks}, "/\r/evil.example"},
	{vector{"a line feed in the scheme", withBlanks}, "ht\ntps://evil.example"},
	{vector{"a blank before", withBlanks}, " //evil.example"},
	{vector{"a blank between the slashes", withBlanks}, "/ /evil.example"},
	{vector{"a vertical tab", withBlanks}, "/\x0b/evil.example"},
	{vector{"a form feed", withBlanks}, "/\x0c/evil.example"},
	{vector{"a NUL", withBlanks}, "/\x00/evil.example"},
	{vector{"a NUL before", withBlanks}, "\x00//evil.example"},
	{vector{"an escape", withBlanks}, "\x1b//evil.example"},
	{vector{"a DEL", withBlanks}, "/\x7f/evil.example"},
	{vector{"a dot between the slashes", confusedURL}, "/.//evil.example"},
	{vector{"dots and a slash", confusedURL}, "/..//evil.example"},
	{vector{"a dot and a backslash", confusedURL}, "/./\\evil.example"},
	{vector{"up and two slashes", confusedURL}, "/account/..//evil.example"},
	{vector{"up and a backslash", confusedURL}, "/account/../\\evil.example"},
	{vector{"encoded slashes", confusedURL}, "/%2fevil.example"},
	{vector{"encoded slashes, both", confusedURL}, "%2f%2fevil.example"},
	{vector{"an encoded backslash", confusedURL}, "/%5cevil.example"},
	{vector{"encoded dots before", confusedURL}, "/%2e%2e//evil.example"},
	{vector{"encoded slashes, twice", confusedURL}, "/%252fevil.example"},
	{vector{"an encoded tab", withBlanks}, "/%09/evil.example"},
	{vector{"an encoded line feed", withBlanks}, "/%0a/evil.example"},
	{vector{"a no-break space", confusedURL}, "/\u00a0/evil.example"},
	{vector{"an ideographic full stop", confusedURL}, "//evil。example"},
	{vector{"a slash of Unicode", confusedURL}, "/／evil.example"},
	{vector{"a fraction slash", confusedURL}, "/⁄evil.example"},
	{vector{"a zero width blank", withBlanks}, "\u200b//evil.example"},
	{vector{"a byte order mark", withBlanks}, "\ufeff//evil.example"},
	{vector{"invalid UTF-8", confusedURL}, "/\xff/evil.example"},
	{vector{"overlong UTF-8", confusedURL}, "/\xc0\xafevil.example"},
	{vector{"a path parameter", confusedURL}, "/;@evil.example"},
	{vector{"a port alone", confusedURL}, "//:80/"},
	{vector{"a host alone", confusedURL}, "//"},
	{vector{"a question mark first", confusedURL}, "?//evil.example"},
	{vector{"a number sign first", confusedURL}, "#//evil.example"},
	{vector{"a broken encoding", confusedURL}, "/%zz//evil.example"},

	{vector{"a header", splitAnswer}, "/\r\nSet-Cookie: number-verify=evil"},
	{vector{"a header, encoded", splitAnswer}, "/%0d%0aSet-Cookie:%20number-verify=evil"},
	{vector{"a header by line feeds", splitAnswer}, "/\nLocation: https://evil.example"},
	{vector{"a body", splitAnswer}, "/\r\n\r\n<script>evil</script>"},
	{vector{"line breaks of Unicode", splitAnswer}, "/\u560d\u560aSet-Cookie:evil=1"},
	{vector{"a header that lost its high bytes", splitAnswer}, "/\u010d\u010aSet-Cookie:evil=1"},

	{vector{"a script", scripted}, "javascript:alert(document.domain)//evil"},
	{vector{"a script with a tab", scripted}, "java\tscript:alert(1)//evil"},
	{vector{"a script with blanks", scripted}, " \x01javascript:alert(1)//evil"},
	{vector{"a script that looks like an address", scripted}, "javascript://SITE/%0aalert(1)//evil"},
	{vector{"data", scripted}, "data:text/html,<script>evil</script>"},
	{vector{"vbscript", scripted}, "vbscript:evil"},
	{vector{"a file", scripted}, "file:///etc/passwd?evil"},
	{vector{"a view of the source", scripted}, "view-source:https://evil.example"},
	{vector{"an intent", scripted}, "intent://evil.example#Intent;scheme=http;end"},
	{vector{"another address for a page that sends on", sentOn}, "/a;url=//evil.example"},
	{vector{"a script for a page that sends on", sentOn}, "/a\" url = javascript:evil()"},
	{vector{"markup", scripted}, "/\"><script>evil</script>"},
	{vector{"an attribute", scripted}, "/' autofocus onfocus='evil()"},

	{vector{"the form", looped}, "/.number-verify/"},
	{vector{"the form without its slash", looped}, "/.number-verify"},
	{vector{"the sign-out", looped}, "/.number-verify/sign-out?return=//evil.example"},
	{vector{"the callback", looped}, "/.number-verify/callback?state=evil"},
	{vector{"the gate's path by way of dots", looped}, "/account/../.number-verify/?return=//evil.example"},
	{vector{"the gate's path, encoded", looped}, "/%2enumber-verify/?return=//evil.example"},
	{vector{"the gate's path, with two slashes", looped}, "//.number-verify/"},
	{vector{"longer than 2,048 bytes", looped}, "/" + strings.Repeat("a", 2048)},
	{vector{"the form within the form, often", looped}, strings.Repeat("/.number-verify/?return=", 40)},
}

var returnField = regexp.MustCompile(`name="return" value="([^"]*)"`)

func TestReturnPathsOfAdversaries(t *testing.T) {
	s := newSite(t, account)
	attack(t, "Return paths that lead elsewhere", waysBack, func(t *testing.T, b wayBack) {
		to := s.Fill(b.to)
		v := s.VisitorAt(t, s.Origin(stage.HTTP11))
		s.throughAttempt(t, v, to)
		s.throughRequests(t, to)
		for _, a := range s.Upstream.Take() {
			if servesProtected(t, a.RequestURI) && a.Header.Get("X-Verified-Number") != stage.VisitorsNumber {
				t.Errorf("%v reached the site unverified", a)
			}
		}
	})
}

// throughAttempt gives the way back to all that takes one in the course of a
// verification.
func (s *site) throughAttempt(t *testing.T, v *stage.Visitor, to string) {
	t.Helper()
	form := v.Open("/.number-verify/?return=" + url.QueryEscape(to))
	m := returnField.FindStringSubmatch(form.Body)
	if m == nil {
		t.Fatalf("no way back in the form (%d)", form.StatusCode)
	}
	s.leadsHome(t, "the form", html.UnescapeString(m[1]))
	start := v.Post("/.number-verify/start", url.Values{"number": {stage.TypedNumber}, "return": {to}}) // whatever the form says
	callback := v.Open(v.Open(start.Location()).Location())
	if callback.StatusCode != http.StatusSeeOther {
		t.Fatalf("the callback answers %d %q", callback.StatusCode, callback.Code())
	}
	s.leadsHome(t, "the callback", callback.Location())
	// a phone that dropped the session is sent on by a page
	given := s.Get("/.number-verify/?return="+url.QueryEscape(to), "Accept: text/html", "Cookie: number-verify-browser="+v.Cookie(stage.BrowserCookie))
	onward := given.Refresh()
	if onward == "" {
		t.Fatalf("the session is not given once more (%d)", given.StatusCode)
	}
	s.leadsHome(t, "the page that sends on", onward)
	s.leadsHome(t, "the form of who is verified", links(v.Open("/.number-verify/?return="+url.QueryEscape(to)))...)
	s.leadsHome(t, "the sign-out", v.Post("/.number-verify/sign-out", url.Values{"return": {to}}).Location())
}

// throughRequests makes it the address of a request that the gate sends away, and
// of the page that one came from.
func (s *site) throughRequests(t *testing.T, to string) {
	t.Helper()
	for _, target := range []string{to, "/account/" + to, "/account/?return=" + url.QueryEscape(to)} {
		a := s.Get(target, "Accept: text/html")
		if a.StatusCode == http.StatusSeeOther {
			s.leadsHome(t, "the gate", a.Location())
		}
	}
	page := stage.HTTP11.Send(s.Stage, stage.Request{Method: "POST", Path: "/account/", Fields: []string{"Accept: text/html", "Referer: " + s.Origin(stage.HTTP11) + to}, Body: "a"})
	s.leadsHome(t, "the refusal", links(page)...)
}

var href = regexp.MustCompile(`href="([^"]*)"`)

// links are the addresses that a page offers.
func links(page *stage.Answer) []string {
	var all []string
	for _, m := range href.FindAllStringSubmatch(page.Body, -1) {
		all = append(all, html.UnescapeString(m[1]))
	}
	return all
}

// leadsHome checks that a browser that is at the site stays there, and that its
// way back is none into the gate.
func (s *site) leadsHome(t *testing.T, where string, addresses ...string) {
	t.Helper()
	for _, address := range addresses {
		base, err := url.Parse(s.Origin(stage.HTTP11) + "/.number-verify/callback")
		if err != nil {
			t.Fatal(err)
		}
		to, err := base.Parse(asABrowser(address))
		if err != nil {
			t.Errorf("%s: %q: %v", where, address, err)
			continue
		}
		// a path that begins with two slashes, once its dots are resolved, is
		// an address for whoever resolves it twice
		if to.Scheme != "http" || to.Host != s.Addr || to.User != nil || strings.HasPrefix(to.Path, "//") {
			t.Errorf("%s leads to %q", where, address)
		}
		if strings.HasPrefix(address, "/") && to.Path == "/.number-verify/sign-out" || to.Path == "/.number-verify/callback" {
			t.Errorf("%s leads into the gate: %q", where, address)
		}
		if strings.ContainsFunc(address, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("%s has control characters: %q", where, address)
		}
		if !strings.HasPrefix(to.Path, "/.number-verify") {
			continue // what the site does with its parameters is its own affair
		}
		for _, back := range to.Query()["return"] {
			s.leadsHome(t, where+", and then", back)
		}
	}
}

// asABrowser writes an address as browsers read it: blanks and control characters
// around it, tabs and line breaks within are not there, a backslash is a slash,
// and slashes that are too many are not counted.
func asABrowser(address string) string {
	address = strings.TrimFunc(address, func(r rune) bool { return r <= ' ' })
	address = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(address)
	place, query, hasQuery := strings.Cut(address, "?")
	place = strings.ReplaceAll(place, "\\", "/")
	if strings.HasPrefix(place, "//") {
		place = "//" + strings.TrimLeft(place, "/")
	}
	if hasQuery {
		place += "?" + query
	}
	return place
}
