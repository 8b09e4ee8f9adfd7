package acceptance_test

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/guest"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// play makes a site whose verifier follows the script.
func play(t *testing.T, s *guest.Script) *stage.Stage {
	s.Play()
	w := stage.New(t, simulator.Options{})
	issuer := guest.Issuer(t, func(state string) string {
		w.Secrets.Add(state)
		return guest.GoodCode
	})
	w.LoadWith(stage.FromAnywhere, `http://SITE {
		log
		number_verify /account* {
			public_url http://SITE
			limits {
				number 100000 1h 100000
			}
			verifier test_scripted `+issuer+`
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
			s := new(guest.Script)
			w := play(t, s)
			visitor := w.Visitor()
			s.Callback = func() error {
				return fmt.Errorf("error=access_denied for 0639980001: %w", &verifier.Error{Class: class, Call: "callback"})
			}
			back := visitor.Callback("/account/", "06 39 98 00 01")
			if end := visitor.Arrive(visitor.Open(back)); end.Request.URL.Path != "/.number-verify/" || end.Code() != want {
				t.Errorf("ends at %s with %q", end.Request.URL.Path, end.Code())
			}
			if w.Logged("attempt burned") != 0 {
				t.Error("the attempt was burned")
			}
			s.Callback = nil
			if end := visitor.Arrive(visitor.Open(back)); end.Request.URL.Path != "/.number-verify/" {
				t.Errorf("the same callback again ends at %s with %q", end.Request.URL.Path, end.Code())
			}
			if a := visitor.Fetch("/account/"); a.StatusCode < 400 {
				t.Errorf("lets him in: %d", a.StatusCode)
			}
			visitor.ArrivesAt("/account/")
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
			s := &guest.Script{Callback: func() error { return foreign }}
			w := play(t, s)
			visitor := w.Visitor()
			back := visitor.Callback("/account/", "06 39 98 00 01")
			if end := visitor.Arrive(visitor.Open(back)); end.Code() != "browser_mismatch" {
				t.Errorf("ends at %s with %q", end.Request.URL.Path, end.Code())
			}
			s.Callback = nil
			if end := visitor.Arrive(visitor.Open(back)); end.Code() != "browser_mismatch" || w.Logged("attempt burned") != 1 {
				t.Errorf("the right callback after it ends at %s with %q", end.Request.URL.Path, end.Code())
			}
		})
	}
}

// The operator's URL is the gate's to check, whatever the verifier makes of it.
func TestURLThatRevealsASecretOrLeadsElsewhereIsNobodysToFollow(t *testing.T) {
	s := new(guest.Script)
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
		s.Started = change
		if a := w.From("192.0.2.1").Press("06 39 98 00 01", "/account/"); a.StatusCode != http.StatusServiceUnavailable || a.Code() != "provider_unavailable" {
			t.Errorf("a URL that %s: %d %q to %q", name, a.StatusCode, a.Code(), a.Location())
		}
		w.From("192.0.2.2").Press("06 39 98 00 02", "/account/") // a second client: no outage either
	}
	told := regexp.MustCompile(`"level":"error".*"msg":"verification failed".*the operator's URL.*"hint":"`)
	if n := len(told.FindAllString(w.Log(), -1)); n != 20 || w.Logged("suspended") != 0 {
		t.Errorf("%d errors in the log", n)
	}
	s.Started = func(_ verifier.StartRequest, s *verifier.Started) { s.Hosts = []string{"127.0.0.1"} }
	w.Visitor().ArrivesAt("/account/")
}

func TestTokenThatHasServedAnAttemptStartsNoOther(t *testing.T) {
	s := new(guest.Script)
	w := play(t, s)
	served := guest.NewToken()
	s.Token = func() (*verifier.Token, error) { return served, nil }
	w.Visitor().ArrivesAt("/account/")
	again := w.Visitor().Start("/account/", "06 39 98 00 02")
	again.Is(t, http.StatusServiceUnavailable, "provider_misconfigured")
	if s.Starts.Load() != 1 || w.Logged("a token serves one attempt") != 1 {
		t.Errorf("%d starts", s.Starts.Load())
	}
	visitor := w.Visitor()
	s.Token = func() (*verifier.Token, error) {
		guest.CacheIsDown.Store(true) // nobody can tell whether the token has served
		return guest.NewToken(), nil
	}
	t.Cleanup(func() { guest.CacheIsDown.Store(false) })
	visitor.Start("/account/", "06 39 98 00 01").Is(t, http.StatusServiceUnavailable, "cache_unavailable")
	guest.CacheIsDown.Store(false)
	if s.Starts.Load() != 1 {
		t.Errorf("%d starts", s.Starts.Load())
	}
}

func TestTokenThatCouldNotBeHeldToOneAttemptStartsNone(t *testing.T) {
	s := new(guest.Script)
	w := play(t, s)
	for name, token := range map[string]*verifier.Token{
		"none":           nil,
		"an empty one":   {Remember: time.Now().Add(time.Hour)},
		"soon forgotten": {Value: "token-soon-forgotten"},
	} {
		s.Token = func() (*verifier.Token, error) { return token, nil }
		w.Visitor().Start("/account/", "06 39 98 00 01").Is(t, http.StatusServiceUnavailable, "provider_unavailable")
		if s.Starts.Load() != 0 {
			t.Errorf("%s: started", name)
		}
	}
}

// Neither the verifier nor its token says when the attempt ends.
func TestAttemptWhoseProviderSaysNoEndLastsAsLongAsTheGateLetsIt(t *testing.T) {
	w := play(t, &guest.Script{Started: func(_ verifier.StartRequest, s *verifier.Started) { s.Expires = time.Time{} }})
	w.Visitor().ArrivesAt("/account/")
}

// A token that has expired ends its attempt, whatever the verifier says.
func TestAttemptEndsWithItsToken(t *testing.T) {
	s := new(guest.Script)
	w := play(t, s)
	s.Token = func() (*verifier.Token, error) {
		token := guest.NewToken()
		token.Expires = time.Now().Add(-time.Second)
		return token, nil
	}
	if end := w.Visitor().Verify("/account/", "06 39 98 00 01"); end.Code() != "attempt_expired" {
		t.Errorf("ends at %s with %q", end.Request.URL.Path, end.Code())
	}
}

func TestStatusTellsHowTheVisitorWasRecognised(t *testing.T) {
	s := new(guest.Script)
	w := play(t, s)
	for method, want := range map[verifier.Method]string{"": "silent", verifier.Silent: "silent", "sms": "sms"} {
		s.Started = func(_ verifier.StartRequest, s *verifier.Started) { s.Method = method }
		visitor := w.Visitor()
		visitor.ArrivesAt("/account/")
		if a := visitor.Fetch("/.number-verify/status"); !strings.Contains(a.Body, `"method":"`+want+`"`) {
			t.Errorf("%q: %s", method, a.Body)
		}
	}
	if a := w.Visitor().Fetch("/.number-verify/status"); strings.Contains(a.Body, "method") {
		t.Errorf("without a verification: %s", a.Body)
	}
}

func TestPagesNameTheVerifiersRecipient(t *testing.T) {
	w := play(t, new(guest.Script))
	for language, want := range map[string]string{"en": "The number is sent to Example, which", "fr": "Le numéro est transmis à Example, qui"} {
		if a := w.Visitor().Open("/.number-verify/", "Accept-Language: "+language); !strings.Contains(a.Body, want) || strings.Contains(a.Body, "DQE") {
			t.Errorf("%s: the form does not say %q", language, want)
		}
	}
}

// The path below the callback is kept for providers that need one of their own
// (RFC 9700, 4.4): what comes there may hold credentials.
func TestPathsBelowTheCallbackAreReservedAndLeaveNoTrace(t *testing.T) {
	w := play(t, new(guest.Script))
	visitor := w.Visitor()
	for _, method := range []string{"GET", "HEAD", "POST", "fetch"} {
		for _, path := range []string{"/.number-verify/callback/", "/.number-verify/callback/dqe?state=s&code=c", "/.number-verify/callback/dqe/x", "/.number-verify/c%61llback/dqe"} {
			a := send(visitor, method, path)
			if a.StatusCode != http.StatusNotFound || a.Header.Get("Referrer-Policy") != "no-referrer" || len(a.Cookies()) != 0 {
				t.Errorf("%s %s: %d, Referrer-Policy %q", method, path, a.StatusCode, a.Header.Get("Referrer-Policy"))
			}
		}
	}
	if a := visitor.Open("/.number-verify/callbacks"); a.StatusCode != http.StatusNotFound || a.Header.Get("Referrer-Policy") == "no-referrer" {
		t.Errorf("another path: %d, Referrer-Policy %q", a.StatusCode, a.Header.Get("Referrer-Policy"))
	}
	if got := w.Upstream.Take(); len(got) != 0 {
		t.Errorf("%s fell through to the upstream", got[0].URL)
	}
	w.Stop()
	if logged := w.Log(); strings.Contains(logged, "callback/") || strings.Contains(logged, "llback/dqe") || !strings.Contains(logged, "/.number-verify/callbacks") {
		t.Error("the access log holds what came there, or nothing at all")
	}
}
