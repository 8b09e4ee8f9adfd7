package numberverify_test

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/crypto/bcrypt"

	numberverify "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

// BenchmarkVerified measures the cost of a request with a live session in the handler, and
// compares it with a handler that does nothing and with Caddy's basic_auth, which caches
// hashes. The request carries 15 cookies. Requests that the matcher does not match are
// measured too, without and with a final slash, since every request of the site is
// stripped; basic_auth has nothing like that.
func BenchmarkVerified(b *testing.B) {
	handler, open, site, session := verifiedHandlers(b)
	cookies := strings.Repeat("some=cookie; ", 14) + "number-verify=" + session
	for name, c := range map[string]struct {
		handler caddyhttp.MiddlewareHandler
		header  [2]string
		path    string
	}{
		"empty":         {passOn{}, [2]string{"Cookie", cookies}, "/account/"},
		"number_verify": {handler, [2]string{"Cookie", cookies}, "/account/"},
		"not matched":   {open, [2]string{"Cookie", cookies}, "/blog/post"},
		"a directory":   {open, [2]string{"Cookie", cookies}, "/blog/"},
		"basic_auth":    {basicAuth(b), [2]string{"Authorization", "Basic dmlzaXRvcjpzZWNyZXQ="}, "/account/"},
	} {
		b.Run(name, func(b *testing.B) {
			passed := 0
			next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
				passed++
				return nil
			})
			w, value := httptest.NewRecorder(), []string{c.header[1]}
			var r *http.Request
			var vars map[string]any
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%64 == 0 { // a replacer grows with each use
					r = httptest.NewRequest(http.MethodGet, site+c.path, nil)
					r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
					vars = r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
				}
				clear(vars)
				clear(r.Header)
				clear(w.Header())
				r.Header[c.header[0]] = value
				if err := c.handler.ServeHTTP(w, r, next); err != nil {
					b.Fatal(err)
				}
			}
			if passed != b.N {
				b.Fatalf("%d of %d requests pass", passed, b.N)
			}
		})
	}
}

type passOn struct{}

func (passOn) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(w, r)
}

// verifiedHandlers returns a handler with a session in its cache, which a visitor got
// through the simulator, and a handler whose matcher does not match.
func verifiedHandlers(b *testing.B) (h, open *numberverify.Handler, address, session string) {
	b.Helper()
	sim := httptest.NewServer(simulator.New(simulator.Options{}))
	b.Cleanup(sim.Close)
	ctx := provisioned(b)
	h = &numberverify.Handler{}
	site := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, nil)
		if err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })); err != nil {
			b.Error(err)
		}
	}))
	address = "http://" + site.Listener.Addr().String()
	h.PublicURL = []string{address}
	h.VerifierRaw = []byte(fmt.Sprintf(`{"provider":"dqe","server":%q,"licence":%q,"client_secret":%q,"name":%q}`,
		sim.URL, simulator.DefaultLicence, simulator.DefaultClientSecret, simulator.DefaultName))
	open = &numberverify.Handler{Options: h.Options}
	open.MatcherSetsRaw = caddyhttp.RawMatcherSets{{"path": []byte(`["/elsewhere","/elsewhere/*"]`)}}
	for _, handler := range []*numberverify.Handler{h, open} {
		if err := handler.Provision(ctx); err != nil {
			b.Fatal(err)
		}
	}
	app, err := ctx.App("number_verify")
	if err != nil {
		b.Fatal(err)
	}
	if err := app.(caddy.App).Start(); err != nil {
		b.Fatal(err)
	}
	site.Start()
	b.Cleanup(site.Close)
	return h, open, address, sessionOf(b, address)
}

// provisioned returns the context of a Caddy without apps.
func provisioned(b *testing.B) caddy.Context {
	b.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		b.Fatal(err)
	}
	return ctx
}

func basicAuth(b *testing.B) caddyhttp.MiddlewareHandler {
	b.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		b.Fatal(err)
	}
	ctx := provisioned(b)
	basic := caddyauth.HTTPBasicAuth{
		HashRaw:     []byte(`{"algorithm":"bcrypt"}`),
		HashCache:   &caddyauth.Cache{},
		AccountList: []caddyauth.Account{{Username: "visitor", Password: string(hash)}},
	}
	if err := basic.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	return caddyauth.Authentication{Providers: map[string]caddyauth.Authenticator{"http_basic": basic}}
}

// sessionOf verifies a visitor and returns the value of the session cookie.
func sessionOf(b *testing.B, site string) string {
	b.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	b.Cleanup(client.CloseIdleConnections)
	form := func(method, address string, body url.Values) {
		r, err := http.NewRequestWithContext(b.Context(), method, address, strings.NewReader(body.Encode()))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := client.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
	form(http.MethodGet, site+"/.number-verify/", nil)
	form(http.MethodPost, site+"/.number-verify/start", url.Values{"number": {"06 39 98 00 01"}})
	u, err := url.Parse(site)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range jar.Cookies(u) {
		if c.Name == "number-verify" {
			return c.Value
		}
	}
	b.Fatal("the visitor is not verified")
	return ""
}
