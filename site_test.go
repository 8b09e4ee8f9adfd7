package numberverify_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache/bolt"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// arrivesAt checks that a verification made from path ends there.
func (b *browser) arrivesAt(path string) *received {
	b.t.Helper()
	end := b.verify(path, "06 39 98 00 01")
	if end.StatusCode != http.StatusOK || end.Request.URL.RequestURI() != path {
		b.t.Fatalf("from %s to %s: %d %q\n%s", path, end.Request.URL, end.StatusCode, end.code(), end.body)
	}
	got := b.world.upstream.take()
	if len(got) == 0 {
		b.t.Fatal("nothing reached the upstream")
	}
	return got[len(got)-1]
}

func TestPlacesInACaddyfile(t *testing.T) {
	for name, site := range map[string]string{
		"in route": `http://SITE {
			route {
				number_verify /account/* {
					public_url http://SITE
					VERIFIER
				}
				reverse_proxy UPSTREAM
			}
		}`,
		"in handle, its path inside": `http://SITE {
			handle /account/* {
				number_verify {
					public_url http://SITE
					path /account/.number-verify
					VERIFIER
				}
				reverse_proxy UPSTREAM
			}
			handle {
				respond "open"
			}
		}`,
		"in handle_path": `http://SITE {
			handle_path /account/* {
				number_verify {
					public_url http://SITE
					path /account/.number-verify
					VERIFIER
				}
				rewrite * /account{uri}
				reverse_proxy UPSTREAM
			}
		}`,
		"after a rewrite": `http://SITE {
			rewrite /old/* /account/{path}
			@account path /account /account/*
			number_verify @account {
				public_url http://SITE
				VERIFIER
			}
			reverse_proxy UPSTREAM
		}`,
		"after a rewrite of everything": `http://SITE {
			rewrite * /index.php?{query}
			number_verify {
				public_url http://SITE
				VERIFIER
			}
			reverse_proxy UPSTREAM
		}`,
		"after try_files": `http://SITE {
			try_files {path} /account/index.html
			number_verify /account/* {
				public_url http://SITE
				VERIFIER
			}
			reverse_proxy UPSTREAM
		}`,
		"without public_url on loopback": `http://SITE {
			number_verify /account/* {
				VERIFIER
			}
			reverse_proxy UPSTREAM
		}`,
		"defaults in the global options": `http://SITE {
			number_verify /account/*
			reverse_proxy UPSTREAM
		}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, simulator.Options{})
			global := ""
			if strings.HasPrefix(name, "defaults") {
				global = "number_verify {\npublic_url http://SITE\nVERIFIER\n}\n"
			}
			w.loadWith(global, site)
			got := w.browser().arrivesAt("/account/?tab=1")
			if got.Header.Get("X-Verified-Number") != "+33639980001" {
				t.Errorf("headers: %v", got.Header)
			}
		})
	}
}

func TestLoginComesBeforeTheGate(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	hash := "$2a$04$q8EVw5eyQnUsPu4HHCwXbOVrcnbs4jjvVWvFHJKRrXK9ePC8x1PDO" // bcrypt of "secret", at its lowest cost
	w.load(`http://SITE {
		number_verify {
			public_url http://SITE
			VERIFIER
		}
		basic_auth bcrypt {
			visitor ` + hash + `
		}
		reverse_proxy UPSTREAM
	}`)
	stranger := w.browser()
	for _, path := range []string{"/", "/.number-verify/", "/.number-verify/status"} {
		if a := stranger.open(path); a.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Basic") {
			t.Errorf("%s answers a stranger %d", path, a.StatusCode)
		}
	}
	if calls := w.sim.Calls(); calls != (simulator.Calls{}) {
		t.Errorf("a stranger had the provider called: %+v", calls)
	}
}

// known is a site whose own login says who the visitor is, and his number.
const known = `
http://SITE {
	vars phone {header.X-Test-Login}
	number_verify /account/* {
		public_url http://SITE
		number {vars.phone}
		VERIFIER
	}
	reverse_proxy UPSTREAM
}
`

// loginTransport plays the site's login: it adds who is logged in.
type loginTransport struct {
	http.RoundTripper
	phone atomic.Value
}

func (l *loginTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Test-Login", l.phone.Load().(string))
	return l.RoundTripper.RoundTrip(r)
}

func TestKnownNumberIsMaskedVerifiedAndHeldToTheSession(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(known)
	visitor := w.browser()
	login := &loginTransport{RoundTripper: visitor.client.Transport}
	visitor.client.Transport = login

	login.phone.Store("")
	if a := visitor.open("/account/"); a.StatusCode != 403 || a.code() != "number_unknown" {
		t.Errorf("without a number: %d %q", a.StatusCode, a.code())
	}
	if a := visitor.fetch("/account/"); a.StatusCode != 403 || !strings.Contains(a.body, "number_unknown") {
		t.Errorf("fetch without a number: %d %s", a.StatusCode, a.body)
	}
	login.phone.Store("06 39 98 00 01")
	form := visitor.follow(visitor.open("/account/"))
	if !strings.Contains(unescape(form.body), "+33 6 •• •• •• 01") || strings.Contains(form.body, `type="tel"`) {
		t.Errorf("the form: %s", form.body)
	}
	// a posted number is ignored
	if end := visitor.arrive(visitor.submit(form, "06 39 98 00 02")); end.Request.URL.Path != "/account/" {
		t.Fatalf("ends at %s %q", end.Request.URL, end.code())
	}
	if got := w.upstream.take(); len(got) != 1 || got[0].Header.Get("X-Verified-Number") != "+33639980001" {
		t.Errorf("arrived: %v", got)
	}
	login.phone.Store("06 39 98 00 20") // somebody else logs in, in the same browser
	if a := visitor.open("/account/"); a.StatusCode != 303 || len(w.upstream.take()) != 0 {
		t.Errorf("another number passes: %d", a.StatusCode)
	}
	login.phone.Store("{env.HOME}")
	if a := visitor.follow(visitor.open("/account/")); a.code() != "number_invalid" {
		t.Errorf("an expression as number: %q", a.code())
	}
}

func TestSeveralDirectivesShareOneVerification(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadWith("number_verify {\npublic_url http://SITE\nVERIFIER\n}\n", `http://SITE {
		@a path /account/* /both/*
		@b path /b/* /both/*
		number_verify @a
		number_verify @b {
			headers X-Phone-
		}
		number_verify /open/* {
			optional
		}
		number_verify /transfer* {
			max_age 1h
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.browser()
	if visitor.open("/open/").StatusCode != 200 || w.upstream.take()[0].Header.Get("X-Verified-Number") != "" {
		t.Error("optional does not let strangers pass, or vouches for them")
	}
	visitor.arrivesAt("/account/")
	for path, want := range map[string][2]string{
		"/account/":  {"+33639980001", ""},
		"/b/":        {"", "+33639980001"},
		"/both/":     {"+33639980001", "+33639980001"}, // nothing that one sets is undone by the next
		"/open/":     {"+33639980001", ""},
		"/transfer":  {"+33639980001", ""},
		"/elsewhere": {"", ""},
	} {
		r := visitor.request("GET", path, nil)
		r.Header.Set("X-Phone-Number", "forged")
		r.Header.Set("X-Verified-Number", "forged")
		visitor.do(r)
		got := w.upstream.take()
		if len(got) != 1 {
			t.Errorf("%s: %d requests reached the upstream", path, len(got))
			continue
		}
		for i, name := range []string{"X-Verified-Number", "X-Phone-Number"} {
			values := got[0].Header[name]
			if value := strings.Join(values, ","); value != want[i] {
				t.Errorf("%s: %s is %q, want %q", path, name, value, want[i])
			}
		}
	}
	if w.sim.Calls().Start != 1 {
		t.Errorf("billed %d times", w.sim.Calls().Start)
	}
}

func TestStricterMaxAgeAsksAgain(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadWith("number_verify {\npublic_url http://SITE\nVERIFIER\n}\n", `http://SITE {
		number_verify /account/*
		number_verify /transfer* {
			max_age 1s
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.browser()
	visitor.arrivesAt("/account/")
	waitUntil(t, func() bool { return visitor.open("/transfer").StatusCode == http.StatusSeeOther })
	w.upstream.take()
	if a := visitor.open("/account/"); a.StatusCode != http.StatusOK {
		t.Errorf("the other route asks again too: %d", a.StatusCode)
	}
	form := visitor.follow(visitor.open("/transfer"))
	if strings.Contains(form.body, `href="/transfer"`) {
		t.Error("the form offers to continue with a verification that is too old")
	}
	if end := visitor.arrive(visitor.submit(form, "06 39 98 00 01")); end.Request.URL.Path != "/transfer" {
		t.Errorf("ends at %s %q", end.Request.URL, end.code())
	}
}

// waitUntil looks until a condition holds: for what only real time brings.
func waitUntil(t *testing.T, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not come to hold in 10 s")
		}
	}
}

func TestSessionEndsByTTLAndByIdleTime(t *testing.T) {
	for _, option := range []string{"session_ttl 1s", "session_idle 1s"} {
		t.Run(option, func(t *testing.T) {
			w := newWorld(t, simulator.Options{})
			w.load(strings.Replace(account, "result_wait 3s", option, 1))
			visitor := w.browser()
			visitor.arrivesAt("/account/")
			passed := time.Now()
			waitUntil(t, func() bool {
				if option == "session_idle 1s" && time.Since(passed) < 1100*time.Millisecond {
					return false // every look would count as use
				}
				return visitor.open("/account/").StatusCode == http.StatusSeeOther
			})
		})
	}
}

func TestHostChosenByAStrangerNeverBecomesACallbackAddress(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(`http://:PORT {
		bind 127.0.0.1
		number_verify /account/* {
			public_url http://SITE http://second.localhost:PORT
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.browser()
	ask := func(method, host, path string, navigation bool) *answer {
		r := visitor.request(method, path, nil)
		r.Host = host
		if !navigation {
			r.Header.Set("Sec-Fetch-Mode", "cors")
		}
		return visitor.do(r)
	}
	for _, path := range []string{"/account/?a=b", "/.number-verify/?return=/account/"} {
		if a := ask("GET", "evil.example", path, true); a.StatusCode != 303 || a.location() != w.url(path) || len(a.Cookies()) != 0 {
			t.Errorf("navigation to %s: %d to %s", path, a.StatusCode, a.location())
		}
		if a := ask("GET", "evil.example", path, false); a.StatusCode != 421 {
			t.Errorf("fetch of %s: %d", path, a.StatusCode)
		}
	}
	if a := ask("POST", "evil.example", "/.number-verify/start", true); a.StatusCode != 421 {
		t.Errorf("start: %d", a.StatusCode)
	}
	_, port, _ := strings.Cut(w.addr, ":")
	if a := ask("GET", "SECOND.localhost:"+port, "/.number-verify/", true); a.StatusCode != 200 {
		t.Errorf("the second origin: %d", a.StatusCode)
	}
	if calls := w.sim.Calls(); calls != (simulator.Calls{}) {
		t.Errorf("the provider was called: %+v", calls)
	}
}

func TestSiteOverHTTPSHasPrefixedCookies(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(`https://localhost:PORT {
		tls internal
		bind 127.0.0.1
		number_verify /account/* {
			public_url https://localhost:PORT
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	_, port, _ := strings.Cut(w.addr, ":")
	visitor := w.browser()
	waitUntil(t, func() bool { // for Caddy to have its certificate
		conn, err := tls.Dial("tcp", "localhost:"+port, &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	end := visitor.verify("https://localhost:"+port+"/account/", "06 39 98 00 01")
	if end.StatusCode != 200 || end.Request.URL.Path != "/account/" {
		t.Fatalf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.code())
	}
	site := &url.URL{Scheme: "https", Host: "localhost:" + port, Path: "/"}
	names := map[string]bool{}
	for _, c := range visitor.client.Jar.Cookies(site) {
		names[c.Name] = true
	}
	if !names["__Host-number-verify"] || !names["__Host-number-verify-browser"] || len(names) != 2 {
		t.Errorf("cookies: %v", names)
	}
}

func TestSiteBehindAnotherProxy(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(`http://:PORT {
		bind 127.0.0.1
		number_verify /account/* {
			public_url https://www.example.com
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.browser() // what a proxy in front that ends TLS sends on
	r := visitor.request("GET", "/account/", nil)
	r.Host = "www.example.com"
	if a := visitor.do(r); a.StatusCode != 303 || a.location() != "/.number-verify/?return=%2Faccount%2F" {
		t.Errorf("%d to %s", a.StatusCode, a.location())
	}
	r = visitor.request("GET", "/.number-verify/", nil)
	r.Host = "www.example.com"
	form := visitor.do(r)
	cookies := form.Header["Set-Cookie"]
	if len(cookies) != 1 || !strings.HasPrefix(cookies[0], "__Host-number-verify-browser=") || !strings.Contains(cookies[0], "Secure") {
		t.Errorf("cookies: %d", len(cookies))
	}
	r = visitor.request("POST", "/.number-verify/start", strings.NewReader("number=0639980001"))
	r.Host = "www.example.com"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://www.example.com")
	r.Header.Set("Cookie", strings.SplitN(cookies[0], ";", 2)[0])
	started := visitor.do(r)
	back := visitor.open(started.location())
	if !strings.HasPrefix(back.location(), "https://www.example.com/.number-verify/callback?") {
		t.Error("the operator does not send the visitor back to the public_url")
	}
}

func TestPassErrorsLetsTheSiteRenderRefusals(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(`http://SITE {
		number_verify /account/* {
			public_url http://SITE
			pass_errors
			VERIFIER
		}
		reverse_proxy UPSTREAM
		handle_errors {
			respond "site says {err.status_code} {http.number_verify.code}"
		}
	}`)
	visitor := w.browser()
	if a := visitor.fetch("/account/"); a.StatusCode != 401 || a.body != "site says 401 verification_required" || a.Header.Get("WWW-Authenticate") != "NumberVerify" {
		t.Errorf("fetch: %d %s", a.StatusCode, a.body)
	}
	if a := visitor.open("/account/"); a.StatusCode != 303 {
		t.Errorf("navigation: %d", a.StatusCode)
	}
	if a := visitor.open("/.number-verify/nothing"); a.StatusCode != 404 || strings.Contains(a.body, "site says") {
		t.Errorf("endpoint: %d %s", a.StatusCode, a.body)
	}
}

func TestPlaceholdersForLogsAndHandlers(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(`http://SITE {
		number_verify /account/* {
			public_url http://SITE
			headers off
			VERIFIER
		}
		header /account/* X-Seen "{http.number_verify.masked} {http.number_verify.operator} {http.number_verify.session}"
		reverse_proxy UPSTREAM {
			header_up X-Phone {http.number_verify.number}
		}
	}`)
	visitor := w.browser()
	visitor.verify("/account/", "06 39 98 00 01")
	r := visitor.request("GET", "/account/", nil)
	r.Header.Set("X-Verified-Number", "kept: headers are off")
	w.upstream.take()
	visitor.do(r)
	got := w.upstream.take()
	if got[0].Header.Get("X-Phone") != "+33639980001" {
		t.Errorf("the number: %q", got[0].Header.Get("X-Phone"))
	}
	if got[0].Header.Get("X-Verified-Number") != "kept: headers are off" || got[0].Header.Get("X-Verified-At") != "" {
		t.Errorf("headers: %v", got[0].Header)
	}
}

func TestCallbackVerifiesWhileCaddyReloadsInALoop(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	stop := make(chan struct{})
	var reloads int
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			reloads++
			text := w.expand(w.global("") + strings.Replace(account, "result_wait 3s", fmt.Sprintf("result_wait %ds", 3+reloads%5), 1))
			if err := loadCaddyfile(text); err != nil {
				t.Errorf("reload: %v", err)
				return
			}
		}
	})
	finish := sync.OnceFunc(func() {
		close(stop)
		group.Wait()
	})
	defer finish()
	for i := range 60 {
		visitor := w.browser()
		visitor.client.Transport = &retryTransport{visitor.client.Transport}
		end := visitor.verify("/account/", fmt.Sprintf("06 39 98 00 %02d", 20+i))
		if end.Request.URL.Path != "/account/" || end.StatusCode != 200 {
			t.Errorf("visitor %d ends at %s: %d %q", i, end.Request.URL, end.StatusCode, end.code())
		}
	}
	finish()
	if reloads < 10 {
		t.Errorf("only %d reloads", reloads)
	}
	if calls := w.sim.Calls(); calls.Start != 60 || calls.Result != 60 {
		t.Errorf("calls after %d reloads: %+v", reloads, calls)
	}
}

// retryTransport sends a request again whose connection broke: the kernel resets
// those that wait for a listener that a reload closes. Nothing may be billed or
// lost by that.
type retryTransport struct{ http.RoundTripper }

func (t *retryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	for range 20 {
		if err == nil {
			break
		}
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		resp, err = t.RoundTripper.RoundTrip(r)
	}
	return resp, err
}

func TestSessionsAndAttemptsOutliveAReload(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	verified, underway := w.browser(), w.browser()
	for _, b := range []*browser{verified, underway} {
		b.client.Transport = &retryTransport{b.client.Transport}
	}
	verified.arrivesAt("/account/")
	link := underway.start("/account/", "06 39 98 00 20").location()
	callback := underway.open(link).location()
	w.load(strings.Replace(account, "result_wait 3s", "result_wait 4s", 1))
	if a := verified.open("/account/"); a.StatusCode != 200 {
		t.Errorf("the session is gone: %d", a.StatusCode)
	}
	if a := underway.arrive(underway.open(callback)); a.Request.URL.Path != "/account/" {
		t.Errorf("the attempt is gone: %q", a.code())
	}
}

func TestWithBoltSessionsAttemptsAndSignOutsOutliveARestart(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	site := strings.Replace(account, "VERIFIER", "VERIFIER\ncache bolt "+filepath.Join(t.TempDir(), "nv.db"), 1)
	w.load(site)
	verified, underway, gone := w.browser(), w.browser(), w.browser()
	verified.arrivesAt("/account/")
	gone.arrivesAt("/account/")
	kept := gone.client.Jar.Cookies(gone.request("GET", "/", nil).URL)
	gone.post("/.number-verify/sign-out", nil)
	gone.client.Jar.SetCookies(gone.request("GET", "/", nil).URL, kept)
	callback := underway.open(underway.start("/account/", "06 39 98 00 20").location()).location()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	w.load(site)
	if a := verified.open("/account/"); a.StatusCode != 200 {
		t.Errorf("the session is gone: %d", a.StatusCode)
	}
	if a := underway.arrive(underway.open(callback)); a.Request.URL.Path != "/account/" {
		t.Errorf("the attempt is gone: %q", a.code())
	}
	w.upstream.take()
	if gone.open("/account/"); len(w.upstream.take()) != 0 {
		t.Error("the restart has undone a sign-out")
	}
}

func TestBoltFileInUseIsAnErrorAtReloadAndTheOldConfigurationGoesOn(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	visitor.arrivesAt("/account/")
	path := filepath.Join(t.TempDir(), "nv.db")
	other, err := bolt.Open(path, memory.Options{}, ledger.Codec{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	err = loadCaddyfile(w.expand(w.global("") + strings.Replace(account, "VERIFIER", "VERIFIER\ncache bolt "+path, 1)))
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("the reload says: %v", err)
	}
	if a := visitor.open("/account/"); a.StatusCode != 200 {
		t.Errorf("the session is gone: %d", a.StatusCode)
	}
}

func TestOverlappingGatesTellOneSessionInHeadersAndPlaceholders(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(`
http://SITE {
	number_verify /account/* {
		public_url http://SITE
		VERIFIER
	}
	number_verify /account/* {
		public_url http://SITE
		path /second
		cookie_name second
		VERIFIER
	}
	reverse_proxy UPSTREAM {
		header_up X-Placeholder {http.number_verify.masked}
	}
}
`)
	visitor := w.browser()
	asked := visitor.follow(visitor.arrive(visitor.start("/account/", "06 39 98 00 01"))) // now the second gate asks
	visitor.arrive(visitor.submit(asked, "06 39 98 00 20"))
	got := w.upstream.take()
	if len(got) != 1 {
		t.Fatalf("%d requests reached the upstream", len(got))
	}
	header, placeholder := got[0].Header["X-Verified-Number"], got[0].Header.Get("X-Placeholder")
	if len(header) != 1 || header[0] != "+33639980020" || placeholder != "+33 6 •• •• •• 20" {
		t.Errorf("the header tells %q, the placeholder %q", header, placeholder)
	}
}

func TestValidateBesideARunningCaddyTouchesNothing(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	visitor.arrivesAt("/account/")
	before := w.sim.Calls()
	config, err := adapt(w.expand("{\nadmin off\n}\n" + account))
	if err != nil {
		t.Fatal(err)
	}
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Fatal(err)
	}
	if a := visitor.open("/account/"); a.StatusCode != 200 {
		t.Errorf("the session is gone: %d", a.StatusCode)
	}
	if w.sim.Calls() != before {
		t.Error("validate called the provider")
	}
}

func TestVisitorOfOneSiteIsAStrangerToAnother(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(`http://one.localhost:PORT, http://two.localhost:PORT {
		bind 127.0.0.1
		number_verify {
			public_url http://one.localhost:PORT http://two.localhost:PORT
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	_, port, _ := strings.Cut(w.addr, ":")
	visitor := w.browser()
	visitor.client.Transport.(*http.Transport).DialContext = dialLoopback(w.addr)
	one, two := "http://one.localhost:"+port+"/", "http://two.localhost:"+port+"/"
	if end := visitor.verify(one, "06 39 98 00 01"); end.StatusCode != 200 || end.Request.URL.Host != "one.localhost:"+port {
		t.Fatalf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.code())
	}
	var stolen string
	u, _ := url.Parse(one)
	for _, c := range visitor.client.Jar.Cookies(u) {
		if c.Name == "number-verify" {
			stolen = c.Value
		}
	}
	w.upstream.take()
	r := visitor.request("GET", two, nil)
	r.Header.Set("Cookie", "number-verify="+stolen)
	if a := visitor.do(r); a.StatusCode != 303 || len(w.upstream.take()) != 0 {
		t.Errorf("the session of one site opens another: %d", a.StatusCode)
	}
}

func TestOperatorsTemplatesReplaceTheBuiltIn(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "problem.html"), []byte(`{{define "content"}}<main data-code="{{.Code}}">our own words</main>{{end}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.load(strings.Replace(account, "result_wait 3s", "pages "+dir+"\nbrand \"Example SAS\"", 1))
	visitor := w.browser()
	if a := visitor.open("/.number-verify/problem/busy"); !strings.Contains(a.body, "our own words") || a.StatusCode != 503 {
		t.Errorf("problem: %d %s", a.StatusCode, a.body)
	}
	if a := visitor.open("/.number-verify/"); !strings.Contains(a.body, "Example SAS") {
		t.Error("no brand on the form")
	}
}

func TestSessionTooOldForOneRouteAsksAgainAndNeverLoops(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadWith("number_verify {\npublic_url http://SITE\nVERIFIER\n}\n", `http://SITE {
		number_verify /account/*
		number_verify /short/* {
			session_ttl 1s
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.browser()
	visitor.arrivesAt("/account/")
	waitUntil(t, func() bool { return visitor.open("/short/").StatusCode == http.StatusSeeOther })
	form := visitor.follow(visitor.open("/short/"))
	if end := visitor.arrive(visitor.submit(form, "06 39 98 00 01")); end.Request.URL.Path != "/short/" {
		t.Errorf("ends at %s %q", end.Request.URL, end.code())
	}
}
