package numberverify_test

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

	"github.com/caddyserver/caddy/v2"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/redistest"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// loadExample runs a Caddyfile of the repository as it stands, with the
// addresses of this world in place of its own.
func (w *world) loadExample(name string, replacements ...string) {
	w.t.Helper()
	text := stage.Caddyfiles(w.t)[name]
	if text == "" {
		w.t.Fatalf("there is no %s", name)
	}
	w.t.Setenv("DQE_SERVER", w.simURL)
	w.t.Setenv("DQE_LICENCE", simulator.DefaultLicence)
	w.t.Setenv("DQE_CLIENT_SECRET", simulator.DefaultClientSecret)
	text = strings.NewReplacer(append(replacements,
		"https://www.example.com", "http://SITE",
		"\nwww.example.com {", "\nhttp://SITE {",
		"localhost:9000", "UPSTREAM",
	)...).Replace("\n" + regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, ""))
	text = strings.TrimSpace(text)
	global := ""
	if rest, ok := strings.CutPrefix(text, "{\n"); ok {
		global, text, _ = strings.Cut(rest, "\n}\n")
	}
	own := w.global(global)
	if strings.Contains(global, "log {") {
		own = withoutLog(own) // the example's settings instead of the harness's
	}
	if err := loadCaddyfile(w.expand(own + text)); err != nil {
		w.t.Fatalf("loading the configuration: %v", err)
	}
}

// withoutLog removes the first log block, which is the harness's.
func withoutLog(global string) string {
	before, rest, _ := strings.Cut(global, "\t\tlog {\n")
	_, after, _ := strings.Cut(rest, "\n\t\t}\n")
	return before + after
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
			w := newWorld(t, simulator.Options{})
			login := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("X-User-Phone", "+33639980001")
			}))
			t.Cleanup(login.Close)
			w.loadExample(name, "localhost:9001", login.Listener.Addr().String())
			visitor := w.browser()
			for _, path := range paths.open {
				if a := visitor.open(path); a.StatusCode != http.StatusOK || len(w.upstream.take()) != 1 {
					t.Errorf("%s is not open: %d", path, a.StatusCode)
				}
			}
			for _, path := range paths.gated {
				if a := w.browser().open(path); a.StatusCode != http.StatusSeeOther || len(w.upstream.take()) != 0 {
					t.Errorf("%s is not protected: %d", path, a.StatusCode)
				}
			}
			visitor.arrivesAt(paths.gated[0])
			for _, path := range paths.gated {
				if a := visitor.open(path); a.StatusCode != http.StatusOK {
					t.Errorf("%s is closed to a verified visitor: %d", path, a.StatusCode)
				}
			}
		})
	}
}

func TestNumberForgedByAClientIsNotTheLogins(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	login := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		// signed in, but the login knows no number
	}))
	t.Cleanup(login.Close)
	w.loadExample("examples/login-and-known-number.Caddyfile", "localhost:9001", login.Listener.Addr().String())
	visitor := w.browser()
	for _, name := range []string{"X-User-Phone", "x-user-phone", "X_User_Phone"} {
		for _, path := range []string{"/account/", "/.number-verify/"} {
			r := visitor.request(http.MethodGet, path, nil)
			r.Header[name] = []string{"+33639980001"}
			if a := visitor.do(r); a.StatusCode != http.StatusForbidden || a.code() != "number_unknown" {
				t.Errorf("%s with %s: %d %q", path, name, a.StatusCode, a.code())
			}
		}
	}
	if len(w.upstream.take()) != 0 {
		t.Error("a client's own number opens the gate")
	}
}

func TestSinglePageApplicationVerifiesByScript(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "index.html"), []byte("the application"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.loadExample("examples/single-page-application.Caddyfile", "/srv/app", folder)
	visitor := w.browser()
	if a := visitor.open("/basket"); a.StatusCode != http.StatusOK || a.body != "the application" {
		t.Fatalf("the application: %d %s", a.StatusCode, a.body)
	}
	refused := visitor.fetch("/api/orders")
	if refused.StatusCode != http.StatusUnauthorized || refused.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("the API answers %d %s", refused.StatusCode, refused.body)
	}
	if a := visitor.fetch("/.number-verify/status"); !strings.Contains(a.body, `"verified":false`) {
		t.Errorf("status: %s", a.body)
	}
	start := func(number string) (body struct {
		RedirectURL string `json:"redirect_url"`
		Code        string `json:"code"`
	}) {
		r := visitor.request(http.MethodPost, "/.number-verify/start", strings.NewReader(`{"number":"`+number+`","return":"/basket?step=2"}`))
		r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"},
			"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}}
		if err := json.Unmarshal([]byte(visitor.do(r).body), &body); err != nil {
			t.Fatal(err)
		}
		return body
	}
	if body := start("01 23"); body.Code != "number_invalid" {
		t.Errorf("a wrong number: %+v", body)
	}
	if end := visitor.arrive(visitor.open(start("06 39 98 00 01").RedirectURL)); end.Request.URL.RequestURI() != "/basket?step=2" {
		t.Errorf("ends at %s", end.Request.URL)
	}
	if a := visitor.fetch("/api/orders"); a.StatusCode != http.StatusOK || len(w.upstream.take()) != 1 {
		t.Errorf("the API answers a verified visitor %d", a.StatusCode)
	}
}

func TestExampleBehindAProxyThatEndsTLS(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	front := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: w.addr})
		r.Out.Host = r.In.Host
		r.SetXForwarded()
	}})
	t.Cleanup(front.Close)
	w.loadExample("examples/behind-another-proxy.Caddyfile",
		"https://www.example.com", front.URL, "http://www.example.com", "http://SITE")
	visitor := w.browser()
	end := visitor.verify(front.URL+"/account/", "06 39 98 00 01")
	if end.StatusCode != http.StatusOK || end.Request.URL.String() != front.URL+"/account/" {
		t.Fatalf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.code())
	}
	site, err := url.Parse(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range visitor.client.Jar.Cookies(site) {
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
	node := exampleSite(t, "examples/two-nodes/Caddyfile")
	node = strings.NewReplacer("http://www.example.com:8080", "http://:NODE", "https://www.example.com", "http://SITE",
		"valkey:6379", server.Addr, "{env.DQE_SERVER}", "SIMULATOR", "site:9000", "UPSTREAM").Replace(node)
	f := newFleet(t, simulator.Options{}, 2, node, "")
	f.secrets.add("the-password-of-valkey")
	balancer := exampleSite(t, "examples/two-nodes/balancer.Caddyfile")
	balancer = strings.NewReplacer("\nwww.example.com {", "\nhttp://:NODE {", "least_conn", "round_robin",
		"node-1:8080", f.nodes[0].addr, "node-2:8080", f.nodes[1].addr).Replace(balancer)
	f.addNode(balancer, "")
	f.on(2) // everything goes by the balancer from now on
	visitor := f.browser()
	visitor.arrivesAt("/account/")
	for range 4 {
		visitor.passes("/account/")
	}
	f.nodes[0].kill()
	for range 4 {
		visitor.passes("/account/")
	}
}

// exampleSite is an example without its comments and global options.
func exampleSite(t *testing.T, name string) string {
	t.Helper()
	text := "\n" + regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(stage.Caddyfiles(t)[name], "")
	if _, rest, ok := strings.Cut(text, "\n}\n"); ok && strings.HasPrefix(strings.TrimSpace(text), "{\n") {
		text = rest
	}
	return text
}

func TestWholeSiteUnderTwoHosts(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadExample("examples/whole-site.Caddyfile",
		"\nwww.example.com, app.example.com {", "\nhttp://www.example.com:PORT, http://app.example.com:PORT {\n\tbind 127.0.0.1",
		"https://www.example.com https://app.example.com", "http://www.example.com:PORT http://app.example.com:PORT")
	_, port, _ := strings.Cut(w.addr, ":")
	www, app := "http://www.example.com:"+port, "http://app.example.com:"+port
	visitor := w.browser()
	visitor.client.Transport.(*http.Transport).DialContext = dialLoopback(w.addr)
	if a := visitor.open(www + "/health"); a.StatusCode != http.StatusOK {
		t.Errorf("the health check: %d", a.StatusCode)
	}
	if a := visitor.open(app + "/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the other host is open: %d", a.StatusCode)
	}
	visitor.verify(www+"/", "06 39 98 00 01")
	if a := visitor.open(app + "/"); a.StatusCode != http.StatusOK {
		t.Errorf("the other host asks again: %d", a.StatusCode)
	}
}

// TestLogsOfTheExampleHoldNoSecret runs the example's own log settings, at the
// lowest level. newWorld searches the log when the test ends.
func TestLogsOfTheExampleHoldNoSecret(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	folder := filepath.Dir(w.logFile)
	w.loadExample("examples/logs-without-secrets.Caddyfile", "/var/log/caddy", folder, "\tlog {\n", "\tlog {\n\t\tlevel DEBUG\n")
	visitor := w.browser()
	visitor.arrivesAt("/account/?tab=1")
	visitor.open("/.number-verify/nothing?tab=2&token=" + w.sim.Attempts()[0].Token)
	r := visitor.request(http.MethodGet, "/", nil)
	r.Header.Set("Referer", w.browser().start("/account/", "06 39 98 00 01").location())
	visitor.do(r)
	if err := caddy.Stop(); err != nil { // writes out the logs
		t.Fatal(err)
	}
	access, err := os.ReadFile(filepath.Join(folder, "access.log"))
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
	all, err := os.ReadFile(w.logFile)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(all), "upstream roundtrip") {
		t.Error("the log is not at level DEBUG")
	}
	if err := os.WriteFile(w.logFile, append(all, access...), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCallbackThatTheLoginRefusesStaysOutOfTheAccessLog(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	var signedOut atomic.Bool
	login := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if signedOut.Load() {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.Header().Set("X-User-Phone", "+33639980001")
	}))
	t.Cleanup(login.Close)
	w.loadExample("examples/login-and-known-number.Caddyfile",
		"localhost:9001", login.Listener.Addr().String(), "\nwww.example.com {", "\nhttp://SITE {\n\tlog")
	visitor := w.browser()
	callback := visitor.open(visitor.start("/account/", "").location()).location()
	signedOut.Store(true)
	if a := visitor.open(callback); a.StatusCode != http.StatusUnauthorized {
		t.Fatalf("the login lets the callback pass: %d", a.StatusCode)
	}
	if err := caddy.Stop(); err != nil { // writes out the logs
		t.Fatal(err)
	}
	logged, err := os.ReadFile(w.logFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(logged)) {
		if strings.Contains(line, `"msg":"handled request"`) && strings.Contains(line, "/callback") {
			t.Errorf("logged: %s", line)
		}
	}
	if !strings.Contains(string(logged), `"uri":"/account/"`) {
		t.Error("there is no access log")
	}
}
