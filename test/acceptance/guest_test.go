package acceptance_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/guest"
)

func TestGuestVerifierAndCacheOfThirdParties(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	code := guest.GoodCode
	issuer := guest.Issuer(t, func(string) string { return code })
	w.Load(`http://SITE {
		number_verify /account* {
			public_url http://SITE
			verifier test_oidc ` + issuer + `
			cache test_flaky
		}
		reverse_proxy UPSTREAM
	}`)
	w.Visitor().ArrivesAt("/account/")
	code = "other-code"
	end := w.Visitor().Verify("/account/", "06 39 98 00 01")
	if end.Code() != "number_mismatch" || len(w.Upstream.Take()) != 0 {
		t.Errorf("an outcome that says nothing ends on %q", end.Code())
	}
}

const onFlaky = `
http://SITE {
	number_verify /account* {
		public_url http://SITE
		cache test_flaky
		VERIFIER
	}
	number_verify /open* {
		public_url http://SITE
		cache test_flaky
		optional
		VERIFIER
	}
	reverse_proxy UPSTREAM
}
`

func TestCacheThatFailsRefusesAndNeverBills(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(onFlaky)
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	other := w.Visitor()
	callback := other.Callback("/account/", "06 39 98 00 20")
	calls := w.Provider.Calls()
	guest.CacheIsDown.Store(true)
	t.Cleanup(func() { guest.CacheIsDown.Store(false) })

	for name, a := range map[string]*stage.Answer{"page": visitor.Open("/account/"), "form": visitor.Open("/.number-verify/")} {
		if a.StatusCode != 503 || a.Code() != "cache_unavailable" || a.Header.Get("Retry-After") == "" || len(a.Cookies()) != 0 {
			t.Errorf("%s: %d %q", name, a.StatusCode, a.Code())
		}
	}
	if a := visitor.Fetch("/account/"); a.StatusCode != 503 || !strings.Contains(a.Body, "cache_unavailable") {
		t.Errorf("fetch: %d %s", a.StatusCode, a.Body)
	}
	if a := visitor.Open("/open/"); a.StatusCode != 200 {
		t.Errorf("optional: %d", a.StatusCode)
	}
	got := w.Upstream.Take()
	if len(got) != 1 || got[0].Header.Get("X-Verified-Number") != "" {
		t.Errorf("arrived: %v", got)
	}
	if a := other.Post("/.number-verify/start", url.Values{"number": {"06 39 98 00 21"}}); a.StatusCode != 503 || a.Code() != "cache_unavailable" {
		t.Errorf("start: %d %q", a.StatusCode, a.Code())
	}
	if a := visitor.SignOut(); a.StatusCode != 503 {
		t.Errorf("sign-out pretends: %d", a.StatusCode)
	}
	if a := other.Follow(other.Open(callback)); a.Code() != "cache_unavailable" {
		t.Errorf("callback: %d %q", a.StatusCode, a.Code())
	}
	if w.Provider.Calls() != calls {
		t.Errorf("the provider was called: %+v", w.Provider.Calls())
	}
	guest.CacheIsDown.Store(false)
	if a := visitor.Open("/account/"); a.StatusCode != 200 {
		t.Errorf("after the failure: %d", a.StatusCode)
	}
	if a := other.Arrive(other.Open(callback)); a.Request.URL.Path != "/account/" {
		t.Errorf("the attempt is lost: %q", a.Code())
	}
}

func TestValidateOpensNoCache(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	before := guest.CachesOpened.Load()
	config, err := stage.Adapt(w.Expand("{\nadmin off\n}\n" + onFlaky))
	if err != nil {
		t.Fatal(err)
	}
	if err := stage.Validate(config); err != nil {
		t.Fatal(err)
	}
	if guest.CachesOpened.Load() != before {
		t.Error("validate opened the cache")
	}
}

func TestJSONWithoutMatchersProtectsTheWholeSite(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	config := w.Expand(fmt.Sprintf(`{"admin":{"disabled":true},"logging":{"logs":{"default":{"level":"ERROR"}}},"apps":{"http":{"grace_period":1000000000,"servers":{"s":{"listen":["SITE"],"routes":[{"handle":[
		{"handler":"number_verify","public_url":["http://SITE"],"verifier":{"provider":"dqe","server":"PROVIDER","licence":%q,"client_secret":"{env.TEST_CLIENT_SECRET}","name":%q}},
		{"handler":"reverse_proxy","upstreams":[{"dial":"UPSTREAM"}]}]}]}}}}}`, simulator.DefaultLicence, simulator.DefaultName))
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	visitor := w.Visitor()
	if got := visitor.ArrivesAt("/any/where?x=1"); got.Header.Get("Cookie") != "" || got.Header.Get("X-Verified-Number") == "" {
		t.Errorf("arrived: %v", got.Header)
	}
	for name, broken := range map[string]string{
		"match":       strings.Replace(config, `"handler":"number_verify"`, `"handler":"number_verify","match":[{"half":["/"]}]`, 1),
		"verifier":    strings.Replace(config, `"verifier"`, `"pages":"","x":`, 1),
		"session_ttl": strings.Replace(config, `"handler":"number_verify"`, `"handler":"number_verify","session_ttl":-5`, 1),
		"licence":     strings.Replace(config, `"licence":"`, `"licence":"","name":"`, 1),
	} {
		if err := caddy.Load([]byte(broken), true); err == nil || (name != "verifier" && !strings.Contains(err.Error(), name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNumberFromForwardAuth(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	login := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("login"); err != nil {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.Header().Set("X-User-Phone", "+33639980001")
	}))
	t.Cleanup(login.Close)
	w.Load(`http://SITE {
		forward_auth ` + strings.TrimPrefix(login.URL, "http://") + ` {
			uri /whoami
			copy_headers X-User-Phone
		}
		number_verify /account* {
			public_url http://SITE
			number {header.X-User-Phone}
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.Visitor()
	forged := visitor.Request("GET", "/.number-verify/", nil)
	forged.Header.Set("X-User-Phone", "+33639980002")
	if a := visitor.Do(forged); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger gets to the form: %d", a.StatusCode)
	}
	visitor.Plant("login", "1")
	r := visitor.Request("GET", "/.number-verify/", nil)
	r.Header.Set("X-User-Phone", "+33639980002")
	if a := visitor.Do(r); !strings.Contains(html.UnescapeString(a.Body), "+33 6 •• •• •• 01") {
		t.Errorf("the form shows another number than the login's: %d", a.StatusCode)
	}
	if end := visitor.Arrive(visitor.Post("/.number-verify/start", url.Values{"return": {"/account/"}})); end.Request.URL.Path != "/account/" {
		t.Errorf("ends at %s %q", end.Request.URL, end.Code())
	}
	if got := w.Upstream.Take(); len(got) != 1 || got[0].Header.Get("X-Verified-Number") != "+33639980001" {
		t.Errorf("arrived: %v", got)
	}
}

func TestCookieDomainSharesASessionAmongHosts(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	visitor, one, two := onTwoHosts(w)
	www, app := one+"/", two+"/"
	if end := visitor.Verify(www, "06 39 98 00 01"); end.StatusCode != 200 || "http://"+end.Request.URL.Host != one {
		t.Fatalf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.Code())
	}
	if a := visitor.Open(app); a.StatusCode != 200 {
		t.Errorf("the other host asks again: %d", a.StatusCode)
	}
	u, _ := url.Parse(app)
	for _, c := range visitor.Client.Jar.Cookies(u) {
		if strings.HasSuffix(c.Name, "-browser") {
			t.Error("the browser cookie is not host-only: a sibling host could plant one")
		}
	}
}

func TestStaticTokenServesOneAttemptEver(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	t.Setenv("TEST_TOKEN", w.FreshToken())
	w.Load(`http://SITE {
		number_verify /account* {
			public_url http://SITE
			verifier dqe {
				server PROVIDER
				licence ` + simulator.DefaultLicence + `
				name "` + simulator.DefaultName + `"
				token {env.TEST_TOKEN}
			}
		}
		reverse_proxy UPSTREAM
	}`)
	w.Visitor().ArrivesAt("/account/")
	again := w.Visitor().Start("/account/", "06 39 98 00 02")
	if again.StatusCode != 503 || again.Code() != "provider_misconfigured" || w.Provider.Calls().Start != 1 {
		t.Errorf("a second attempt with the token: %d %q after %d starts", again.StatusCode, again.Code(), w.Provider.Calls().Start)
	}
}
