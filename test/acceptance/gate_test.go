package acceptance_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

func TestRefusalsByKindOfRequest(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	for name, c := range map[string]struct {
		method  string
		headers map[string]string
		status  int
		kind    string
	}{
		"navigation":      {"GET", map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 303, ""},
		"HEAD navigation": {"HEAD", map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 303, ""},
		"a page load that a service worker passes on": {"GET", map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "empty"}, 303, ""},
		"navigation, old browser":                     {"GET", map[string]string{"Accept": "text/html"}, 303, ""},
		"classic form post":                           {"POST", map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Referer": "http://SITE/account/form?x=1"}, 401, "text/html; charset=utf-8"},
		"fetch":                                       {"GET", map[string]string{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "text/html"}, 401, "application/problem+json"},
		"frame":                                       {"GET", map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Accept": "text/html"}, 401, "application/problem+json"},
		"preflight":                                   {"OPTIONS", map[string]string{"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}, 401, "application/problem+json"},
		"curl":                                        {"GET", map[string]string{"Accept": "*/*"}, 401, "application/problem+json"},
		"only half a fetch header":                    {"GET", map[string]string{"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}, 401, "application/problem+json"},
		"websocket with text/html":                    {"GET", map[string]string{"Upgrade": "websocket", "Connection": "Upgrade", "Accept": "text/html"}, 401, "application/problem+json"},
		"event stream":                                {"GET", map[string]string{"Accept": "text/event-stream"}, 401, "application/problem+json"},
		"post of an old browser":                      {"POST", map[string]string{"Accept": "text/html", "Referer": "http://evil.example/account/"}, 401, "text/html; charset=utf-8"},
		"delete by a page's script":                   {"DELETE", map[string]string{"Accept": "application/json"}, 401, "application/problem+json"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, w.URL("/account/form?x=1"), nil)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range c.headers {
				r.Header.Set(k, strings.ReplaceAll(v, "SITE", w.Addr))
			}
			a := visitor.Do(r)
			if a.StatusCode != c.status || a.Header.Get("Content-Type") != c.kind {
				t.Errorf("%d %s", a.StatusCode, a.Header.Get("Content-Type"))
			}
			for header, want := range map[string]string{
				"Cache-Control": "no-store", "Vary": "Cookie", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			} {
				if got := a.Header.Get(header); got != want {
					t.Errorf("%s: %q", header, got)
				}
			}
			if csp := a.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("CSP: %s", csp)
			}
			if len(a.Header["Set-Cookie"]) != 0 {
				t.Error("a cookie is set")
			}
			if c.status == 401 && a.Header.Get("WWW-Authenticate") != "NumberVerify" {
				t.Error("no challenge")
			}
			if c.kind == "application/problem+json" && !strings.Contains(a.Body, `"code":"verification_required"`) {
				t.Errorf("body: %s", a.Body)
			}
			if name == "classic form post" && !strings.Contains(a.Body, "return=%2Faccount%2Fform%3Fx%3D1") {
				t.Errorf("no way back in %s", a.Body)
			}
			if name == "post of an old browser" && !strings.Contains(a.Body, "return=%2F\"") {
				t.Errorf("a foreign referer is followed: %s", a.Body)
			}
		})
	}
	if got := w.Upstream.Take(); len(got) != 0 {
		t.Errorf("%d requests reached the upstream", len(got))
	}
}

func TestEndpointsAnswerOnlyWhatTheyShould(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	for _, c := range []struct {
		method, path string
		status       int
		location     string
	}{
		{"GET", "/.number-verify", 303, "/.number-verify/"},
		{"GET", "/.number-verify?return=/x", 303, "/.number-verify/?return=/x"},
		{"GET", "/.number-verify/", 200, ""},
		{"HEAD", "/.number-verify/", 200, ""},
		{"POST", "/.number-verify/", 405, ""},
		{"GET", "/.number-verify/start", 303, "/.number-verify/"}, // reloaded
		{"HEAD", "/.number-verify/start", 303, "/.number-verify/"},
		{"fetch", "/.number-verify/start", 405, ""},
		{"OPTIONS", "/.number-verify/start", 405, ""},
		{"POST", "/.number-verify/callback", 405, ""},
		{"GET", "/.number-verify/callback", 303, "/.number-verify/problem/attempt_unknown"},
		{"GET", "/.number-verify/callback?state=" + strings.Repeat("A", 43), 303, "/.number-verify/problem/attempt_unknown"},
		{"HEAD", "/.number-verify/callback?state=" + strings.Repeat("A", 43), 303, "/.number-verify/"},
		{"GET", "/.number-verify/wait/" + strings.Repeat("A", 22), 303, "/.number-verify/problem/attempt_unknown"},
		{"GET", "/.number-verify/wait/x", 303, "/.number-verify/problem/attempt_unknown"},
		{"GET", "/.number-verify/problem/busy", 503, ""},
		{"GET", "/.number-verify/problem/attempt_expired", 410, ""},
		{"GET", "/.number-verify/problem/nonsense", 404, ""},
		{"GET", "/.number-verify/status", 200, ""},
		{"GET", "/.number-verify/sign-out", 303, "/.number-verify/"},
		{"fetch", "/.number-verify/sign-out", 405, ""},
		{"GET", "/.number-verify/other", 404, ""},
		{"fetch", "/.number-verify/other", 404, ""},
		{"GET", "/.number-verify/start/", 404, ""},
		{"DELETE", "/.number-verify/status", 405, ""},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			a := send(visitor, c.method, c.path)
			to, _, _ := strings.Cut(a.Location(), "?reference=")
			if a.StatusCode != c.status || to != c.location {
				t.Errorf("%d to %q", a.StatusCode, a.Location())
			}
			if (c.status == 405) != (a.Header.Get("Allow") != "") {
				t.Errorf("Allow: %q", a.Header.Get("Allow"))
			}
			if c.method == "HEAD" && len(a.Cookies()) != 0 {
				t.Error("HEAD sets a cookie")
			}
			kind := a.Header.Get("Content-Type")
			if c.status >= 404 && c.status <= 405 && (kind == "application/problem+json") != (c.method == "fetch") {
				t.Errorf("a visitor's page load and a program's call get %s", kind)
			}
		})
	}
	if calls := w.Provider.Calls(); calls != (simulator.Calls{}) {
		t.Errorf("the provider was called: %+v", calls)
	}
	if got := w.Upstream.Take(); len(got) != 0 {
		t.Errorf("%s fell through to the upstream", got[0].URL)
	}
}

// send loads an address with a method, or calls it as a script does.
func send(visitor *stage.Visitor, method, path string) *stage.Answer {
	visitor.T.Helper()
	if method == "fetch" {
		return visitor.Fetch(path)
	}
	return visitor.Do(visitor.Request(method, path, nil))
}

// Each kind of refusal, with its status; test/adversary tries many more of each.
func TestStartRefusesBeforeAnythingIsBilled(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	visitor.Open("/.number-verify/")
	start := func(b *stage.Visitor, body, kind string, headers ...string) *stage.Answer {
		r := b.Request(http.MethodPost, "/.number-verify/start", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		return b.Do(r)
	}
	const form, good = "application/x-www-form-urlencoded", "number=0639980001"
	for name, c := range map[string]struct {
		answer *stage.Answer
		status int
		code   string
	}{
		"no browser cookie":   {start(w.Visitor(), good, form), 400, "cookies_required"},
		"another site's page": {start(visitor, good, form, "Sec-Fetch-Site: cross-site"), 403, "cross_origin"},
		"nonsense":            {start(visitor, "number=abc", form), 422, "number_invalid"},
		"another country":     {start(visitor, "number=%2B447400000000", form), 422, "number_unsupported"},
		"another type":        {start(visitor, good, "text/plain"), 415, ""},
		"broken JSON":         {start(visitor, "{", "application/json"), 400, ""},
		"a megabyte":          {start(visitor, "number="+strings.Repeat("0", 1<<20), form), 413, ""},
		"JSON, wants JSON":    {start(visitor, `{"number":"abc"}`, "application/json", "Accept: application/json"), 422, "number_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.answer.StatusCode != c.status || c.answer.Code() != c.code {
				t.Errorf("%d %q, want %d %q", c.answer.StatusCode, c.answer.Code(), c.status, c.code)
			}
		})
	}
	if calls := w.Provider.Calls(); calls != (simulator.Calls{}) {
		t.Errorf("the provider was called: %+v", calls)
	}
	ok := start(visitor, `{"number":"0639980001","return":"/account/"}`, "application/json", "Accept: application/json")
	if ok.StatusCode != 200 || !strings.HasPrefix(ok.Body, `{"redirect_url":"`+w.ProviderURL) {
		t.Errorf("a good start in JSON answers %d %s", ok.StatusCode, ok.Body)
	}
}
