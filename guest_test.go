package numberverify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/verifier"
)

func init() {
	caddy.RegisterModule(&oidcVerifier{})
	caddy.RegisterModule(&flakyCache{})
}

// oidcVerifier is a third party's verifier, in the manner of OpenID Connect: the
// state is in the URL, and a code in the callback is what proves.
type oidcVerifier struct {
	Issuer string `json:"issuer,omitempty"`
}

func (*oidcVerifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.verifiers.test_oidc", New: func() caddy.Module { return new(oidcVerifier) }}
}

func (v *oidcVerifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return word(d, &v.Issuer)
}

func word(d *caddyfile.Dispenser, value *string) error {
	if !d.Args(value) {
		return d.ArgErr()
	}
	return nil
}

func (v *oidcVerifier) Account() string { return "oidc/" + v.Issuer }

func (*oidcVerifier) Secret() string { return "the client's secret" }

func (*oidcVerifier) Recipient() string { return "Example" }

func (*oidcVerifier) Understands(string) bool { return true }

func (v *oidcVerifier) Start(_ context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	query := url.Values{"redirect_uri": {req.CallbackURL}, "state": {req.State}}
	return &verifier.Started{
		URL: v.Issuer + "/authorize?" + query.Encode(), Operator: "Operator", State: verifier.State(req.Number),
		ShowsState: true, Expires: time.Now().Add(time.Minute),
	}, nil
}

func (v *oidcVerifier) Callback(state verifier.State, query url.Values) (verifier.State, error) {
	if query.Get("iss") != v.Issuer {
		return nil, errors.New("another issuer")
	}
	return append(state[:len(state):len(state)], " "+query.Get("code")...), nil
}

func (*oidcVerifier) Result(_ context.Context, state verifier.State) (verifier.Outcome, error) {
	if strings.HasSuffix(string(state), " good-code") {
		return verifier.Verified, nil
	}
	return verifier.Unknown, nil // says nothing: must refuse
}

// flakyCache is a third party's cache, which can be made to fail. It counts how
// often it was opened.
type flakyCache struct {
	IndexSecret string `json:"secret,omitempty"`
}

var (
	cacheDown  atomic.Bool
	cachePanic atomic.Bool // the next Replace panics
	cacheOpens atomic.Int32
	errDown    = errors.New("connection refused")
)

func (*flakyCache) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.caches.test_flaky", New: func() caddy.Module { return new(flakyCache) }}
}

func (c *flakyCache) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&c.IndexSecret) // or none
	return nil
}

func (*flakyCache) StoreName() string { return "test_flaky" }

func (c *flakyCache) Secret() string { return c.IndexSecret }

func (*flakyCache) Open(*zap.Logger, cache.Codec) (cache.Cache, error) {
	cacheOpens.Add(1)
	return &flaky{memory.New(memory.Options{})}, nil
}

type flaky struct{ cache.Cache }

func (f *flaky) Get(ctx context.Context, key cache.Key) (*cache.Record, error) {
	if cacheDown.Load() {
		return nil, errDown
	}
	return f.Cache.Get(ctx, key)
}

func (f *flaky) Put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	if cacheDown.Load() {
		return errDown
	}
	return f.Cache.Put(ctx, key, rec)
}

func (f *flaky) Replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	if cachePanic.CompareAndSwap(true, false) {
		panic(fmt.Sprint(rec.Value))
	}
	if cacheDown.Load() {
		return errDown
	}
	return f.Cache.Replace(ctx, key, old, rec)
}

func (f *flaky) Delete(ctx context.Context, ref cache.Ref) error {
	if cacheDown.Load() {
		return errDown
	}
	return f.Cache.Delete(ctx, ref)
}

func TestGuestVerifierAndCacheOfThirdParties(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	issuer := ""
	code := "good-code"
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		back := url.Values{"state": {r.URL.Query().Get("state")}, "code": {code}, "iss": {issuer}}
		http.Redirect(rw, r, r.URL.Query().Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	}))
	t.Cleanup(server.Close)
	issuer = server.URL
	w.load(`http://SITE {
		number_verify /account* {
			public_url http://SITE
			verifier test_oidc ` + issuer + `
			cache test_flaky
		}
		reverse_proxy UPSTREAM
	}`)
	w.browser().arrivesAt("/account/")
	code = "other-code"
	end := w.browser().verify("/account/", "06 39 98 00 01")
	if end.code() != "number_mismatch" || len(w.upstream.take()) != 0 {
		t.Errorf("an outcome that says nothing ends on %q", end.code())
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
	w := newWorld(t, simulator.Options{})
	w.load(onFlaky)
	visitor := w.browser()
	visitor.arrivesAt("/account/")
	other := w.browser()
	callback := other.open(other.start("/account/", "06 39 98 00 20").location()).location()
	calls := w.sim.Calls()
	cacheDown.Store(true)
	t.Cleanup(func() { cacheDown.Store(false) })

	for name, a := range map[string]*answer{"page": visitor.open("/account/"), "form": visitor.open("/.number-verify/")} {
		if a.StatusCode != 503 || a.code() != "cache_unavailable" || a.Header.Get("Retry-After") == "" || len(a.Cookies()) != 0 {
			t.Errorf("%s: %d %q", name, a.StatusCode, a.code())
		}
	}
	if a := visitor.fetch("/account/"); a.StatusCode != 503 || !strings.Contains(a.body, "cache_unavailable") {
		t.Errorf("fetch: %d %s", a.StatusCode, a.body)
	}
	if a := visitor.open("/open/"); a.StatusCode != 200 {
		t.Errorf("optional: %d", a.StatusCode)
	}
	got := w.upstream.take()
	if len(got) != 1 || got[0].Header.Get("X-Verified-Number") != "" {
		t.Errorf("arrived: %v", got)
	}
	if a := other.post("/.number-verify/start", url.Values{"number": {"06 39 98 00 21"}}); a.StatusCode != 503 || a.code() != "cache_unavailable" {
		t.Errorf("start: %d %q", a.StatusCode, a.code())
	}
	if a := visitor.post("/.number-verify/sign-out", nil); a.StatusCode != 503 {
		t.Errorf("sign-out pretends: %d", a.StatusCode)
	}
	if a := other.follow(other.open(callback)); a.code() != "cache_unavailable" {
		t.Errorf("callback: %d %q", a.StatusCode, a.code())
	}
	if w.sim.Calls() != calls {
		t.Errorf("the provider was called: %+v", w.sim.Calls())
	}
	cacheDown.Store(false)
	if a := visitor.open("/account/"); a.StatusCode != 200 {
		t.Errorf("after the failure: %d", a.StatusCode)
	}
	if a := other.arrive(other.open(callback)); a.Request.URL.Path != "/account/" {
		t.Errorf("the attempt is lost: %q", a.code())
	}
}

func TestValidateOpensNoCache(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	before := cacheOpens.Load()
	config, err := adapt(w.expand("{\nadmin off\n}\n" + onFlaky))
	if err != nil {
		t.Fatal(err)
	}
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&parsed); err != nil {
		t.Fatal(err)
	}
	if cacheOpens.Load() != before {
		t.Error("validate opened the cache")
	}
}

func TestJSONWithoutMatchersProtectsTheWholeSite(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	config := w.expand(fmt.Sprintf(`{"admin":{"disabled":true},"logging":{"logs":{"default":{"level":"ERROR"}}},"apps":{"http":{"grace_period":1000000000,"servers":{"s":{"listen":["SITE"],"routes":[{"handle":[
		{"handler":"number_verify","public_url":["http://SITE"],"verifier":{"provider":"dqe","server":"SIMULATOR","licence":%q,"client_secret":"{env.TEST_CLIENT_SECRET}","name":%q}},
		{"handler":"reverse_proxy","upstreams":[{"dial":"UPSTREAM"}]}]}]}}}}}`, simulator.DefaultLicence, simulator.DefaultName))
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	visitor := w.browser()
	if got := visitor.arrivesAt("/any/where?x=1"); got.Header.Get("Cookie") != "" || got.Header.Get("X-Verified-Number") == "" {
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
	w := newWorld(t, simulator.Options{})
	login := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("login"); err != nil {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.Header().Set("X-User-Phone", "+33639980001")
	}))
	t.Cleanup(login.Close)
	w.load(`http://SITE {
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
	visitor := w.browser()
	forged := visitor.request("GET", "/.number-verify/", nil)
	forged.Header.Set("X-User-Phone", "+33639980002")
	if a := visitor.do(forged); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger gets to the form: %d", a.StatusCode)
	}
	visitor.client.Jar.(*watchedJar).CookieJar.SetCookies(forged.URL, []*http.Cookie{{Name: "login", Value: "1", Path: "/"}})
	r := visitor.request("GET", "/.number-verify/", nil)
	r.Header.Set("X-User-Phone", "+33639980002")
	if a := visitor.do(r); !strings.Contains(unescape(a.body), "+33 6 •• •• •• 01") {
		t.Errorf("the form shows another number than the login's: %d", a.StatusCode)
	}
	if end := visitor.arrive(visitor.post("/.number-verify/start", url.Values{"return": {"/account/"}})); end.Request.URL.Path != "/account/" {
		t.Errorf("ends at %s %q", end.Request.URL, end.code())
	}
	if got := w.upstream.take(); len(got) != 1 || got[0].Header.Get("X-Verified-Number") != "+33639980001" {
		t.Errorf("arrived: %v", got)
	}
}

func TestCookieDomainSharesASessionAmongHosts(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(`http://www.example.com:PORT, http://app.example.com:PORT {
		bind 127.0.0.1
		number_verify {
			public_url http://www.example.com:PORT http://app.example.com:PORT
			cookie_domain example.com
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	_, port, _ := strings.Cut(w.addr, ":")
	visitor := w.browser()
	visitor.client.Transport.(*http.Transport).DialContext = dialLoopback(w.addr)
	www, app := "http://www.example.com:"+port+"/", "http://app.example.com:"+port+"/"
	if end := visitor.verify(www, "06 39 98 00 01"); end.StatusCode != 200 || end.Request.URL.Host != "www.example.com:"+port {
		t.Fatalf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.code())
	}
	if a := visitor.open(app); a.StatusCode != 200 {
		t.Errorf("the other host asks again: %d", a.StatusCode)
	}
	u, _ := url.Parse(app)
	for _, c := range visitor.client.Jar.Cookies(u) {
		if strings.HasSuffix(c.Name, "-browser") {
			t.Error("the browser cookie is not host-only: a sibling host could plant one")
		}
	}
}

// freshToken is one from elsewhere.
func (w *world) freshToken() string {
	w.t.Helper()
	resp, err := http.PostForm(w.simURL+"/ACCESS_TOKEN/", url.Values{"licence": {simulator.DefaultLicence}, "client_secret": {simulator.DefaultClientSecret}, "grant_type": {"client_idmobile"}})
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	attempts := w.sim.Attempts()
	return attempts[len(attempts)-1].Token
}

func TestStaticTokenServesOneAttemptEver(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	t.Setenv("TEST_TOKEN", w.freshToken())
	w.load(`http://SITE {
		number_verify /account* {
			public_url http://SITE
			verifier dqe {
				server SIMULATOR
				licence ` + simulator.DefaultLicence + `
				name "` + simulator.DefaultName + `"
				token {env.TEST_TOKEN}
			}
		}
		reverse_proxy UPSTREAM
	}`)
	w.browser().arrivesAt("/account/")
	again := w.browser().start("/account/", "06 39 98 00 02")
	if again.StatusCode != 503 || again.code() != "provider_misconfigured" || w.sim.Calls().Start != 1 {
		t.Errorf("a second attempt with the token: %d %q after %d starts", again.StatusCode, again.code(), w.sim.Calls().Start)
	}
}
