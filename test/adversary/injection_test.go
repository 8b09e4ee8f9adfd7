package adversary

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// payload is text that becomes something else where it is not taken as text.
type payload struct {
	vector
	text string
}

// The kinds of mistakes that payloads imitate.
const (
	placeholder = "CVE-2026-30852, CVE-2026-77281 (Caddy): a request's text that the server's replacer expands"
	template    = "server-side template injection"
	markup      = "CVE-2023-52430 (caddy-security): cross-site scripting by what is shown again"
	logLine     = "CVE-2024-45808 (Envoy), log injection: text that writes lines, or orders the terminal"
	splitHeader = "response splitting: text that becomes a header"
	command     = "text that becomes a command of the store"
	traversal   = "text that becomes the path of a file"
	formatVerb  = "text that becomes a format"
)

var payloads = []payload{
	{vector{"the environment", placeholder}, "{env.ADVERSARY_SECRET}"},
	{vector{"the client's secret", placeholder}, "{env.ADVERSARY_CLIENT_SECRET}"},
	{vector{"the environment of old", placeholder}, "{$ADVERSARY_SECRET}"},
	{vector{"a file", placeholder}, "{file./etc/passwd}"},
	{vector{"a header of the request", placeholder}, "{http.request.header.Cookie}"},
	{vector{"a cookie", placeholder}, "{http.request.cookie.number-verify-browser}"},
	{vector{"a variable", placeholder}, "{http.vars.root}"},
	{vector{"the number", placeholder}, "{http.number_verify.number}"},
	{vector{"one within another", placeholder}, "{env.{env.ADVERSARY_SECRET}}"},
	{vector{"one that is escaped", placeholder}, `\{env.ADVERSARY_SECRET\}`},
	{vector{"one that is encoded", placeholder}, "%7Benv.ADVERSARY_SECRET%7D"},
	{vector{"one that is encoded twice", placeholder}, "%257Benv.ADVERSARY_SECRET%257D"},
	{vector{"one that does not end", placeholder}, "{env.ADVERSARY_SECRET"},
	{vector{"one of a shell", placeholder}, "$(printenv ADVERSARY_SECRET) `printenv` ${ADVERSARY_SECRET}"},

	{vector{"a template of Go", template}, `{{.}}{{printf "%s" .}}{{env "ADVERSARY_SECRET"}}`},
	{vector{"a function of Caddy's templates", template}, `{{readFile "/etc/passwd"}}{{placeholder "env.ADVERSARY_SECRET"}}`},
	{vector{"a template of others", template}, "${7*7}<%= 7*7 %>#{7*7}"},

	{vector{"a script", markup}, "<script>evil()</script>"},
	{vector{"an image", markup}, "<img src=x onerror=evil()>"},
	{vector{"a drawing", markup}, "<svg/onload=evil()>"},
	{vector{"out of an attribute", markup}, `"><script>evil()</script>`},
	{vector{"out of an attribute in single quotes", markup}, "' autofocus onfocus='evil()"},
	{vector{"out of a comment", markup}, "--><script>evil()</script><!--"},
	{vector{"out of a title", markup}, "</title></textarea></style><script>evil()</script>"},
	{vector{"in another encoding", markup}, "+ADw-script+AD4-evil()+ADw-/script+AD4-"},
	{vector{"with a NUL", markup}, "<scr\x00ipt>evil()</script>"},
	{vector{"by an address", markup}, "javascript:evil()"},
	{vector{"by a style", markup}, "</style><style>*{background:url(//evil.example)}"},

	{vector{"a line", logLine}, "a\n{\"level\":\"error\",\"logger\":\"http.handlers.number_verify\",\"msg\":\"evil\"}"},
	{vector{"a line by a carriage return", logLine}, "a\r\n{\"level\":\"info\",\"msg\":\"verified\"}"},
	{vector{"a line, encoded", logLine}, "a%0d%0a{\"level\":\"info\",\"msg\":\"verified\"}"},
	{vector{"out of a text", logLine}, `","level":"panic","msg":"evil`},
	{vector{"colours", logLine}, "\x1b[31mevil\x1b[0m\x1b]0;evil\x07"},
	{vector{"line breaks of Unicode", logLine}, "a\u2028evil\u2029\u0085"},
	{vector{"the other direction", logLine}, "\u202egnp.live"},
	{vector{"a backspace", logLine}, "a\b\b\bevil"},

	{vector{"a header", splitHeader}, "a\r\nEvil: 1\r\nSet-Cookie: number-verify=evil"},
	{vector{"a header, encoded", splitHeader}, "a%0d%0aEvil:%201"},
	{vector{"a header that lost its high bytes", splitHeader}, "a\u560d\u560aEvil: 1"},

	{vector{"a command of Redis", command}, "a\r\n*1\r\n$8\r\nFLUSHALL\r\n"},
	{vector{"a script of Redis", command}, "') redis.call('FLUSHALL') --"},
	{vector{"a query", command}, "' OR '1'='1'; DROP TABLE sessions; --"},
	{vector{"a pattern", command}, "*"},

	{vector{"a way up", traversal}, "../../../../../../etc/passwd"},
	{vector{"a way up, encoded", traversal}, "..%2f..%2f..%2f..%2fetc%2fpasswd"},
	{vector{"a way up by backslashes", traversal}, "..\\..\\..\\windows\\win.ini"},
	{vector{"a way up and a NUL", traversal}, "../../etc/passwd\x00.html"},

	{vector{"verbs", formatVerb}, "%s%d%n%x%!(EXTRA)%v%+v%#v"},
	{vector{"a thousand verbs", formatVerb}, strings.Repeat("%s%n", 1000)},
}

// place is where a text can be put.
type place struct {
	name string
	put  func(s *site, v *stage.Visitor, text string) *stage.Answer
}

// inHeader puts it into a header of requests to what is not open and to the form.
func inHeader(name string) place {
	return place{name, func(s *site, _ *stage.Visitor, text string) *stage.Answer {
		all := new(stage.Answer)
		for _, w := range []stage.Wire{stage.HTTP11, stage.H2C} {
			for _, path := range []string{"/account/", "/.number-verify/"} {
				a := w.Send(s.Stage, stage.Request{Path: path, Fields: []string{"Accept: text/html", name + ": " + text}})
				a.Body += all.Body
				all = a
			}
		}
		return all
	}}
}

// inAddress puts it into an address, encoded and as it stands.
func inAddress(name string, address func(text string) string) place {
	return place{name, func(s *site, v *stage.Visitor, text string) *stage.Answer {
		s.Get(address(text), "Accept: text/html")
		return s.Get(address(url.QueryEscape(text)), "Accept: text/html", v.CookieField())
	}}
}

var places = []place{
	{"the number", func(_ *site, v *stage.Visitor, text string) *stage.Answer { return begin(v, text, "/") }},
	{"the number in JSON", func(_ *site, v *stage.Visitor, text string) *stage.Answer {
		return v.Post(startPath, url.Values{"number": {text}}, "Accept: application/json")
	}},
	{"the return path of a start", func(_ *site, v *stage.Visitor, text string) *stage.Answer {
		return begin(v, "06 39 98 00 05", "/"+text)
	}},
	{"the return path of a sign-out", func(_ *site, v *stage.Visitor, text string) *stage.Answer {
		return v.Post("/.number-verify/sign-out", url.Values{"return": {text}})
	}},
	{"the provider's answer through the browser", func(_ *site, v *stage.Visitor, text string) *stage.Answer {
		return v.Open(withParameter(withParameter(v.Callback("/account/", "06 39 98 00 02"), "token", text), "status", text))
	}},
	{"the referer", func(s *site, v *stage.Visitor, text string) *stage.Answer {
		return v.Post("/account/", nil, "Referer: "+s.Origin(stage.HTTP11)+"/"+url.PathEscape(text))
	}},
	inAddress("a path", func(text string) string { return "/account/" + text }),
	inAddress("a query", func(text string) string { return "/account/?q=" + text }),
	inAddress("an open path", func(text string) string { return "/public?q=" + text }),
	inAddress("the return path of the form", func(text string) string { return "/.number-verify/?return=/" + text }),
	inAddress("the age", func(text string) string { return "/.number-verify/?resume=" + text + "&max_age=" + text }),
	inAddress("the state", func(text string) string { return "/.number-verify/callback?state=" + text }),
	inAddress("a code", func(text string) string { return "/.number-verify/problem/" + text }),
	inAddress("a wait page", func(text string) string { return "/.number-verify/wait/" + text }),
	inAddress("no endpoint", func(text string) string { return "/.number-verify/" + text }),
	inHeader("Host"), inHeader("User-Agent"), inHeader("Accept-Language"), inHeader("Accept"), inHeader("Referer"), inHeader("Origin"),
	inHeader("Cookie"), inHeader("Cookie: number-verify"), inHeader("X-Forwarded-For"), inHeader("X-Verified-Number"), inHeader("Sec-Fetch-Mode"), inHeader("Content-Type"),
}

func TestInjectedText(t *testing.T) {
	s := newSite(t, account)
	attack(t, "Injected placeholders, templates, markup, lines", payloads, func(t *testing.T, p payload) {
		for _, at := range places {
			v := s.VisitorAt(t, s.Origin(stage.HTTP11))
			v.Open("/.number-verify/")
			a := at.put(s, v, p.text)
			if a.StatusCode >= 500 && a.Code() == "" {
				t.Errorf("%s: answers %d", at.name, a.StatusCode)
			}
			s.unexpanded(t, at.name, p.text, a)
			for _, arrival := range s.Upstream.Take() {
				if strings.Contains(arrival.RequestURI, secretOfSite) {
					t.Errorf("%s: expanded for the site: %s", at.name, arrival.RequestURI)
				}
				for _, breach := range breaches(t, arrival) {
					t.Errorf("%s: %s", at.name, breach)
				}
			}
		}
	})
	if strings.Contains(s.Log(), "root:") {
		t.Error("a file was expanded in the log")
	}
}

// unexpanded checks that the text has become nothing else in an answer.
func (s *site) unexpanded(t *testing.T, where, text string, a *stage.Answer) {
	t.Helper()
	var head strings.Builder
	_ = a.Header.Write(&head) // to memory
	for _, secret := range []string{secretOfSite, simulator.DefaultClientSecret, "root:", "http.Request", "%!"} {
		if strings.Contains(a.Body, secret) || strings.Contains(head.String(), secret) && !strings.Contains(text, secret) {
			t.Errorf("%s: the answer holds %q", where, secret)
		}
	}
	if strings.ContainsAny(text, "<>") && strings.Contains(a.Body, text) {
		t.Errorf("%s: the page has it as markup", where)
	}
	if strings.Contains(a.Body, "<script") || strings.Contains(a.Body, " onerror=") || strings.Contains(a.Body, "' autofocus") {
		t.Errorf("%s: the page has a script", where)
	}
	if a.Header.Get("Evil") != "" {
		t.Errorf("%s: the answer has a header of the adversary", where)
	}
	for _, cookie := range (&http.Response{Header: a.Header}).Cookies() {
		if strings.Contains(cookie.Value, "evil") {
			t.Errorf("%s: the answer has a cookie of the adversary", where)
		}
	}
}
