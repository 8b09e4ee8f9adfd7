package numberverify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/verifier"
)

func init() {
	caddy.RegisterModule(&scriptedVerifier{})
}

// script is what scriptedVerifier does beyond an oidcVerifier.
type script struct {
	token    func() (*verifier.Token, error)
	started  func(req verifier.StartRequest, s *verifier.Started)
	callback func() error
	starts   atomic.Int32
}

var playing atomic.Pointer[script]

// scriptedVerifier is a third party's verifier that needs a token for each attempt.
type scriptedVerifier struct{ oidcVerifier }

func (*scriptedVerifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.verifiers.test_scripted", New: func() caddy.Module { return new(scriptedVerifier) }}
}

func (v *scriptedVerifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return v.oidcVerifier.UnmarshalCaddyfile(d)
}

// lastToken numbers the tokens.
var lastToken atomic.Int64

func tokenNumber(n int64) *verifier.Token {
	return &verifier.Token{Value: fmt.Sprint("token-of-the-attempt-", n), Remember: time.Now().Add(time.Hour)}
}

func (*scriptedVerifier) Token(context.Context) (*verifier.Token, error) {
	if token := playing.Load().token; token != nil {
		return token()
	}
	return tokenNumber(lastToken.Add(1)), nil
}

func (v *scriptedVerifier) Start(ctx context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	playing.Load().starts.Add(1)
	s, err := v.oidcVerifier.Start(ctx, req)
	if change := playing.Load().started; change != nil {
		change(req, s)
	}
	return s, err
}

func (v *scriptedVerifier) Callback(state verifier.State, query url.Values) (verifier.State, error) {
	if callback := playing.Load().callback; callback != nil {
		return nil, callback()
	}
	return v.oidcVerifier.Callback(state, query)
}

// play makes a site whose verifier follows the script.
func play(t *testing.T, s *script) *world {
	playing.Store(s)
	w := newWorld(t, simulator.Options{})
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		state := r.URL.Query().Get("state")
		w.secrets.add(state)
		back := url.Values{"state": {state}, "code": {"good-code"}, "iss": {server.URL}}
		http.Redirect(rw, r, r.URL.Query().Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	}))
	t.Cleanup(server.Close)
	w.loadWith(fromAnywhere, `http://SITE {
		log
		number_verify /account* {
			public_url http://SITE
			limits {
				number 100000 1h 100000
			}
			verifier test_scripted `+server.URL+`
			cache test_flaky
		}
		reverse_proxy UPSTREAM
	}`)
	return w
}

func TestRefusalInTheCallbackEndsTheAttemptWithItsCodeAndBurnsNothing(t *testing.T) {
	for class, want := range map[verifier.Class]string{
		verifier.Denied: "access_denied", verifier.OperatorUnavailable: "operator_unavailable", verifier.Misconfigured: "provider_misconfigured",
		verifier.ProviderUnavailable: "provider_unavailable", verifier.Mismatch: "number_mismatch",
	} {
		t.Run(want, func(t *testing.T) {
			s := new(script)
			w := play(t, s)
			visitor := w.browser()
			s.callback = func() error {
				return fmt.Errorf("error=access_denied for 0639980001: %w", &verifier.Error{Class: class, Call: "callback"})
			}
			back := visitor.open(visitor.start("/account/", "06 39 98 00 01").location()).location()
			if end := visitor.arrive(visitor.open(back)); end.Request.URL.Path != "/.number-verify/" || end.code() != want {
				t.Errorf("ends at %s with %q", end.Request.URL.Path, end.code())
			}
			if w.logged("attempt burned") != 0 {
				t.Error("the attempt was burned")
			}
			s.callback = nil
			if end := visitor.arrive(visitor.open(back)); end.Request.URL.Path != "/.number-verify/" {
				t.Errorf("the same callback again ends at %s with %q", end.Request.URL.Path, end.code())
			}
			if a := visitor.fetch("/account/"); a.StatusCode < 400 {
				t.Errorf("lets him in: %d", a.StatusCode)
			}
			visitor.arrivesAt("/account/")
		})
	}
}

func TestCallbackOfSomebodyElseBurnsTheAttempt(t *testing.T) {
	for name, foreign := range map[string]error{
		"as the contract says it": verifier.ErrForeignCallback,
		"wrapped":                 fmt.Errorf("0639980001: %w", verifier.ErrForeignCallback),
		"any other error":         errors.New("0639980001"),
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{callback: func() error { return foreign }}
			w := play(t, s)
			visitor := w.browser()
			back := visitor.open(visitor.start("/account/", "06 39 98 00 01").location()).location()
			if end := visitor.arrive(visitor.open(back)); end.code() != "browser_mismatch" {
				t.Errorf("ends at %s with %q", end.Request.URL.Path, end.code())
			}
			s.callback = nil
			if end := visitor.arrive(visitor.open(back)); end.code() != "browser_mismatch" || w.logged("attempt burned") != 1 {
				t.Errorf("the right callback after it ends at %s with %q", end.Request.URL.Path, end.code())
			}
		})
	}
}

// The operator's URL is the gate's to check, whatever the verifier makes of it.
func TestURLThatRevealsASecretOrLeadsElsewhereIsNobodysToFollow(t *testing.T) {
	s := new(script)
	w := play(t, s)
	for name, change := range map[string]func(req verifier.StartRequest, s *verifier.Started){
		"reveals the state":       func(_ verifier.StartRequest, s *verifier.Started) { s.ShowsState = false },
		"reveals the token":       func(req verifier.StartRequest, s *verifier.Started) { s.URL += "&t=" + req.Token },
		"reveals what is hidden":  func(_ verifier.StartRequest, s *verifier.Started) { s.Hidden = []string{"redirect_uri"} },
		"is on another host":      func(_ verifier.StartRequest, s *verifier.Started) { s.Hosts = []string{"operator.example"} },
		"leads back to the gate":  func(req verifier.StartRequest, s *verifier.Started) { s.URL = req.CallbackURL },
		"is another scheme":       func(_ verifier.StartRequest, s *verifier.Started) { s.URL = "javascript:alert(1)" },
		"is not there":            func(_ verifier.StartRequest, s *verifier.Started) { s.URL = "" },
		"holds user information":  func(_ verifier.StartRequest, s *verifier.Started) { s.URL = "https://0639980001@operator.example/" },
		"is a path on this site":  func(_ verifier.StartRequest, s *verifier.Started) { s.URL = "/account/" },
		"has a control character": func(_ verifier.StartRequest, s *verifier.Started) { s.URL += "\x00" },
	} {
		s.started = change
		if a := w.from("192.0.2.1").press("06 39 98 00 01"); a.StatusCode != http.StatusServiceUnavailable || a.code() != "provider_unavailable" {
			t.Errorf("a URL that %s: %d %q to %q", name, a.StatusCode, a.code(), a.location())
		}
		w.from("192.0.2.2").press("06 39 98 00 02") // a second client: no outage either
	}
	told := regexp.MustCompile(`"level":"error".*"msg":"verification failed".*the operator's URL.*"hint":"`)
	if n := len(told.FindAllString(w.log(), -1)); n != 20 || w.logged("suspended") != 0 {
		t.Errorf("%d errors in the log", n)
	}
	s.started = func(_ verifier.StartRequest, s *verifier.Started) { s.Hosts = []string{"127.0.0.1"} }
	w.browser().arrivesAt("/account/")
}

func TestTokenThatHasServedAnAttemptStartsNoOther(t *testing.T) {
	s := new(script)
	w := play(t, s)
	s.token = func() (*verifier.Token, error) { return tokenNumber(0), nil }
	w.browser().arrivesAt("/account/")
	again := w.browser().start("/account/", "06 39 98 00 02")
	again.is(t, http.StatusServiceUnavailable, "provider_misconfigured")
	if s.starts.Load() != 1 || w.logged("a token serves one attempt") != 1 {
		t.Errorf("%d starts", s.starts.Load())
	}
	visitor := w.browser()
	s.token = func() (*verifier.Token, error) {
		cacheDown.Store(true) // nobody can tell whether the token has served
		return tokenNumber(lastToken.Add(1)), nil
	}
	t.Cleanup(func() { cacheDown.Store(false) })
	visitor.start("/account/", "06 39 98 00 01").is(t, http.StatusServiceUnavailable, "cache_unavailable")
	cacheDown.Store(false)
	if s.starts.Load() != 1 {
		t.Errorf("%d starts", s.starts.Load())
	}
}

func TestTokenThatCouldNotBeHeldToOneAttemptStartsNone(t *testing.T) {
	s := new(script)
	w := play(t, s)
	for name, token := range map[string]*verifier.Token{
		"none":           nil,
		"an empty one":   {Remember: time.Now().Add(time.Hour)},
		"soon forgotten": {Value: "token-soon-forgotten"},
	} {
		s.token = func() (*verifier.Token, error) { return token, nil }
		w.browser().start("/account/", "06 39 98 00 01").is(t, http.StatusServiceUnavailable, "provider_unavailable")
		if s.starts.Load() != 0 {
			t.Errorf("%s: started", name)
		}
	}
}

// Neither the verifier nor its token says when the attempt ends.
func TestAttemptWhoseProviderSaysNoEndLastsAsLongAsTheGateLetsIt(t *testing.T) {
	w := play(t, &script{started: func(_ verifier.StartRequest, s *verifier.Started) { s.Expires = time.Time{} }})
	w.browser().arrivesAt("/account/")
}

// A token that has expired ends its attempt, whatever the verifier says.
func TestAttemptEndsWithItsToken(t *testing.T) {
	s := new(script)
	w := play(t, s)
	s.token = func() (*verifier.Token, error) {
		token := tokenNumber(lastToken.Add(1))
		token.Expires = time.Now().Add(-time.Second)
		return token, nil
	}
	if end := w.browser().verify("/account/", "06 39 98 00 01"); end.code() != "attempt_expired" {
		t.Errorf("ends at %s with %q", end.Request.URL.Path, end.code())
	}
}

func TestStatusTellsHowTheVisitorWasRecognised(t *testing.T) {
	s := new(script)
	w := play(t, s)
	for method, want := range map[verifier.Method]string{"": "silent", verifier.Silent: "silent", "sms": "sms"} {
		s.started = func(_ verifier.StartRequest, s *verifier.Started) { s.Method = method }
		visitor := w.browser()
		visitor.arrivesAt("/account/")
		if a := visitor.fetch("/.number-verify/status"); !strings.Contains(a.body, `"method":"`+want+`"`) {
			t.Errorf("%q: %s", method, a.body)
		}
	}
	if a := w.browser().fetch("/.number-verify/status"); strings.Contains(a.body, "method") {
		t.Errorf("without a verification: %s", a.body)
	}
}

func TestPagesNameTheVerifiersRecipient(t *testing.T) {
	w := play(t, new(script))
	for language, want := range map[string]string{"en": "The number is sent to Example, which", "fr": "Le numéro est transmis à Example, qui"} {
		r := w.browser().request(http.MethodGet, "/.number-verify/", nil)
		r.Header.Set("Accept-Language", language)
		if a := w.browser().do(r); !strings.Contains(a.body, want) || strings.Contains(a.body, "DQE") {
			t.Errorf("%s: the form does not say %q", language, want)
		}
	}
}

// The path below the callback is kept for providers that need one of their own
// (RFC 9700, 4.4): what comes there may hold credentials.
func TestPathsBelowTheCallbackAreReservedAndLeaveNoTrace(t *testing.T) {
	w := play(t, new(script))
	visitor := w.browser()
	for _, method := range []string{"GET", "HEAD", "POST", "fetch"} {
		for _, path := range []string{"/.number-verify/callback/", "/.number-verify/callback/dqe?state=s&code=c", "/.number-verify/callback/dqe/x", "/.number-verify/c%61llback/dqe"} {
			a := visitor.send(method, path)
			if a.StatusCode != http.StatusNotFound || a.Header.Get("Referrer-Policy") != "no-referrer" || len(a.Cookies()) != 0 {
				t.Errorf("%s %s: %d, Referrer-Policy %q", method, path, a.StatusCode, a.Header.Get("Referrer-Policy"))
			}
		}
	}
	if a := visitor.open("/.number-verify/callbacks"); a.StatusCode != http.StatusNotFound || a.Header.Get("Referrer-Policy") == "no-referrer" {
		t.Errorf("another path: %d, Referrer-Policy %q", a.StatusCode, a.Header.Get("Referrer-Policy"))
	}
	if got := w.upstream.take(); len(got) != 0 {
		t.Errorf("%s fell through to the upstream", got[0].URL)
	}
	if err := caddy.Stop(); err != nil { // writes out the log
		t.Fatal(err)
	}
	if logged := w.log(); strings.Contains(logged, "callback/") || strings.Contains(logged, "llback/dqe") || !strings.Contains(logged, "/.number-verify/callbacks") {
		t.Error("the access log holds what came there, or nothing at all")
	}
}
