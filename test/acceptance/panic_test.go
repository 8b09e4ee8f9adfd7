package acceptance_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/guest"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// onBroken is a stage whose gate has the verifier that fails as guest.FailIn says.
func onBroken(t *testing.T) *stage.Stage {
	guest.FailIn("", nil)
	w := stage.New(t, simulator.Options{})
	w.MayPanic = true
	issuer := guest.Issuer(t, func(state string) string {
		w.Secrets.Add(state)
		return guest.GoodCode
	})
	w.Load(`http://SITE {
		number_verify /account* {
			public_url http://SITE
			limits {
				number 100000 1h 100000
			}
			verifier test_broken ` + issuer + `
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
			w := onBroken(t)
			earlier := w.Visitor()
			earlier.ArrivesAt("/account/")
			for _, step := range []string{"start", "callback", "result"} {
				guest.FailIn(step, fail)
				b := w.Visitor()
				if end := b.Verify("/account/", "06 39 98 00 01"); end.Code() != "provider_unavailable" {
					t.Errorf("%s: ends at %s with %d %q", step, end.Request.URL.Path, end.StatusCode, end.Code())
				}
				if a := b.Fetch("/account/"); a.StatusCode < 400 {
					t.Errorf("%s: lets him in: %d", step, a.StatusCode)
				}
				if a := earlier.Open("/account/"); a.StatusCode != http.StatusOK {
					t.Errorf("%s: an earlier session answers %d", step, a.StatusCode)
				}
				guest.FailIn("", nil)
				b.ArrivesAt("/account/again") // nothing is held for ever
			}
			if logged := w.Log(); strings.Count(logged, `"msg":"verifier panicked"`) != 3 || !strings.Contains(logged, "guest.(*Broken)") {
				t.Error("the log does not say three times where")
			}
		})
	}
}

// The stage searches its log for the number and the nonce.
func TestErrorOfAThirdPartysVerifierIsNotLoggedAsText(t *testing.T) {
	w := onBroken(t)
	for _, step := range []string{"start", "callback", "result"} {
		for _, fail := range []func(string) error{
			errors.New,
			func(text string) error { return fmt.Errorf("%s: %w", text, verifier.ErrForeignCallback) },
			func(text string) error { return fmt.Errorf("%s: %w", text, &verifier.Error{Call: step}) },
		} {
			guest.FailIn(step, fail)
			want := "provider_unavailable"
			if _, ok := errors.AsType[*verifier.Error](fail("")); step == "callback" && !ok {
				want = "browser_mismatch"
			}
			if end := w.Visitor().Verify("/account/", "06 39 98 00 01"); end.Code() != want {
				t.Errorf("%s: ends at %s with %d %q", step, end.Request.URL.Path, end.StatusCode, end.Code())
			}
		}
	}
}

// A nil *verifier.Error is not nil as an error, and reading it panics: in the
// goroutine of a result that would end Caddy.
func TestNilErrorOfAVerifierNeitherEndsCaddyNorLetsAnybodyIn(t *testing.T) {
	w := onBroken(t)
	for step, want := range map[string]string{"start": "provider_unavailable", "callback": "browser_mismatch", "result": "provider_unavailable"} {
		guest.FailIn(step, func(string) error { return (*verifier.Error)(nil) })
		b := w.Visitor()
		if end := b.Verify("/account/", "06 39 98 00 01"); end.Code() != want {
			t.Errorf("%s: ends at %s with %d %q", step, end.Request.URL.Path, end.StatusCode, end.Code())
		}
		if a := b.Fetch("/account/"); a.StatusCode < 400 {
			t.Errorf("%s: lets him in: %d", step, a.StatusCode)
		}
	}
}

// A cause that is a nil *verifier.Error panics when it is unwrapped, which the breaker
// does in the goroutine of a result.
func TestErrorWhoseCausePanicsNeitherEndsCaddyNorLetsAnybodyIn(t *testing.T) {
	w := onBroken(t)
	for _, step := range []string{"start", "callback", "result"} {
		guest.FailIn(step, func(string) error { return &verifier.Error{Call: step, Err: (*verifier.Error)(nil)} })
		b := w.Visitor()
		if end := b.Verify("/account/", "06 39 98 00 01"); end.Code() != "provider_unavailable" {
			t.Errorf("%s: ends at %s with %d %q", step, end.Request.URL.Path, end.StatusCode, end.Code())
		}
		if a := b.Fetch("/account/"); a.StatusCode < 400 {
			t.Errorf("%s: lets him in: %d", step, a.StatusCode)
		}
		guest.FailIn("", nil)
		b.ArrivesAt("/account/again") // nothing is held for ever
	}
}

// The stage searches its log for the number, which net/http would write there.
func TestPanicOfAVerifierOverANumberIsARefusalAndNotLoggedAsText(t *testing.T) {
	w := onBroken(t)
	guest.FailIn("number", func(e164 string) error { panic("no plan for " + e164) })
	if end := w.Visitor().Verify("/account/", "06 39 98 00 01"); end.Code() != "number_unsupported" {
		t.Errorf("ends at %s with %d %q", end.Request.URL.Path, end.StatusCode, end.Code())
	}
	if !strings.Contains(w.Log(), `"msg":"verifier panicked","step":"number"`) {
		t.Error("the log does not say where")
	}
}

// What is done for a visitor goes on in a goroutine that net/http does not watch.
func TestPanicOfACacheBehindAVisitorsBackDoesNotEndCaddy(t *testing.T) {
	w := onBroken(t)
	earlier := w.Visitor()
	earlier.ArrivesAt("/account/")
	guest.FailIn("result", func(string) error { guest.CachePanics.Store(true); return nil })
	b := w.Visitor()
	b.Open(b.Callback("/account/", "06 39 98 00 01"))
	if a := b.Fetch("/account/"); a.StatusCode < 400 {
		t.Errorf("lets him in: %d", a.StatusCode)
	}
	if a := earlier.Open("/account/"); a.StatusCode != http.StatusOK {
		t.Errorf("an earlier session answers %d", a.StatusCode)
	}
	if !strings.Contains(w.Log(), `"msg":"cache panicked","step":"replace"`) {
		t.Error("the log does not say where")
	}
}
