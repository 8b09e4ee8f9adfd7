package acceptance_test

import (
	"crypto/tls"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache/bolt"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

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
			w := stage.New(t, simulator.Options{})
			global := ""
			if strings.HasPrefix(name, "defaults") {
				global = "number_verify {\npublic_url http://SITE\nVERIFIER\n}\n"
			}
			w.LoadWith(global, site)
			got := w.Visitor().ArrivesAt("/account/?tab=1")
			if got.Header.Get("X-Verified-Number") != "+33639980001" {
				t.Errorf("headers: %v", got.Header)
			}
		})
	}
}

func TestLoginComesBeforeTheGate(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	hash := "$2a$04$q8EVw5eyQnUsPu4HHCwXbOVrcnbs4jjvVWvFHJKRrXK9ePC8x1PDO" // bcrypt of "secret", at its lowest cost
	w.Load(`http://SITE {
		number_verify {
			public_url http://SITE
			VERIFIER
		}
		basic_auth bcrypt {
			visitor ` + hash + `
		}
		reverse_proxy UPSTREAM
	}`)
	stranger := w.Visitor()
	for _, path := range []string{"/", "/.number-verify/", "/.number-verify/status"} {
		if a := stranger.Open(path); a.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Basic") {
			t.Errorf("%s answers a stranger %d", path, a.StatusCode)
		}
	}
	if calls := w.Provider.Calls(); calls != (simulator.Calls{}) {
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

func TestKnownNumberIsMaskedVerifiedAndHeldToTheSession(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(known)
	visitor := w.Visitor()
	phone := "" // of who is logged in
	visitor.Always("X-Test-Login", func() string { return phone })

	if a := visitor.Open("/account/"); a.StatusCode != 403 || a.Code() != "number_unknown" {
		t.Errorf("without a number: %d %q", a.StatusCode, a.Code())
	}
	if a := visitor.Fetch("/account/"); a.StatusCode != 403 || !strings.Contains(a.Body, "number_unknown") {
		t.Errorf("fetch without a number: %d %s", a.StatusCode, a.Body)
	}
	phone = "06 39 98 00 01"
	form := visitor.Follow(visitor.Open("/account/"))
	if !strings.Contains(html.UnescapeString(form.Body), "+33 6 •• •• •• 01") || strings.Contains(form.Body, `type="tel"`) {
		t.Errorf("the form: %s", form.Body)
	}
	// a posted number is ignored
	if end := visitor.Arrive(visitor.Submit(form, "06 39 98 00 02")); end.Request.URL.Path != "/account/" {
		t.Fatalf("ends at %s %q", end.Request.URL, end.Code())
	}
	if got := w.Upstream.Take(); len(got) != 1 || got[0].Header.Get("X-Verified-Number") != "+33639980001" {
		t.Errorf("arrived: %v", got)
	}
	phone = "06 39 98 00 20" // somebody else logs in, in the same browser
	if a := visitor.Open("/account/"); a.StatusCode != 303 || len(w.Upstream.Take()) != 0 {
		t.Errorf("another number passes: %d", a.StatusCode)
	}
	t.Setenv("TEST_PHONE", "06 39 98 00 01")
	phone = "{env.TEST_PHONE}"
	if a := visitor.Follow(visitor.Open("/account/")); a.Code() != "number_invalid" {
		t.Errorf("an expression as number: %q", a.Code())
	}
}

func TestSeveralDirectivesShareOneVerification(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith("number_verify {\npublic_url http://SITE\nVERIFIER\n}\n", `http://SITE {
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
	visitor := w.Visitor()
	if visitor.Open("/open/").StatusCode != 200 || w.Upstream.Take()[0].Header.Get("X-Verified-Number") != "" {
		t.Error("optional does not let strangers pass, or vouches for them")
	}
	visitor.ArrivesAt("/account/")
	for path, want := range map[string][2]string{
		"/account/":  {"+33639980001", ""},
		"/b/":        {"", "+33639980001"},
		"/both/":     {"+33639980001", "+33639980001"}, // nothing that one sets is undone by the next
		"/open/":     {"+33639980001", ""},
		"/transfer":  {"+33639980001", ""},
		"/elsewhere": {"", ""},
	} {
		r := visitor.Request("GET", path, nil)
		r.Header.Set("X-Phone-Number", "forged")
		r.Header.Set("X-Verified-Number", "forged")
		visitor.Do(r)
		got := w.Upstream.Take()
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
	if w.Provider.Calls().Start != 1 {
		t.Errorf("billed %d times", w.Provider.Calls().Start)
	}
}

func TestStricterMaxAgeAsksAgain(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith("number_verify {\npublic_url http://SITE\nVERIFIER\n}\n", `http://SITE {
		number_verify /account/*
		number_verify /transfer* {
			max_age 1s
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	wait.Until(t, "the session is too old", func() bool { return visitor.Open("/transfer").StatusCode == http.StatusSeeOther })
	w.Upstream.Take()
	if a := visitor.Open("/account/"); a.StatusCode != http.StatusOK {
		t.Errorf("the other route asks again too: %d", a.StatusCode)
	}
	form := visitor.Follow(visitor.Open("/transfer"))
	if strings.Contains(form.Body, `href="/transfer"`) {
		t.Error("the form offers to continue with a verification that is too old")
	}
	if end := visitor.Arrive(visitor.Submit(form, "06 39 98 00 01")); end.Request.URL.Path != "/transfer" {
		t.Errorf("ends at %s %q", end.Request.URL, end.Code())
	}
}

func TestSessionEndsByTTLAndByIdleTime(t *testing.T) {
	for _, option := range []string{"session_ttl 1s", "session_idle 1s"} {
		t.Run(option, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			w.Load(strings.Replace(account, "result_wait 3s", option, 1))
			visitor := w.Visitor()
			visitor.ArrivesAt("/account/")
			passed := time.Now()
			wait.Until(t, "the session has ended", func() bool {
				if option == "session_idle 1s" && time.Since(passed) < 1100*time.Millisecond {
					return false // every look would count as use
				}
				return visitor.Open("/account/").StatusCode == http.StatusSeeOther
			})
		})
	}
}

func TestHostChosenByAStrangerNeverBecomesACallbackAddress(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://:PORT {
		bind 127.0.0.1
		number_verify /account/* {
			public_url http://SITE http://second.localhost:PORT
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.Visitor()
	ask := func(method, host, path string, navigation bool) *stage.Answer {
		r := visitor.Request(method, path, nil)
		r.Host = host
		if !navigation {
			r.Header.Set("Sec-Fetch-Mode", "cors")
		}
		return visitor.Do(r)
	}
	for _, path := range []string{"/account/?a=b", "/.number-verify/?return=/account/"} {
		if a := ask("GET", "evil.example", path, true); a.StatusCode != 303 || a.Location() != w.URL(path) || len(a.Cookies()) != 0 {
			t.Errorf("navigation to %s: %d to %s", path, a.StatusCode, a.Location())
		}
		if a := ask("GET", "evil.example", path, false); a.StatusCode != 421 {
			t.Errorf("fetch of %s: %d", path, a.StatusCode)
		}
	}
	if a := ask("POST", "evil.example", "/.number-verify/start", true); a.StatusCode != 421 {
		t.Errorf("start: %d", a.StatusCode)
	}
	port := stage.Port(w.Addr)
	if a := ask("GET", "SECOND.localhost:"+port, "/.number-verify/", true); a.StatusCode != 200 {
		t.Errorf("the second origin: %d", a.StatusCode)
	}
	if calls := w.Provider.Calls(); calls != (simulator.Calls{}) {
		t.Errorf("the provider was called: %+v", calls)
	}
}

func TestSiteOverHTTPSHasPrefixedCookies(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`https://localhost:PORT {
		tls internal
		bind 127.0.0.1
		number_verify /account/* {
			public_url https://localhost:PORT
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	port := stage.Port(w.Addr)
	visitor := w.Visitor()
	wait.Until(t, "Caddy has its certificate", func() bool {
		conn, err := tls.Dial("tcp", "localhost:"+port, &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	end := visitor.Verify("https://localhost:"+port+"/account/", "06 39 98 00 01")
	if end.StatusCode != 200 || end.Request.URL.Path != "/account/" {
		t.Fatalf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.Code())
	}
	site := &url.URL{Scheme: "https", Host: "localhost:" + port, Path: "/"}
	names := map[string]bool{}
	for _, c := range visitor.Client.Jar.Cookies(site) {
		names[c.Name] = true
	}
	if !names["__Host-number-verify"] || !names["__Host-number-verify-browser"] || len(names) != 2 {
		t.Errorf("cookies: %v", names)
	}
}

func TestSiteBehindAnotherProxy(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://:PORT {
		bind 127.0.0.1
		number_verify /account/* {
			public_url https://www.example.com
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.Visitor() // what a proxy in front that ends TLS sends on
	r := visitor.Request("GET", "/account/", nil)
	r.Host = "www.example.com"
	if a := visitor.Do(r); a.StatusCode != 303 || a.Location() != "/.number-verify/?return=%2Faccount%2F" {
		t.Errorf("%d to %s", a.StatusCode, a.Location())
	}
	r = visitor.Request("GET", "/.number-verify/", nil)
	r.Host = "www.example.com"
	form := visitor.Do(r)
	cookies := form.Header["Set-Cookie"]
	if len(cookies) != 1 || !strings.HasPrefix(cookies[0], "__Host-number-verify-browser=") || !strings.Contains(cookies[0], "Secure") {
		t.Errorf("cookies: %d", len(cookies))
	}
	r = visitor.Request("POST", "/.number-verify/start", strings.NewReader("number=0639980001"))
	r.Host = "www.example.com"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://www.example.com")
	r.Header.Set("Cookie", strings.SplitN(cookies[0], ";", 2)[0])
	started := visitor.Do(r)
	back := visitor.Open(started.Location())
	if !strings.HasPrefix(back.Location(), "https://www.example.com/.number-verify/callback?") {
		t.Error("the operator does not send the visitor back to the public_url")
	}
}

func TestPassErrorsLetsTheSiteRenderRefusals(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
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
	visitor := w.Visitor()
	if a := visitor.Fetch("/account/"); a.StatusCode != 401 || a.Body != "site says 401 verification_required" || a.Header.Get("WWW-Authenticate") != "NumberVerify" {
		t.Errorf("fetch: %d %s", a.StatusCode, a.Body)
	}
	if a := visitor.Open("/account/"); a.StatusCode != 303 {
		t.Errorf("navigation: %d", a.StatusCode)
	}
	if a := visitor.Open("/.number-verify/nothing"); a.StatusCode != 404 || strings.Contains(a.Body, "site says") {
		t.Errorf("endpoint: %d %s", a.StatusCode, a.Body)
	}
}

func TestPlaceholdersForLogsAndHandlers(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
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
	visitor := w.Visitor()
	visitor.Verify("/account/", "06 39 98 00 01")
	r := visitor.Request("GET", "/account/", nil)
	r.Header.Set("X-Verified-Number", "kept: headers are off")
	w.Upstream.Take()
	visitor.Do(r)
	got := w.Upstream.Take()
	if got[0].Header.Get("X-Phone") != "+33639980001" {
		t.Errorf("the number: %q", got[0].Header.Get("X-Phone"))
	}
	if got[0].Header.Get("X-Verified-Number") != "kept: headers are off" || got[0].Header.Get("X-Verified-At") != "" {
		t.Errorf("headers: %v", got[0].Header)
	}
}

// It lasts for as many visitors and reloads as it takes, however fast each is.
func TestCallbackVerifiesWhileCaddyReloadsInALoop(t *testing.T) {
	const leastVisitors, leastReloads = 60, 10
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	var isOver atomic.Bool
	var reloads atomic.Int32
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for !isOver.Load() {
			wait := fmt.Sprintf("result_wait %ds", 3+reloads.Add(1)%5)
			if err := w.TryLoad("", strings.Replace(account, "result_wait 3s", wait, 1)); err != nil {
				t.Errorf("reload: %v", err)
				return
			}
		}
	})
	defer reloading.Wait()
	defer isOver.Store(true)
	visitors := 0
	for ; (visitors < leastVisitors || reloads.Load() < leastReloads) && !t.Failed(); visitors++ {
		end := w.Visitor().Verify("/account/", fmt.Sprintf("06 39 98 00 %02d", 20+visitors%80))
		if end.Path() != "/account/" || end.StatusCode != 200 {
			t.Errorf("visitor %d ends at %s: %d %q", visitors, end.Request.URL, end.StatusCode, end.Code())
		}
	}
	if calls := w.Provider.Calls(); calls.Start != visitors || calls.Result != visitors {
		t.Errorf("%d visitors, %d reloads: %+v", visitors, reloads.Load(), calls)
	}
}

func TestSessionsAndAttemptsOutliveAReload(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	verified, underway := w.Visitor(), w.Visitor()
	verified.ArrivesAt("/account/")
	link := underway.Start("/account/", "06 39 98 00 20").Location()
	callback := underway.Open(link).Location()
	w.Load(strings.Replace(account, "result_wait 3s", "result_wait 4s", 1))
	if a := verified.Open("/account/"); a.StatusCode != 200 {
		t.Errorf("the session is gone: %d", a.StatusCode)
	}
	if a := underway.Arrive(underway.Open(callback)); a.Request.URL.Path != "/account/" {
		t.Errorf("the attempt is gone: %q", a.Code())
	}
}

func TestWithBoltSessionsAttemptsAndSignOutsOutliveARestart(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	site := strings.Replace(account, "VERIFIER", "VERIFIER\ncache bolt "+filepath.Join(t.TempDir(), "nv.db"), 1)
	w.Load(site)
	verified, underway, gone := w.Visitor(), w.Visitor(), w.Visitor()
	verified.ArrivesAt("/account/")
	gone.ArrivesAt("/account/")
	restore := gone.Keep()
	gone.SignOut()
	restore()
	callback := underway.Callback("/account/", "06 39 98 00 20")
	w.Stop()
	w.Load(site)
	if a := verified.Open("/account/"); a.StatusCode != 200 {
		t.Errorf("the session is gone: %d", a.StatusCode)
	}
	if a := underway.Arrive(underway.Open(callback)); a.Request.URL.Path != "/account/" {
		t.Errorf("the attempt is gone: %q", a.Code())
	}
	w.Upstream.Take()
	if gone.Open("/account/"); len(w.Upstream.Take()) != 0 {
		t.Error("the restart has undone a sign-out")
	}
}

func TestBoltFileInUseIsAnErrorAtReloadAndTheOldConfigurationGoesOn(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	path := filepath.Join(t.TempDir(), "nv.db")
	other, err := bolt.Open(path, memory.Options{}, ledger.Codec{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	err = w.TryLoad("", strings.Replace(account, "VERIFIER", "VERIFIER\ncache bolt "+path, 1))
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("the reload says: %v", err)
	}
	if a := visitor.Open("/account/"); a.StatusCode != 200 {
		t.Errorf("the session is gone: %d", a.StatusCode)
	}
}

func TestOverlappingGatesTellOneSessionInHeadersAndPlaceholders(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`
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
	visitor := w.Visitor()
	asked := visitor.Follow(visitor.Arrive(visitor.Start("/account/", "06 39 98 00 01"))) // now the second gate asks
	visitor.Arrive(visitor.Submit(asked, "06 39 98 00 20"))
	got := w.Upstream.Take()
	if len(got) != 1 {
		t.Fatalf("%d requests reached the upstream", len(got))
	}
	header, placeholder := got[0].Header["X-Verified-Number"], got[0].Header.Get("X-Placeholder")
	if len(header) != 1 || header[0] != "+33639980020" || placeholder != "+33 6 •• •• •• 20" {
		t.Errorf("the header tells %q, the placeholder %q", header, placeholder)
	}
}

func TestValidateBesideARunningCaddyTouchesNothing(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	before := w.Provider.Calls()
	config, err := stage.Adapt(w.Expand("{\nadmin off\n}\n" + account))
	if err != nil {
		t.Fatal(err)
	}
	if err := stage.Validate(config); err != nil {
		t.Fatal(err)
	}
	if a := visitor.Open("/account/"); a.StatusCode != 200 {
		t.Errorf("the session is gone: %d", a.StatusCode)
	}
	if w.Provider.Calls() != before {
		t.Error("validate called the provider")
	}
}

func TestVisitorOfOneSiteIsAStrangerToAnother(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://one.localhost:PORT, http://two.localhost:PORT {
		bind 127.0.0.1
		number_verify {
			public_url http://one.localhost:PORT http://two.localhost:PORT
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	port := stage.Port(w.Addr)
	visitor := w.Visitor()
	visitor.Resolve()
	one, two := "http://one.localhost:"+port+"/", "http://two.localhost:"+port+"/"
	if end := visitor.Verify(one, "06 39 98 00 01"); end.StatusCode != 200 || end.Request.URL.Host != "one.localhost:"+port {
		t.Fatalf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.Code())
	}
	var stolen string
	u, _ := url.Parse(one)
	for _, c := range visitor.Client.Jar.Cookies(u) {
		if c.Name == "number-verify" {
			stolen = c.Value
		}
	}
	w.Upstream.Take()
	r := visitor.Request("GET", two, nil)
	r.Header.Set("Cookie", "number-verify="+stolen)
	if a := visitor.Do(r); a.StatusCode != 303 || len(w.Upstream.Take()) != 0 {
		t.Errorf("the session of one site opens another: %d", a.StatusCode)
	}
}

func TestOperatorsTemplatesReplaceTheBuiltIn(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "problem.html"), []byte(`{{define "content"}}<main data-code="{{.Code}}">our own words</main>{{end}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Load(strings.Replace(account, "result_wait 3s", "pages "+dir+"\nbrand \"Example SAS\"", 1))
	visitor := w.Visitor()
	if a := visitor.Open("/.number-verify/problem/busy"); !strings.Contains(a.Body, "our own words") || a.StatusCode != 503 {
		t.Errorf("problem: %d %s", a.StatusCode, a.Body)
	}
	if a := visitor.Open("/.number-verify/"); !strings.Contains(a.Body, "Example SAS") {
		t.Error("no brand on the form")
	}
}

func TestSessionTooOldForOneRouteAsksAgainAndNeverLoops(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith("number_verify {\npublic_url http://SITE\nVERIFIER\n}\n", `http://SITE {
		number_verify /account/*
		number_verify /short/* {
			session_ttl 1s
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	wait.Until(t, "the session is too old", func() bool { return visitor.Open("/short/").StatusCode == http.StatusSeeOther })
	form := visitor.Follow(visitor.Open("/short/"))
	if end := visitor.Arrive(visitor.Submit(form, "06 39 98 00 01")); end.Request.URL.Path != "/short/" {
		t.Errorf("ends at %s %q", end.Request.URL, end.Code())
	}
}

// TestSessionLivesAsLongAsTheMostLenientRouteOfItsPath: endpoints that did not
// know of a route would end sessions early for it.
func TestSessionLivesAsLongAsTheMostLenientRouteOfItsPath(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
		number_verify /a* {
			public_url http://SITE
			session_ttl 1m
			VERIFIER
		}
		number_verify /b* {
			public_url http://SITE
			session_ttl 2h
			region FR
			path /.number-verify/
			cache memory
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.Visitor()
	visitor.ArrivesAt("/b/")
	if left := time.Until(visitor.Status().ExpiresAt); left < time.Hour {
		t.Errorf("the session ends in %s", left)
	}
}
