package provider

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/verifier"
)

var (
	outage        = &verifier.Error{Call: "start", Err: context.DeadlineExceeded}
	misconfigured = &verifier.Error{Class: verifier.Misconfigured, Call: "token", ID: "98"}
)

// callerOf returns one of many callers, who share two clients.
func callerOf(i int) Caller {
	return Caller{fmt.Sprintf("+336399810%02d", i), fmt.Sprint("client ", i%2)}
}

// called makes n calls that end with err, for so many numbers in turn.
func called(t *testing.T, b *Breaker, n, numbers int, err error) {
	t.Helper()
	for i := range n {
		done, refused := b.AllowStart(callerOf(i % numbers))
		if refused != nil {
			t.Fatalf("call %d: %v", i, refused)
		}
		done(err)
	}
}

func isOpen(b *Breaker) bool {
	done, err := b.AllowStart(callerOf(99))
	if err == nil {
		done(ErrNotCalled)
	}
	return !SuspendedUntil(err).IsZero()
}

func TestBreakerOpensOnWhatTheProviderCauses(t *testing.T) {
	other := func(class verifier.Class) error { return &verifier.Error{Class: class, Call: "result"} }
	tests := map[string]struct {
		calls func(*testing.T, *Breaker)
		open  bool
	}{
		"ten failures of three numbers":     {func(t *testing.T, b *Breaker) { called(t, b, 10, 3, outage) }, true},
		"nine failures":                     {func(t *testing.T, b *Breaker) { called(t, b, 9, 3, outage) }, false},
		"a hundred failures of two numbers": {func(t *testing.T, b *Breaker) { called(t, b, 100, 2, outage) }, false},
		"failures with a success among them": {func(t *testing.T, b *Breaker) {
			called(t, b, 9, 3, outage)
			called(t, b, 1, 1, nil)
			called(t, b, 9, 3, outage)
		}, false},
		"a hundred failures of one client with a hundred numbers": {func(t *testing.T, b *Breaker) {
			for i := range 100 {
				done, err := b.AllowStart(Caller{fmt.Sprint("+3363998", i), "client"})
				if err != nil {
					t.Fatal(err)
				}
				done(outage)
			}
		}, false},
		"a hundred operators' URLs that cannot be used": {func(t *testing.T, b *Breaker) {
			called(t, b, 100, 20, &verifier.Error{Call: "start", Err: ErrLink})
		}, false},
		"nonsense":                              {func(t *testing.T, b *Breaker) { called(t, b, 10, 3, errors.New("not JSON")) }, true},
		"three misconfigurations of one number": {func(t *testing.T, b *Breaker) { called(t, b, 3, 1, misconfigured) }, true},
		"two misconfigurations":                 {func(t *testing.T, b *Breaker) { called(t, b, 2, 1, misconfigured) }, false},
		"what numbers and operators cause": {func(t *testing.T, b *Breaker) {
			for class := verifier.OperatorUnavailable; class <= verifier.Expired; class++ {
				if class != verifier.Misconfigured {
					called(t, b, 30, 10, other(class))
				}
			}
		}, false},
		"what never reached the provider": {func(t *testing.T, b *Breaker) {
			called(t, b, 30, 10, ErrNotCalled)
			called(t, b, 30, 10, refusal.New(refusal.CacheUnavailable, errors.New("cache is down")))
			called(t, b, 30, 10, refusal.New(refusal.Busy, cache.ErrFull))
			called(t, b, 30, 10, &verifier.Error{Class: verifier.Misconfigured, Call: "token", Err: errUsed})
		}, false},
		"failures with calls among them that were not made": {func(t *testing.T, b *Breaker) {
			for range 3 {
				called(t, b, 3, 3, outage)
				called(t, b, 1, 1, ErrNotCalled)
			}
			called(t, b, 1, 1, outage)
		}, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := NewBreaker(journal.New(zap.NewNop()))
			test.calls(t, b)
			if isOpen(b) != test.open {
				t.Errorf("open: %v", !test.open)
			}
		})
	}
}

func TestBreakerLetsOneThroughAndThenAll(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		n     int
		lasts time.Duration
	}{"an outage": {outage, 10, 30 * time.Second}, "a misconfiguration": {misconfigured, 3, 30 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.DebugLevel)
				b := NewBreaker(journal.New(zap.New(core)))
				called(t, b, test.n, 3, test.err)
				advance(test.lasts)
				if !isOpen(b) {
					t.Error("it ends too early")
				}
				if _, err := b.AllowStart(callerOf(1)); !SuspendedUntil(err).Equal(time.Now()) {
					t.Errorf("it says to end at %v, not %v", SuspendedUntil(err), time.Now())
				}
				advance(time.Millisecond)
				probe, err := b.AllowStart(callerOf(1))
				if err != nil {
					t.Fatalf("nobody gets through: %v", err)
				}
				if !isOpen(b) {
					t.Error("a second one gets through")
				}
				probe(test.err)
				if !isOpen(b) {
					t.Error("it is closed by a failure")
				}
				advance(test.lasts + time.Millisecond)
				called(t, b, 1, 1, nil)
				called(t, b, 20, 5, nil)
				suspended, resumed := logs.FilterMessage("calls to the provider suspended").Len(), logs.FilterMessage("calls to the provider resumed").Len()
				if suspended != 2 || resumed != 3 {
					t.Errorf("%d times suspended, %d resumed in the log", suspended, resumed)
				}
			})
		})
	}
}

func advance(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

func TestSlowProviderIsCalledSoManyTimesAtOnce(t *testing.T) {
	b := NewBreaker(journal.New(zap.NewNop()))
	crowd := func(call func(i int) (func(error), error), room int) (under []func(error)) {
		t.Helper()
		for i := range room {
			done, err := call(i)
			if err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
			under = append(under, done)
		}
		if _, err := call(room); !errors.Is(err, ErrCrowded) || refusal.Of(err) != refusal.Busy {
			t.Errorf("one more: %v", err)
		}
		return under
	}
	starts := crowd(func(i int) (func(error), error) { return b.AllowStart(Caller{fmt.Sprint(i), fmt.Sprint(i)}) }, mostCalls)
	results := crowd(func(i int) (func(error), error) { return b.AllowResult(callerOf(i), false) }, maxCalls-mostCalls)
	for range 2 { // only the first counts
		results[0](nil)
		starts[0](nil)
	}
	crowd(func(int) (func(error), error) { return b.AllowStart(callerOf(1)) }, 1)
	crowd(func(i int) (func(error), error) { return b.AllowResult(callerOf(i), false) }, 1)
}

func TestSlowResultsOfACrowdLeaveCallsForStarts(t *testing.T) {
	b := NewBreaker(journal.New(zap.NewNop()))
	for i := range maxCalls {
		if _, err := b.AllowResult(callerOf(i), false); (err == nil) != (i < mostCalls) {
			t.Fatalf("result %d: %v", i, err)
		}
	}
	if _, err := b.AllowStart(callerOf(1)); err != nil {
		t.Errorf("a start beside them: %v", err)
	}
}

func TestResultThatWasPaidForIsAskedForWhateverStopsStarts(t *testing.T) {
	for name, test := range map[string]struct {
		err          error
		n            int
		isLast, asks bool
	}{
		"a misconfiguration":           {misconfigured, 3, false, true},
		"an outage":                    {outage, 10, false, false},
		"an outage at the last chance": {outage, 10, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBreaker(journal.New(zap.NewNop()))
			called(t, b, test.n, 3, test.err)
			if !isOpen(b) {
				t.Fatal("starts go on")
			}
			done, err := b.AllowResult(callerOf(1), test.isLast)
			if (err == nil) != test.asks {
				t.Fatalf("asked: %v", err)
			}
			if err == nil {
				done(nil)
			}
			if !isOpen(b) {
				t.Error("a result has starts go on")
			}
		})
	}
}

func TestMistakesInAnswersForResultsStopStarts(t *testing.T) {
	b := NewBreaker(journal.New(zap.NewNop()))
	for i := range misconfiguredFailures {
		done, err := b.AllowResult(callerOf(i), false)
		if err != nil {
			t.Fatal(err)
		}
		done(misconfigured)
	}
	if !isOpen(b) {
		t.Error("starts go on")
	}
}

func TestStateIsThatOfTheWorseCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBreaker(journal.New(zap.NewNop()))
		is := func(want int) {
			t.Helper()
			if got := b.State(); got != want {
				t.Errorf("the state is %d, want %d", got, want)
			}
		}
		is(0)
		called(t, b, misconfiguredFailures, 3, misconfigured)
		is(2)
		time.Sleep(suspendTime + 1)
		is(1)
		called(t, b, 1, 1, nil)
		is(0)
		called(t, b, outageFailures, 3, outage)
		is(2)
	})
}

// One client whose calls fail beside others' must not block all calls for ever. The
// circuit, while locked, takes the breaker's mutex, so nobody may ask the circuit for
// its state while holding that mutex.
func TestOneClientWhoseCallsFailAtOnceHangsNobody(t *testing.T) {
	b := NewBreaker(journal.New(zap.NewNop()))
	over := make(chan struct{})
	go func() {
		defer close(over)
		var calling sync.WaitGroup
		for i := range 8 {
			calling.Go(func() {
				for n := range 20000 {
					done, err := b.AllowStart(Caller{fmt.Sprint("+3363998", i, n), "client"})
					if err == nil {
						done(outage)
					}
				}
			})
		}
		calling.Wait()
	}()
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		t.Fatal("the breaker hangs: no start and no result ever passes again")
	}
}
