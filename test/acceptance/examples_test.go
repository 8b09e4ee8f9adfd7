package acceptance_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
)

// loadExample runs a Caddyfile of the repository as it stands, with the stage's
// addresses in place of its own.
func loadExample(w *stage.Stage, name string, replacements ...string) {
	w.T.Helper()
	w.T.Setenv("DQE_SERVER", w.ProviderURL)
	w.T.Setenv("DQE_LICENCE", simulator.DefaultLicence)
	w.T.Setenv("DQE_CLIENT_SECRET", simulator.DefaultClientSecret)
	global, site := example(w.T, name)
	replacer := strings.NewReplacer(append(replacements,
		"https://www.example.com", "http://SITE",
		"\nwww.example.com {", "\nhttp://SITE {",
		"localhost:9000", "UPSTREAM",
	)...)
	w.LoadWith(replacer.Replace(global), replacer.Replace(site))
}

// example is a Caddyfile of the repository without its comments, in two parts: what
// stands in its global options, and the rest.
func example(t testing.TB, name string) (global, site string) {
	t.Helper()
	text := stage.Caddyfiles(t)[name]
	if text == "" {
		t.Fatalf("there is no %s", name)
	}
	text = regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(text, "")
	if rest, ok := strings.CutPrefix(strings.TrimSpace(text), "{\n"); ok {
		global, text, _ = strings.Cut(rest, "\n}\n")
	}
	return global, "\n" + strings.TrimSpace(text) + "\n"
}

func TestExamplesProtectWhatTheySay(t *testing.T) {
	for name, paths := range map[string]struct {
		open  []string
		gated []string
	}{
		"Caddyfile.example":                         {[]string{"/", "/accounts"}, []string{"/account", "/account/?tab=1"}},
		"README.md: www.example.com {":              {[]string{"/", "/accounts"}, []string{"/account", "/account/?tab=1"}},
		"examples/protected-path.Caddyfile":         {[]string{"/", "/accounts"}, []string{"/account", "/account/?tab=1"}},
		"examples/step-up.Caddyfile":                {[]string{"/"}, []string{"/account/", "/transfer/"}},
		"examples/login-and-known-number.Caddyfile": {[]string{"/"}, []string{"/account/"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			login := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("X-User-Phone", "+33639980001")
			}))
			t.Cleanup(login.Close)
			loadExample(w, name, "localhost:9001", login.Listener.Addr().String())
			visitor := w.Visitor()
			for _, path := range paths.open {
				if a := visitor.Open(path); a.StatusCode != http.StatusOK || len(w.Upstream.Take()) != 1 {
					t.Errorf("%s is not open: %d", path, a.StatusCode)
				}
			}
			for _, path := range paths.gated {
				if a := w.Visitor().Open(path); a.StatusCode != http.StatusSeeOther || len(w.Upstream.Take()) != 0 {
					t.Errorf("%s is not protected: %d", path, a.StatusCode)
				}
			}
			visitor.ArrivesAt(paths.gated[0])
			for _, path := range paths.gated {
				if a := visitor.Open(path); a.StatusCode != http.StatusOK {
					t.Errorf("%s is closed to a verified visitor: %d", path, a.StatusCode)
				}
			}
		})
	}
}

func TestNumberForgedByAClientIsNotTheLogins(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	login := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		// signed in, but the login knows no number
	}))
	t.Cleanup(login.Close)
	loadExample(w, "examples/login-and-known-number.Caddyfile", "localhost:9001", login.Listener.Addr().String())
	visitor := w.Visitor()
	for _, name := range []string{"X-User-Phone", "x-user-phone", "X_User_Phone"} {
		for _, path := range []string{"/account/", "/.number-verify/"} {
			r := visitor.Request(http.MethodGet, path, nil)
			r.Header[name] = []string{"+33639980001"}
			if a := visitor.Do(r); a.StatusCode != http.StatusForbidden || a.Code() != "number_unknown" {
				t.Errorf("%s with %s: %d %q", path, name, a.StatusCode, a.Code())
			}
		}
	}
	if len(w.Upstream.Take()) != 0 {
		t.Error("a client's own number opens the gate")
	}
}

func TestSinglePageApplicationVerifiesByScript(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "index.html"), []byte("the application"), 0o600); err != nil {
		t.Fatal(err)
	}
	loadExample(w, "examples/single-page-application.Caddyfile", "/srv/app", folder)
	visitor := w.Visitor()
	if a := visitor.Open("/basket"); a.StatusCode != http.StatusOK || a.Body != "the application" {
		t.Fatalf("the application: %d %s", a.StatusCode, a.Body)
	}
	refused := visitor.Fetch("/api/orders")
	if refused.StatusCode != http.StatusUnauthorized || refused.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("the API answers %d %s", refused.StatusCode, refused.Body)
	}
	if a := visitor.Fetch("/.number-verify/status"); !strings.Contains(a.Body, `"verified":false`) {
		t.Errorf("status: %s", a.Body)
	}
	start := func(number string) (body struct {
		RedirectURL string `json:"redirect_url"`
		Code        string `json:"code"`
	}) {
		r := visitor.Request(http.MethodPost, "/.number-verify/start", strings.NewReader(`{"number":"`+number+`","return":"/basket?step=2"}`))
		r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"},
			"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}
		if err := json.Unmarshal([]byte(visitor.Do(r).Body), &body); err != nil {
			t.Fatal(err)
		}
		return body
	}
	if body := start("01 23"); body.Code != "number_invalid" {
		t.Errorf("a wrong number: %+v", body)
	}
	if end := visitor.Arrive(visitor.Open(start("06 39 98 00 01").RedirectURL)); end.Request.URL.RequestURI() != "/basket?step=2" {
		t.Errorf("ends at %s", end.Request.URL)
	}
	if a := visitor.Fetch("/api/orders"); a.StatusCode != http.StatusOK || len(w.Upstream.Take()) != 1 {
		t.Errorf("the API answers a verified visitor %d", a.StatusCode)
	}
}

func TestExampleBehindAProxyThatEndsTLS(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: w.Addr})
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}})
	t.Cleanup(front.Close)
	loadExample(w, "examples/behind-another-proxy.Caddyfile",
		"https://www.example.com", front.URL, "http://www.example.com", "http://SITE")
	visitor := w.Visitor()
	end := visitor.Verify(front.URL+"/account/", "06 39 98 00 01")
	if end.StatusCode != http.StatusOK || end.Request.URL.String() != front.URL+"/account/" {
		t.Fatalf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.Code())
	}
	site, err := url.Parse(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range visitor.Client.Jar.Cookies(site) {
		if !strings.HasPrefix(c.Name, "__Host-") {
			t.Errorf("the cookie %s could be set over plain http", c.Name)
		}
	}
}

// The nodes and the balancer of the example, each a process of its own.
func TestTwoNodesOfTheExampleShareASession(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "the-password-of-valkey")
	t.Setenv("VALKEY_PASSWORD", "the-password-of-valkey")
	t.Setenv("DQE_LICENCE", simulator.DefaultLicence)
	t.Setenv("DQE_CLIENT_SECRET", simulator.DefaultClientSecret)
	_, node := example(t, "examples/two-nodes/Caddyfile")
	node = strings.NewReplacer("http://www.example.com:8080", "http://:NODE", "https://www.example.com", "http://SITE",
		"valkey:6379", server.Addr, "{env.DQE_SERVER}", "PROVIDER", "site:9000", "UPSTREAM").Replace(node)
	f := stage.NewFleet(t, simulator.Options{}, 2, node, "")
	f.Secrets.Add("the-password-of-valkey")
	_, balancer := example(t, "examples/two-nodes/balancer.Caddyfile")
	balancer = strings.NewReplacer("\nwww.example.com {", "\nhttp://:NODE {", "least_conn", "round_robin",
		"node-1:8080", f.Nodes[0].Addr, "node-2:8080", f.Nodes[1].Addr).Replace(balancer)
	f.AddNode(balancer, "")
	f.On(2) // everything goes by the balancer from now on
	visitor := f.Visitor()
	visitor.ArrivesAt("/account/")
	for range 4 {
		visitor.Passes("/account/")
	}
	f.Nodes[0].Kill()
	for range 4 {
		visitor.Passes("/account/")
	}
}

func TestWholeSiteUnderTwoHosts(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	loadExample(w, "examples/whole-site.Caddyfile",
		"\nwww.example.com, app.example.com {", "\nhttp://www.example.com:PORT, http://app.example.com:PORT {\n\tbind 127.0.0.1",
		"https://www.example.com https://app.example.com", "http://www.example.com:PORT http://app.example.com:PORT")
	port := stage.Port(w.Addr)
	www, app := "http://www.example.com:"+port, "http://app.example.com:"+port
	visitor := w.Visitor()
	visitor.Resolve()
	if a := visitor.Open(www + "/health"); a.StatusCode != http.StatusOK {
		t.Errorf("the health check: %d", a.StatusCode)
	}
	if a := visitor.Open(app + "/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the other host is open: %d", a.StatusCode)
	}
	visitor.Verify(www+"/", "06 39 98 00 01")
	if a := visitor.Open(app + "/"); a.StatusCode != http.StatusOK {
		t.Errorf("the other host asks again: %d", a.StatusCode)
	}
}

// TestLogsOfTheExampleHoldNoSecret runs the example's own log settings, at the
// lowest level. The stage searches the logs when the test ends.
func TestLogsOfTheExampleHoldNoSecret(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	folder := filepath.Dir(w.LogFile)
	loadExample(w, "examples/logs-without-secrets.Caddyfile", "/var/log/caddy", folder, "\tlog {\n", "\tlog {\n\t\tlevel DEBUG\n")
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/?tab=1")
	visitor.Open("/.number-verify/nothing?tab=2&token=" + w.Provider.Attempts()[0].Token)
	visitor.Open("/", "Referer: "+w.Visitor().Start("/account/", stage.TypedNumber).Location())
	w.Stop()
	file := filepath.Join(folder, "access.log")
	w.AlsoSearch(file)
	access, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"uri":"/account/?tab=1"`, `"uri":"/.number-verify/nothing?tab=2"`, `"number":"+33 6 •• •• •• 01"`, `"verification":"`} {
		if !strings.Contains(string(access), want) {
			t.Errorf("the access log lacks %s", want)
		}
	}
	if strings.Contains(string(access), "/callback") {
		t.Error("the callback stands in the access log")
	}
	if w.Logged("upstream roundtrip") == 0 {
		t.Error("the log is not at level DEBUG")
	}
}

func TestAuditOfTheExampleHasAFileOfItsOwn(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	folder := filepath.Dir(w.LogFile)
	file := filepath.Join(folder, "number-verify-audit.log")
	w.AlsoSearch(file)
	loadExample(w, "examples/audit.Caddyfile", "/var/log/caddy", folder, "\tlog {\n", "\tlog {\n\t\toutput file "+w.LogFile+"\n")
	w.Visitor().ArrivesAt("/account/")
	w.Visitor().Verify("/account/", "06 39 98 00 02")
	w.Stop()
	audit, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := auditLines(t, string(audit), "attempt ended"); len(got) != 2 || strings.Count(string(audit), "\n") != 2 {
		t.Errorf("the file holds: %s", audit)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("others may read it: %v", info.Mode())
	}
	if w.Logged(stage.AuditLogger) != 0 || len(w.Entries("verified")) != 1 {
		t.Errorf("the log holds: %s", w.Log())
	}
}

func TestCallbackThatTheLoginRefusesStaysOutOfTheAccessLog(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	var signedOut atomic.Bool
	login := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if signedOut.Load() {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.Header().Set("X-User-Phone", "+33639980001")
	}))
	t.Cleanup(login.Close)
	loadExample(w, "examples/login-and-known-number.Caddyfile",
		"localhost:9001", login.Listener.Addr().String(), "\nwww.example.com {", "\nhttp://SITE {\n\tlog")
	visitor := w.Visitor()
	callback := visitor.Open(visitor.Start("/account/", "").Location()).Location()
	signedOut.Store(true)
	if a := visitor.Open(callback); a.StatusCode != http.StatusUnauthorized {
		t.Fatalf("the login lets the callback pass: %d", a.StatusCode)
	}
	w.Stop()
	for line := range strings.Lines(w.Log()) {
		if strings.Contains(line, `"msg":"handled request"`) && strings.Contains(line, "/callback") {
			t.Errorf("logged: %s", line)
		}
	}
	if w.Logged(`"uri":"/account/"`) == 0 {
		t.Error("there is no access log")
	}
}
