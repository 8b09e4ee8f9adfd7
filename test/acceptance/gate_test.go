package acceptance_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// whole protects a whole site.
const whole = `
http://SITE {
	number_verify {
		public_url http://SITE
		VERIFIER
	}
	reverse_proxy UPSTREAM
}
`

func TestNothingUnverifiedReachesTheUpstream(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(whole)
	visitor := w.Visitor()
	visitor.Verify("/", "06 39 98 00 01")
	valid, browser := visitor.Cookie(stage.SessionCookie), visitor.Cookie(stage.BrowserCookie)
	w.Upstream.Take()
	if a := w.Get("/", "Cookie: number-verify="+valid); a.StatusCode != 200 || len(w.Upstream.Take()) != 1 {
		t.Fatalf("a verified request by hand answers %d", a.StatusCode)
	}

	requests := map[string]string{
		"CONNECT":      "CONNECT example.com:443 HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n",
		"no Host":      "GET / HTTP/1.0\r\n\r\n",
		"HTTP/1.0":     "GET / HTTP/1.0\r\nHost: SITE\r\n\r\n",
		"another host": "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
		"h2c upgrade": get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
			"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
		"h2c prior knowledge": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"trailers": "POST / HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Verified-Number\r\n\r\n" +
			"1\r\na\r\n0\r\nX-Verified-Number: +33639980001\r\n\r\n",
		"a request in the body": "POST / HTTP/1.1\r\nHost: SITE\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: SITE\r\n\r\n",
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "VERIFIED"} {
		requests["method "+method] = method + " / HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"
	}
	for _, path := range []string{
		"//", "//evil.example/", "/../", "/./", "/a/../../", "/%2e%2e/", "/%2F", "/.number-verify-not", "/.NUMBER-VERIFY/",
		"/.number-verify/../", "/.number-verify/..;/", "/.number-verify/%2e%2e/account", "/.number-verify//", "/.number-verify/start/x",
		"//.number-verify/status", "/;/", "/?return=/.number-verify/", "*", "http://evil.example/", "https://SITE/", "/%00", "/%",
		"/\\", "/?" + strings.Repeat("a", 4000),
	} {
		requests["path "+path] = get(path)
	}
	for name, cookie := range map[string]string{
		"empty":                  "number-verify=",
		"unknown":                "number-verify=" + strings.Repeat("A", 43),
		"cut":                    "number-verify=" + valid[:42],
		"longer":                 "number-verify=" + valid + "A",
		"other letter case":      "number-verify=" + swapCase(valid),
		"doubled, valid first":   "number-verify=" + valid + "; number-verify=x",
		"doubled, valid last":    "number-verify=x; number-verify=" + valid,
		"doubled, both valid":    "number-verify=" + valid + "; number-verify=" + valid,
		"quoted":                 `number-verify="` + valid + `"`,
		"of the https site":      "__Host-number-verify=" + valid,
		"of a domain":            "__Secure-number-verify=" + valid,
		"another name":           "Number-Verify=" + valid,
		"the browser's":          "number-verify=" + browser,
		"session as browser":     "number-verify-browser=" + valid,
		"after a comma":          "a=b, number-verify=" + valid,
		"escaped":                "number-verify=%" + fmt.Sprintf("%02x", valid[0]) + valid[1:],
		"a list":                 "number-verify=" + strings.Repeat("A", 43) + "; ; ;number-verify",
		"nul":                    "number-verify=" + valid + "\x00",
		"very many":              strings.Repeat("number-verify=x; ", 500) + "number-verify=" + valid,
		"an expression":          "number-verify={env.HOME}",
		"in another cookie":      "a=number-verify=" + valid,
		"blank before the equal": "number-verify =x; number-verify=" + valid,
	} {
		requests["cookie "+name] = get("/", "Cookie: "+cookie)
	}
	requests["cookie on two lines"] = get("/", "Cookie: number-verify="+valid, "Cookie: number-verify="+valid)
	for _, header := range []string{
		"X-Verified-Number: +33639980001", "X-Verified-At: 2030-01-01T00:00:00Z", "Authorization: NumberVerify " + valid,
		"X-Original-URL: /public", "X-Rewrite-URL: /public", "X-Forwarded-Host: 127.0.0.1", "X-HTTP-Method-Override: GET",
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		"Expect: 100-continue", "Accept: text/event-stream", "Purpose: prefetch", "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe",
		"Access-Control-Request-Method: GET\r\nOrigin: https://evil.example",
	} {
		requests["header "+header] = get("/", header)
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			a := w.Raw(request)
			if strings.Contains(a.Body, "upstream") {
				t.Errorf("answers %d %s", a.StatusCode, a.Body)
			}
			if got := w.Upstream.Take(); len(got) != 0 {
				t.Errorf("%s %s reached the upstream (status %d)", got[0].Method, got[0].URL, a.StatusCode)
			}
		})
	}
}

func TestMatcherSeesThroughSpellingsOfAProtectedPath(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	for _, path := range []string{"/account", "/account/", "/account/x", "//account/", "/./account/", "/x/../account/", "/%61ccount/", "/ACCOUNT/", "/account%2Fx", "/account//x", "/account/../account/"} {
		if a := w.Get(path); a.StatusCode != 401 {
			t.Errorf("%s answers %d", path, a.StatusCode)
		}
		if got := w.Upstream.Take(); len(got) != 0 {
			t.Errorf("%s reached the upstream as %s", path, got[0].URL)
		}
	}
	if a := w.Get("/public"); a.StatusCode != 200 {
		t.Errorf("an open path answers %d", a.StatusCode)
	}
}

// TestForgedHeadersNeverArriveInAnySpelling sends what only the gate may say,
// unverified to an open path and verified to a protected one.
func TestForgedHeadersNeverArriveInAnySpelling(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	visitor.Verify("/account/", "06 39 98 00 01")
	w.Upstream.Take()
	forged := map[string][]string{
		"plain":            {"X-Verified-Number: forged"},
		"lower case":       {"x-verified-number: forged"},
		"upper case":       {"X-VERIFIED-NUMBER: forged"},
		"repeated":         {"X-Verified-Number: forged", "X-Verified-Number: forged"},
		"underscores":      {"X_Verified_Number: forged"},
		"mixed":            {"x_verified-number: forged"},
		"dots":             {"X.Verified.Number: forged"},
		"another name":     {"X-Verified-Admin: forged"},
		"in Connection":    {"Connection: close, X-Verified-Number, x_verified_at", "X-Verified-Number: forged"},
		"Connection alone": {"Connection: x-verified-number"},
	}
	// what RFC 9110, section 5.6.2, allows in names besides letters and digits
	for _, c := range "!#$%&'*+.^_`|~" {
		name := strings.NewReplacer("-", string(c)).Replace("X-Verified-Number")
		forged[name] = []string{name + ": forged"}
		forged["Connection with "+name] = []string{"Connection: close, " + name}
	}
	for name, headers := range forged {
		for path, headers := range map[string][]string{
			"/public":   headers,
			"/account/": append([]string{visitor.CookieField()}, headers...),
		} {
			t.Run(name+" to "+path, func(t *testing.T) {
				w.Get(path, headers...)
				got := w.Upstream.Take()
				if len(got) != 1 {
					t.Fatalf("%d requests reached the upstream", len(got))
				}
				checkVouched(t, got[0], path == "/account/")
			})
		}
	}
	t.Run("trailers", func(t *testing.T) {
		w.Raw("POST /public HTTP/1.1\r\nHost: " + w.Addr + "\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Verified-Number, X-Other\r\n\r\n" +
			"1\r\na\r\n0\r\nX-Verified-Number: forged\r\nX-Other: 1\r\n\r\n")
		got := w.Upstream.Take()
		if len(got) != 1 || len(got[0].Trailer) != 0 || got[0].Body != "a" {
			t.Errorf("arrived: %+v", got)
		}
	})
	t.Run("upgrade to h2c on an open path", func(t *testing.T) {
		w.Get("/public", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")
		got := w.Upstream.Take()
		if len(got) != 1 || got[0].Header.Get("Upgrade") != "" || got[0].Header.Get("HTTP2-Settings") != "" {
			t.Errorf("arrived: %+v", got)
		}
	})
}

func checkVouched(t *testing.T, r *stage.Received, verified bool) {
	t.Helper()
	want := map[string]string{}
	if verified {
		want["X-Verified-Number"] = "+33639980001"
	}
	for name, values := range r.Header {
		// as CGI servers read it, whatever stands between letters and digits
		if !strings.HasPrefix(regexp.MustCompile(`[^a-z0-9]`).ReplaceAllString(strings.ToLower(name), "_"), "x_verified_") {
			continue
		}
		if !verified || len(values) != 1 || values[0] == "forged" {
			t.Errorf("%s: %q", name, values)
		}
	}
	if got := r.Header.Get("X-Verified-Number"); got != want["X-Verified-Number"] {
		t.Errorf("X-Verified-Number: %q", got)
	}
	if cookie := r.Header.Get("Cookie"); strings.Contains(cookie, "number-verify") {
		t.Error("a cookie of the gate arrived")
	}
}

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
			if a.StatusCode != c.status || a.Location() != c.location {
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
		"no browser cookie":        {start(w.Visitor(), good, form), 400, "cookies_required"},
		"another site's page":      {start(visitor, good, form, "Sec-Fetch-Site: cross-site"), 403, "cross_origin"},
		"another origin":           {start(visitor, good, form, "Origin: https://evil.example"), 403, "cross_origin"},
		"a sandboxed frame":        {start(visitor, good, form, "Origin: null"), 403, "cross_origin"},
		"no number":                {start(visitor, "", form), 422, "number_invalid"},
		"two numbers":              {start(visitor, good+"&number=0639980002", form), 422, "number_invalid"},
		"nonsense":                 {start(visitor, "number=abc", form), 422, "number_invalid"},
		"another country":          {start(visitor, "number=%2B447400000000", form), 422, "number_unsupported"},
		"another type":             {start(visitor, good, "text/plain"), 415, ""},
		"broken JSON":              {start(visitor, "{", "application/json"), 400, ""},
		"two JSON values":          {start(visitor, `{"number":"0639980001"}{}`, "application/json"), 400, ""},
		"number in the query only": {start(visitor, "", form), 422, "number_invalid"},
		"a megabyte":               {start(visitor, "number="+strings.Repeat("0", 1<<20), form), 413, ""},
		"JSON, wants JSON":         {start(visitor, `{"number":"abc"}`, "application/json", "Accept: application/json"), 422, "number_invalid"},
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
func get(path string, headers ...string) string {
	lines := append([]string{"GET " + path + " HTTP/1.1", "Host: SITE", "Connection: close"}, headers...)
	for _, h := range headers {
		if strings.HasPrefix(h, "Connection:") || strings.Contains(h, "\r\nConnection:") {
			lines = append(lines[:2], lines[3:]...)
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}
func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 32
		case 'A' <= r && r <= 'Z':
			return r + 32
		}
		return r
	}, s)
}
