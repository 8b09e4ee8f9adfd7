package provider

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

const (
	// After outageFailures failures in a row, for at least outageNumbers numbers and
	// outageClients clients, the provider is not called for suspendTime. One number,
	// or one stranger who tries many, must not close the gate to all others.
	outageFailures = 10
	outageNumbers  = 3
	outageClients  = 2
	// After misconfiguredFailures refusals in a row because of the configuration,
	// the provider is not called either. No client can cause those.
	misconfiguredFailures = 3
	suspendTime           = 30 * time.Second
	// LastChance is the time before a result's deadline in which one that was never
	// asked for is asked for during an outage too: it has been paid for.
	LastChance = 5 * time.Second
)

var (
	// ErrCrowded says that too many calls are under way. One may end soon.
	ErrCrowded = refusal.New(refusal.Busy, errors.New("too many calls to the provider are under way"))
	// ErrNotCalled stands for the error of a call that was allowed but not made.
	ErrNotCalled = errors.New("the provider was not called")
)

// suspendedError says that calls to the provider are suspended.
type suspendedError struct {
	// until is when the next call is allowed.
	until time.Time
}

// Error implements error.
func (*suspendedError) Error() string { return "calls to the provider are suspended" }

// SuspendedUntil returns when suspended calls may go on; zero where err does not say
// that they are suspended.
func SuspendedUntil(err error) time.Time {
	var suspended *suspendedError
	if errors.As(err, &suspended) {
		return suspended.until
	}
	return time.Time{}
}

// Caller is for whom the provider is called.
type Caller struct{ Number, Client string }

// Breaker suspends calls to a provider that fails, and limits how many calls are
// under way. Each verifier account has one.
type Breaker struct {
	journal               *journal.Journal
	outage, misconfigured *circuit
	calls                 calls

	mu sync.Mutex
	// failedLast is the client whose call was the last to fail.
	failedLast string
	// numbers and clients are those whose calls have failed in a row, up to
	// outageNumbers and outageClients of them.
	numbers, clients map[string]bool
}

// NewBreaker returns a breaker that allows calls.
func NewBreaker(j *journal.Journal) *Breaker {
	b := &Breaker{journal: j, numbers: make(map[string]bool), clients: make(map[string]bool)}
	b.outage = b.newCircuit("outage", isOutage, func(c gobreaker.Counts) bool {
		return c.ConsecutiveFailures >= outageFailures && b.failsForMany()
	})
	b.misconfigured = b.newCircuit("misconfiguration", isMisconfigured, func(c gobreaker.Counts) bool {
		return c.ConsecutiveFailures >= misconfiguredFailures
	})
	return b
}

// circuit stops calls for one cause while it is open.
type circuit struct {
	*gobreaker.TwoStepCircuitBreaker[struct{}]
	// until is when an open circuit allows the next call, in Unix nanoseconds.
	until atomic.Int64
}

// newCircuit returns a circuit that opens when trips says so. It does not count
// failures of another cause.
func (b *Breaker) newCircuit(cause string, isFailure func(error) bool, trips func(gobreaker.Counts) bool) *circuit {
	c := new(circuit)
	c.TwoStepCircuitBreaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: cause, Timeout: suspendTime, ReadyToTrip: trips,
		IsSuccessful: func(err error) bool { return !isFailure(err) },
		IsExcluded: func(err error) bool {
			return isNoCall(err) || (!isFailure(err) && (isOutage(err) || isMisconfigured(err)))
		},
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				c.until.Store(time.Now().Add(suspendTime).UnixNano())
			}
			b.changed(cause, to)
		},
	})
	return c
}

// allow allows a call, or returns a suspendedError.
func (c *circuit) allow() (done func(error), err error) {
	done, err = c.Allow()
	if err != nil {
		return nil, c.suspended()
	}
	return done, nil
}

// isOpen tells whether allow would refuse.
func (c *circuit) isOpen() bool {
	switch c.State() {
	case gobreaker.StateClosed:
		return false
	case gobreaker.StateHalfOpen:
		counts := c.Counts()
		return counts.Requests > counts.TotalExclusions // the one call is under way
	default:
		return true
	}
}

func (c *circuit) suspended() error {
	return &suspendedError{until: time.Unix(0, c.until.Load())}
}

// State returns 0 while calls are made, 1 while one call tries whether the provider works
// again, and 2 while calls are suspended; of two causes, the worse.
func (b *Breaker) State() int { return int(max(b.outage.State(), b.misconfigured.State())) }

// Refuses returns why AllowStart would refuse, so that a start need not be counted
// first. After nil AllowStart may still refuse.
func (b *Breaker) Refuses(by Caller) error {
	for _, c := range []*circuit{b.misconfigured, b.outage} {
		if c.isOpen() {
			return c.suspended()
		}
	}
	if !b.calls.hasRoom(by.Client) {
		return ErrCrowded
	}
	return nil
}

// AllowStart allows the calls of a start, or returns at once why not. The caller must
// call done with their error, or with ErrNotCalled.
func (b *Breaker) AllowStart(by Caller) (done func(error), err error) {
	end, ok := b.calls.takeStart(by.Client)
	if !ok {
		return nil, ErrCrowded
	}
	return b.call(by, end, b.misconfigured, b.outage)
}

// AllowResult does what AllowStart does, for the call for a result. Since a result
// has been paid for, a misconfiguration such as spent credits does not stop it, and
// on its last chance an outage does not either.
func (b *Breaker) AllowResult(by Caller, isLast bool) (done func(error), err error) {
	circuits := []*circuit{b.outage}
	if isLast {
		circuits = nil
	}
	end, ok := b.calls.takeResult()
	if !ok {
		return nil, ErrCrowded
	}
	called, err := b.call(by, end, circuits...)
	if err != nil {
		return nil, err
	}
	return func(err error) {
		called(err)
		if !isMisconfigured(err) {
			return // a result that works does not show that starts work again
		}
		if tell, refused := b.misconfigured.allow(); refused == nil {
			tell(err)
		}
	}, nil
}

// call asks all circuits to allow a call. Only the first call of done counts; it
// calls end, as a refusal does.
func (b *Breaker) call(by Caller, end func(), circuits ...*circuit) (done func(error), err error) {
	told := []func(error){func(err error) {
		end()
		b.note(by, err)
	}}
	var once sync.Once
	done = func(err error) {
		once.Do(func() {
			for _, tell := range told {
				tell(err)
			}
		})
	}
	for _, c := range circuits {
		counts := c != b.outage || !b.failsAlone(by)
		tell, err := c.allow()
		if err != nil {
			done(ErrNotCalled)
			return nil, err
		}
		told = append(told, func(err error) {
			if !counts && isOutage(err) {
				err = ErrNotCalled
			}
			tell(err)
		})
	}
	return done, nil
}

// failsAlone tells whether the call that is allowed after an outage is by the client
// whose call failed last. One client's failures must not keep calls suspended.
func (b *Breaker) failsAlone(by Caller) bool {
	if b.outage.State() == gobreaker.StateClosed {
		return false
	}
	// Only now, since the locked circuit calls failsForMany, which takes the mutex.
	b.mu.Lock()
	defer b.mu.Unlock()
	return by.Client == b.failedLast
}

// note remembers whose calls have failed in a row.
func (b *Breaker) note(by Caller, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case isNoCall(err), isMisconfigured(err):
	case !isOutage(err):
		clear(b.numbers)
		clear(b.clients)
	default:
		b.failedLast = by.Client
		if len(b.numbers) < outageNumbers {
			b.numbers[by.Number] = true
		}
		if len(b.clients) < outageClients {
			b.clients[by.Client] = true
		}
	}
}

// failsForMany tells whether enough numbers and clients fail for an outage.
func (b *Breaker) failsForMany() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.numbers) >= outageNumbers && len(b.clients) >= outageClients
}

func (b *Breaker) changed(cause string, to gobreaker.State) {
	if to == gobreaker.StateOpen {
		b.journal.CallsSuspended(cause, to)
		return
	}
	b.journal.CallsResumed(cause, to)
}

// isOutage tells whether the provider failed: it did not answer, or not sensibly.
// What one number or one operator causes is no outage.
func isOutage(err error) bool {
	if errors.Is(err, ErrLink) {
		return false // the provider has answered: it is that operator's URL
	}
	return err != nil && !isNoCall(err) && refusal.Of(err) == refusal.ProviderUnavailable
}

// isMisconfigured tells whether the configuration must be changed.
func isMisconfigured(err error) bool {
	return err != nil && !isNoCall(err) && refusal.Of(err) == refusal.ProviderMisconfigured
}
