package numberverify_test

import (
	"fmt"
	"net/http"
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
		visitor.press(fmt.Sprintf("06 39 98 10 %02d", i)).is(t, http.StatusServiceUnavailable, code)
	}
	if calls := w.sim.Calls(); calls.Token != 3 {
		t.Errorf("%+v", calls)
	}
}

// Who comes back while the provider is not called has been paid for: he waits for
// it as long as result_wait, and no longer.
func TestVisitorWhoComesBackWhileCallsAreSuspendedIsNotGivenUpAtOnce(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadWith(fromAnywhere, account)
	visitor := w.from("192.0.2.100")
	callback := visitor.open(visitor.press("06 39 98 00 01").location()).location()
	failStarts(t, w)
	a := visitor.follow(visitor.open(callback))
	if a.StatusCode != http.StatusOK || refresh.FindString(a.body) == "" {
		t.Fatalf("the visitor is at %s: %d %q", a.Request.URL.Path, a.StatusCode, a.code())
	}
	began := time.Now()
	a = visitor.arrive(a)
	if a.code() != "provider_unavailable" {
		t.Errorf("the visitor ends at %s: %d %q", a.Request.URL, a.StatusCode, a.code())
	}
	if took := time.Since(began); took < time.Second || took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if calls := w.sim.Calls(); calls.Result != 0 {
		t.Errorf("%d calls for a result", calls.Result)
	}
	visitor.refused("/account/")
}
