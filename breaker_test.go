package numberverify_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

// failStarts has ten starts of different numbers fail, so that the provider is
// not called any more.
func failStarts(t *testing.T, w *world) {
	t.Helper()
	w.sim.SetError(simulator.CallStart, "99")
	for i := range 10 {
		a := w.from(fmt.Sprint("192.0.2.", i)).press(fmt.Sprintf("06 39 98 10 %02d", i))
		a.is(t, http.StatusServiceUnavailable, "provider_unavailable")
	}
}

// logged is how many lines of the log hold a message.
func (w *world) logged(message string) int {
	w.t.Helper()
	text, err := os.ReadFile(w.logFile)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Count(string(text), message)
}

func TestProviderThatFailsIsNotCalledAndNobodyWaits(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadWith(fromAnywhere, account)
	verified := w.from("192.0.2.100")
	verified.arrivesAt("/account/")
	failStarts(t, w)
	before := w.sim.Calls()
	for i := range 20 {
		visitor := w.from(fmt.Sprint("198.51.100.", i))
		began := time.Now()
		a := visitor.press("06 39 98 00 01")
		a.is(t, http.StatusServiceUnavailable, "provider_unavailable")
		a.retryAfter(t, time.Second, time.Minute)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the visitor waits %v", took)
		}
	}
	if after := w.sim.Calls(); after != before {
		t.Errorf("the provider was called: %+v, %+v", before, after)
	}
	verified.passes("/account/")

	// a mended configuration begins anew
	w.sim.SetError(simulator.CallStart, "")
	w.loadWith(fromAnywhere, limited("attempts 9000"))
	w.from("198.51.100.1").arrivesAt("/account/")
}

func TestExhaustedCreditsStopCallsAfterThree(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	w.sim.SetCredits(false)
	for i := range 6 {
		visitor := w.from("192.0.2.1")
		code := "provider_misconfigured"
		if i >= 3 {
			code = "provider_unavailable"
		}
		a := visitor.press(fmt.Sprintf("06 39 98 10 %02d", i))
		a.is(t, http.StatusServiceUnavailable, code)
		if i >= 3 {
			a.retryAfter(t, 20*time.Second, 30*time.Second)
		}
	}
	if calls := w.sim.Calls(); calls.Token != 3 {
		t.Errorf("%+v", calls)
	}
}

// Who comes back during an outage has been paid for: the result is asked for
// before the visitor is given up, once.
func TestVisitorWhoComesBackDuringAnOutageIsNotLostForIt(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadWith(fromAnywhere, strings.Replace(account, "result_wait 3s", "result_wait 9s", 1))
	visitor, other := w.from("192.0.2.100"), w.from("192.0.2.101")
	callback := visitor.open(visitor.press("06 39 98 00 01").location()).location()
	lost := other.open(other.press("06 39 98 00 02").location()).location()
	failStarts(t, w)
	waiting := visitor.follow(visitor.open(callback))
	if waiting.StatusCode != http.StatusOK || refresh.FindString(waiting.body) == "" || w.sim.Calls().Result != 0 {
		t.Fatalf("the visitor is at %s: %d %q", waiting.Request.URL.Path, waiting.StatusCode, waiting.code())
	}
	otherWaits := other.follow(other.open(lost))
	if a := visitor.arrive(waiting); a.StatusCode != http.StatusOK || a.Request.URL.Path != "/account/" {
		t.Errorf("the visitor ends at %s: %d %q", a.Request.URL, a.StatusCode, a.code())
	}
	if a := other.arrive(otherWaits); a.code() != "number_mismatch" {
		t.Errorf("the other ends at %s: %d %q", a.Request.URL, a.StatusCode, a.code())
	}
	if calls := w.sim.Calls(); calls.Result != 2 {
		t.Errorf("%d calls for a result", calls.Result)
	}
}

func TestVisitorWhoComesBackWhenCreditsHaveRunOutIsVerifiedAtOnce(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.from("192.0.2.100")
	callback := visitor.open(visitor.press("06 39 98 00 01").location()).location()
	w.sim.SetCredits(false)
	for i := range 4 {
		w.from("192.0.2.1").press(fmt.Sprintf("06 39 98 10 %02d", i))
	}
	if a := visitor.open(callback); a.location() != "/account/" {
		t.Errorf("%d to %s", a.StatusCode, a.location())
	}
	visitor.passes("/account/")
}

// An operator whose URL cannot be used, whoever asks for him, and one client alone,
// whatever he asks for, do not keep the provider from being called for others.
func TestNeitherAnOperatorNorOneClientHasTheProviderSuspended(t *testing.T) {
	var link string
	w := newWorld(t, simulator.Options{OperatorURL: func(operator, _, _ string) string {
		if link != "" {
			return link
		}
		return operator
	}})
	w.loadWith(fromAnywhere, limited("client 100 10m"))
	for _, link = range []string{"javascript:alert(1)", "https://user@operator.example/", "https:///"} {
		for i := range 7 {
			w.from(fmt.Sprint("192.0.2.", i)).press(fmt.Sprintf("06 39 98 10 %02d", i)).is(t, http.StatusServiceUnavailable, "provider_unavailable")
		}
	}
	link = ""
	w.sim.SetError(simulator.CallStart, "99")
	for i := range 20 {
		w.from("192.0.2.1").press(fmt.Sprintf("06 39 98 10 %02d", i)).is(t, http.StatusServiceUnavailable, "provider_unavailable")
	}
	if n := w.starts(); n != 41 {
		t.Errorf("%d starts", n)
	}
	w.sim.SetError(simulator.CallStart, "")
	w.from("198.51.100.1").arrivesAt("/account/")
	if n := w.logged("the operator's URL"); n != 21 {
		t.Errorf("%d lines in the log", n)
	}
}
