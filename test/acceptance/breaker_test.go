package acceptance_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// failStarts has ten starts of different numbers fail, so that the provider is
// not called any more.
func failStarts(t *testing.T, w *stage.Stage) {
	t.Helper()
	w.Provider.SetError(simulator.CallStart, "99")
	for i := range 10 {
		a := w.From(fmt.Sprint("192.0.2.", i)).Press(fmt.Sprintf("06 39 98 10 %02d", i), "/account/")
		a.Is(t, http.StatusServiceUnavailable, "provider_unavailable")
	}
}

func TestProviderThatFailsIsNotCalledAndNobodyWaits(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith(stage.FromAnywhere, account)
	verified := w.From("192.0.2.100")
	verified.ArrivesAt("/account/")
	failStarts(t, w)
	before := w.Provider.Calls()
	for i := range 20 {
		visitor := w.From(fmt.Sprint("198.51.100.", i))
		began := time.Now()
		a := visitor.Press("06 39 98 00 01", "/account/")
		a.Is(t, http.StatusServiceUnavailable, "provider_unavailable")
		a.RetryAfter(t, time.Second, time.Minute)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the visitor waits %v", took)
		}
	}
	if after := w.Provider.Calls(); after != before {
		t.Errorf("the provider was called: %+v, %+v", before, after)
	}
	verified.Passes("/account/")

	// a mended configuration begins anew
	w.Provider.SetError(simulator.CallStart, "")
	w.LoadWith(stage.FromAnywhere, limited("attempts 9000"))
	w.From("198.51.100.1").ArrivesAt("/account/")
}

func TestExhaustedCreditsStopCallsAfterThree(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	w.Provider.SetCredits(false)
	for i := range 6 {
		visitor := w.From("192.0.2.1")
		code := "provider_misconfigured"
		if i >= 3 {
			code = "provider_unavailable"
		}
		a := visitor.Press(fmt.Sprintf("06 39 98 10 %02d", i), "/account/")
		a.Is(t, http.StatusServiceUnavailable, code)
		if i >= 3 {
			a.RetryAfter(t, 20*time.Second, 30*time.Second)
		}
	}
	if calls := w.Provider.Calls(); calls.Token != 3 {
		t.Errorf("%+v", calls)
	}
}

// Who comes back during an outage has been paid for: the result is asked for
// before the visitor is given up, once.
func TestVisitorWhoComesBackDuringAnOutageIsNotLostForIt(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith(stage.FromAnywhere, strings.Replace(account, "result_wait 3s", "result_wait 9s", 1))
	visitor, other := w.From("192.0.2.100"), w.From("192.0.2.101")
	callback := visitor.Open(visitor.Press("06 39 98 00 01", "/account/").Location()).Location()
	lost := other.Open(other.Press("06 39 98 00 02", "/account/").Location()).Location()
	failStarts(t, w)
	waiting := visitor.Follow(visitor.Open(callback))
	if waiting.StatusCode != http.StatusOK || waiting.Refresh() == "" || w.Provider.Calls().Result != 0 {
		t.Fatalf("the visitor is at %s: %d %q", waiting.Request.URL.Path, waiting.StatusCode, waiting.Code())
	}
	otherWaits := other.Follow(other.Open(lost))
	if a := visitor.Arrive(waiting); a.StatusCode != http.StatusOK || a.Request.URL.Path != "/account/" {
		t.Errorf("the visitor ends at %s: %d %q", a.Request.URL, a.StatusCode, a.Code())
	}
	if a := other.Arrive(otherWaits); a.Code() != "number_mismatch" {
		t.Errorf("the other ends at %s: %d %q", a.Request.URL, a.StatusCode, a.Code())
	}
	if calls := w.Provider.Calls(); calls.Result != 2 {
		t.Errorf("%d calls for a result", calls.Result)
	}
}

func TestVisitorWhoComesBackWhenCreditsHaveRunOutIsVerifiedAtOnce(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.From("192.0.2.100")
	callback := visitor.Open(visitor.Press("06 39 98 00 01", "/account/").Location()).Location()
	w.Provider.SetCredits(false)
	for i := range 4 {
		w.From("192.0.2.1").Press(fmt.Sprintf("06 39 98 10 %02d", i), "/account/")
	}
	if a := visitor.Open(callback); a.Location() != "/account/" {
		t.Errorf("%d to %s", a.StatusCode, a.Location())
	}
	visitor.Passes("/account/")
}

// An operator whose URL cannot be used, whoever asks for him, and one client alone,
// whatever he asks for, do not keep the provider from being called for others.
func TestNeitherAnOperatorNorOneClientHasTheProviderSuspended(t *testing.T) {
	var link string
	w := stage.New(t, simulator.Options{OperatorURL: func(operator, _, _ string) string {
		if link != "" {
			return link
		}
		return operator
	}})
	w.LoadWith(stage.FromAnywhere, limited("client 100 10m"))
	for _, link = range []string{"javascript:alert(1)", "https://user@operator.example/", "https:///"} {
		for i := range 7 {
			w.From(fmt.Sprint("192.0.2.", i)).Press(fmt.Sprintf("06 39 98 10 %02d", i), "/account/").Is(t, http.StatusServiceUnavailable, "provider_unavailable")
		}
	}
	link = ""
	w.Provider.SetError(simulator.CallStart, "99")
	for i := range 20 {
		w.From("192.0.2.1").Press(fmt.Sprintf("06 39 98 10 %02d", i), "/account/").Is(t, http.StatusServiceUnavailable, "provider_unavailable")
	}
	if n := w.Starts(); n != 41 {
		t.Errorf("%d starts", n)
	}
	w.Provider.SetError(simulator.CallStart, "")
	w.From("198.51.100.1").ArrivesAt("/account/")
	if n := w.Logged("the operator's URL"); n != 21 {
		t.Errorf("%d lines in the log", n)
	}
}
