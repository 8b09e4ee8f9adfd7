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
	// A provider that failed outageFailures times in a row, for outageNumbers
	// numbers and outageClients clients at least, is not called for suspendTime.
	// One number, or one stranger who tries many, must not close the gate to all
	// others.
	outageFailures = 10
	outageNumbers  = 3
	outageClients  = 2
	// One that refused for a mistake of the site's operator so many times in a
	// row is not called for as long: no client causes that.
	mistakeFailures = 3
	suspendTime     = 30 * time.Second
	// LastChance is how long before its deadline a result that nobody has asked
	// for yet is asked for even so: it has been paid for.
	LastChance = 5 * time.Second
)

var (
	// ErrCrowded says that too many calls are under way; one may end soon.
	ErrCrowded = refusal.New(refusal.Busy, errors.New("too many calls to the provider are under way"))
	// ErrNotCalled is the outcome of a call that was not made.
	ErrNotCalled = errors.New("the provider was not called")
)

// suspendedError says that the provider is not called now.
type suspendedError struct {
	// until is when one call is let through.
	until time.Time
}

// Error implements error.
func (*suspendedError) Error() string { return "calls to the provider are suspended" }

// SuspendedUntil is when calls that err says to be suspended may go on; zero where
// it does not say that.
func SuspendedUntil(err error) time.Time {
	var suspended *suspendedError
	if errors.As(err, &suspended) {
		return suspended.until
	}
	return time.Time{}
}

// Caller is for whom the provider is called, as far as its failures are concerned.
type Caller struct{ Number, Client string }

// Breaker keeps a provider that fails from being called, and bounds how many calls
// are under way. One stands before each verifier account.
type Breaker struct {
	journal         *journal.Journal
	outage, mistake *circuit
	calls           calls

	mu sync.Mutex
	// failedLast is the client whose call was the last to fail.
	failedLast string
	// numbers and clients are some of those whose calls have failed in a row: as
	// many as it takes.
	numbers, clients map[string]bool
}

// NewBreaker returns one that lets calls through.
func NewBreaker(j *journal.Journal) *Breaker {
	b := &Breaker{journal: j, numbers: make(map[string]bool), clients: make(map[string]bool)}
	b.outage = b.newCircuit("outage", isOutage, func(c gobreaker.Counts) bool {
		return c.ConsecutiveFailures >= outageFailures && b.failsForMany()
	})
	b.mistake = b.newCircuit("misconfiguration", isMistake, func(c gobreaker.Counts) bool {
		return c.ConsecutiveFailures >= mistakeFailures
	})
	return b
}

// circuit is open, which stops calls, for one cause.
type circuit struct {
	*gobreaker.TwoStepCircuitBreaker[struct{}]
	// until is when one that is open lets a call through, in Unix nanoseconds.
	until atomic.Int64
}

// newCircuit returns one that opens when trips says so. Failures of another cause
// say nothing about its own.
func (b *Breaker) newCircuit(cause string, isFailure func(error) bool, trips func(gobreaker.Counts) bool) *circuit {
	c := new(circuit)
	c.TwoStepCircuitBreaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: cause, Timeout: suspendTime, ReadyToTrip: trips,
		IsSuccessful: func(err error) bool { return !isFailure(err) },
		IsExcluded: func(err error) bool {
			return isNoCall(err) || (!isFailure(err) && (isOutage(err) || isMistake(err)))
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

// allow lets a call through, or says until when none is.
func (c *circuit) allow() (done func(error), err error) {
	done, err = c.Allow()
	if err != nil {
		return nil, c.suspended()
	}
	return done, nil
}

// isOpen tells whether allow would let nothing through.
func (c *circuit) isOpen() bool {
	switch c.State() {
	case gobreaker.StateClosed:
		return false
	case gobreaker.StateHalfOpen:
		counts := c.Counts()
		return counts.Requests > counts.TotalExclusions // one is being let through
	default:
		return true
	}
}

func (c *circuit) suspended() error {
	return &suspendedError{until: time.Unix(0, c.until.Load())}
}

// Refuses returns why AllowStart would let no call through; nil promises nothing. It
// serves to ask before a start is counted.
func (b *Breaker) Refuses(by Caller) error {
	for _, c := range []*circuit{b.mistake, b.outage} {
		if c.isOpen() {
			return c.suspended()
		}
	}
	if !b.calls.hasRoom(by.Client) {
		return ErrCrowded
	}
	return nil
}

// AllowStart lets the calls of a start through, or returns at once why not. Done is to
// be called with their error, or with ErrNotCalled.
func (b *Breaker) AllowStart(by Caller) (done func(error), err error) {
	end, ok := b.calls.start(by.Client)
	if !ok {
		return nil, ErrCrowded
	}
	return b.call(by, end, b.mistake, b.outage)
}

// AllowResult is AllowStart for the call for a result, which has been paid for: a mistake
// that stops starts, like credits that have run out, does not stop it, and where
// it is the last chance nor does an outage.
func (b *Breaker) AllowResult(by Caller, isLast bool) (done func(error), err error) {
	circuits := []*circuit{b.outage}
	if isLast {
		circuits = nil
	}
	end, ok := b.calls.result()
	if !ok {
		return nil, ErrCrowded
	}
	called, err := b.call(by, end, circuits...)
	if err != nil {
		return nil, err
	}
	return func(err error) {
		called(err)
		if !isMistake(err) {
			return // that results are given does not show that starts would be
		}
		if tell, refused := b.mistake.allow(); refused == nil {
			tell(err)
		}
	}, nil
}

// call asks the circuits whether to make a call. Only the first error that done is
// told counts; with it, or where the call is refused, end is called.
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

// failsAlone tells whether a failure of the call that is let through after an
// outage would be the client's second in a row: what one client causes must not
// keep the provider from being called.
func (b *Breaker) failsAlone(by Caller) bool {
	if b.outage.State() == gobreaker.StateClosed {
		return false
	}
	// not before: the circuit, while it is locked, asks who fails
	b.mu.Lock()
	defer b.mu.Unlock()
	return by.Client == b.failedLast
}

// note remembers whose calls have failed in a row.
func (b *Breaker) note(by Caller, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case isNoCall(err), isMistake(err):
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

// failsForMany tells whether it is not one number or one client that fails.
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

// isOutage tells whether the provider failed: no answer, or nonsense. What one
// number or one operator causes is none.
func isOutage(err error) bool {
	if errors.Is(err, ErrLink) {
		return false // the provider has answered: it is that operator's URL
	}
	return err != nil && !isNoCall(err) && refusal.Of(err) == refusal.ProviderUnavailable
}

// isMistake tells whether the site's operator has to mend something.
func isMistake(err error) bool {
	return err != nil && !isNoCall(err) && refusal.Of(err) == refusal.ProviderMisconfigured
}
