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

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/verifier"
)

func init() {
	caddy.RegisterModule(&brokenVerifier{})
}

// broken is the step in which brokenVerifier fails, and how.
var broken atomic.Value // of failure

type failure struct {
	step string
	fail func(text string) error
}

// brokenVerifier is a third party's verifier with a mistake in it.
type brokenVerifier struct{ oidcVerifier }

func (*brokenVerifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.verifiers.test_broken", New: func() caddy.Module { return new(brokenVerifier) }}
}

func (v *brokenVerifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return v.oidcVerifier.UnmarshalCaddyfile(d)
}

func failIn(step string, text string) error {
	if f := broken.Load().(failure); f.step == step {
		return f.fail(text)
	}
	return nil
}

func (v *brokenVerifier) Understands(e164 string) bool { return failIn("number", e164) == nil }

func (v *brokenVerifier) Start(ctx context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	if err := failIn("start", req.Number+" "+req.State); err != nil {
		return nil, err
	}
	return v.oidcVerifier.Start(ctx, req)
}

func (v *brokenVerifier) Callback(state verifier.State, query url.Values) (verifier.State, error) {
	if err := failIn("callback", fmt.Sprintf("%s %v", []byte(state), query)); err != nil {
		return nil, err
	}
	return v.oidcVerifier.Callback(state, query)
}

func (v *brokenVerifier) Result(ctx context.Context, state verifier.State) (verifier.Outcome, error) {
	if err := failIn("result", string(state)); err != nil {
		return verifier.Verified, err
	}
	return v.oidcVerifier.Result(ctx, state)
}

// newBrokenWorld is a site whose verifier fails as broken says.
func newBrokenWorld(t *testing.T) *world {
	broken.Store(failure{})
	w := newWorld(t, simulator.Options{})
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		state := r.URL.Query().Get("state")
		w.secrets.add(state)
		back := url.Values{"state": {state}, "code": {"good-code"}, "iss": {server.URL}}
		http.Redirect(rw, r, r.URL.Query().Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	}))
	t.Cleanup(server.Close)
	w.load(`http://SITE {
		number_verify /account* {
			public_url http://SITE
			limits {
				number 100000 1h 100000
			}
			verifier test_broken ` + server.URL + `
			cache test_flaky
		}
		reverse_proxy UPSTREAM
	}`)
	return w
}

func TestPanicOfAVerifierNeitherEndsCaddyNorLetsAnybodyIn(t *testing.T) {
	for name, fail := range map[string]func(string) error{
		"a text":   func(text string) error { panic(text) },
		"an error": func(text string) error { panic(errors.New(text)) },
		"a mistake": func(text string) error {
			var none []string
			return errors.New(none[len(text)])
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newBrokenWorld(t)
			earlier := w.browser()
			earlier.arrivesAt("/account/")
			for _, step := range []string{"start", "callback", "result"} {
				broken.Store(failure{step, fail})
				b := w.browser()
				if end := b.verify("/account/", "06 39 98 00 01"); end.code() != "provider_unavailable" {
					t.Errorf("%s: ends at %s with %d %q", step, end.Request.URL.Path, end.StatusCode, end.code())
				}
				if a := b.fetch("/account/"); a.StatusCode < 400 {
					t.Errorf("%s: lets him in: %d", step, a.StatusCode)
				}
				if a := earlier.open("/account/"); a.StatusCode != http.StatusOK {
					t.Errorf("%s: an earlier session answers %d", step, a.StatusCode)
				}
				broken.Store(failure{})
				b.arrivesAt("/account/again") // nothing is held for ever
			}
			if logged := w.log(); strings.Count(logged, `"msg":"verifier panicked"`) != 3 || !strings.Contains(logged, "brokenVerifier") {
				t.Error("the log does not say three times where")
			}
		})
	}
}

// The world searches its log for the number and the nonce.
func TestErrorOfAThirdPartysVerifierIsNotLoggedAsText(t *testing.T) {
	w := newBrokenWorld(t)
	for _, step := range []string{"start", "callback", "result"} {
		for _, fail := range []func(string) error{
			errors.New,
			func(text string) error { return fmt.Errorf("%s: %w", text, verifier.ErrForeignCallback) },
			func(text string) error { return fmt.Errorf("%s: %w", text, &verifier.Error{Call: step}) },
		} {
			broken.Store(failure{step, fail})
			want := "provider_unavailable"
			if _, ok := errors.AsType[*verifier.Error](fail("")); step == "callback" && !ok {
				want = "browser_mismatch"
			}
			if end := w.browser().verify("/account/", "06 39 98 00 01"); end.code() != want {
				t.Errorf("%s: ends at %s with %d %q", step, end.Request.URL.Path, end.StatusCode, end.code())
			}
		}
	}
}

// A nil *verifier.Error is not nil as an error, and reading it panics: in the
// goroutine of a result that would end Caddy.
func TestNilErrorOfAVerifierNeitherEndsCaddyNorLetsAnybodyIn(t *testing.T) {
	w := newBrokenWorld(t)
	for step, want := range map[string]string{"start": "provider_unavailable", "callback": "browser_mismatch", "result": "provider_unavailable"} {
		broken.Store(failure{step, func(string) error { return (*verifier.Error)(nil) }})
		b := w.browser()
		if end := b.verify("/account/", "06 39 98 00 01"); end.code() != want {
			t.Errorf("%s: ends at %s with %d %q", step, end.Request.URL.Path, end.StatusCode, end.code())
		}
		if a := b.fetch("/account/"); a.StatusCode < 400 {
			t.Errorf("%s: lets him in: %d", step, a.StatusCode)
		}
	}
}

// The world searches its log for the number, which net/http would write there.
func TestPanicOfAVerifierOverANumberIsARefusalAndNotLoggedAsText(t *testing.T) {
	w := newBrokenWorld(t)
	broken.Store(failure{"number", func(e164 string) error { panic("no plan for " + e164) }})
	if end := w.browser().verify("/account/", "06 39 98 00 01"); end.code() != "number_unsupported" {
		t.Errorf("ends at %s with %d %q", end.Request.URL.Path, end.StatusCode, end.code())
	}
	if !strings.Contains(w.log(), `"msg":"verifier panicked","step":"number"`) {
		t.Error("the log does not say where")
	}
}

// What is done for a visitor goes on in a goroutine that net/http does not watch.
func TestPanicOfACacheBehindAVisitorsBackDoesNotEndCaddy(t *testing.T) {
	w := newBrokenWorld(t)
	earlier := w.browser()
	earlier.arrivesAt("/account/")
	broken.Store(failure{"result", func(string) error { cachePanic.Store(true); return nil }})
	b := w.browser()
	b.open(b.open(b.start("/account/", "06 39 98 00 01").location()).location())
	if a := b.fetch("/account/"); a.StatusCode < 400 {
		t.Errorf("lets him in: %d", a.StatusCode)
	}
	if a := earlier.open("/account/"); a.StatusCode != http.StatusOK {
		t.Errorf("an earlier session answers %d", a.StatusCode)
	}
	if !strings.Contains(w.log(), `"msg":"cache panicked","step":"replace"`) {
		t.Error("the log does not say where")
	}
}
