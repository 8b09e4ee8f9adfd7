package gate

import (
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	// A provider that failed outageFailures times in a row, for outageNumbers
	// numbers at least, is not called for outageTime. One number alone must not
	// close the gate to all others.
	outageFailures = 10
	outageNumbers  = 3
	outageTime     = 30 * time.Second
	// One that refused for a mistake of the site's operator so many times in a
	// row is not called for longer: somebody has to mend something first. A
	// reload ends it.
	mistakeFailures = 3
	mistakeTime     = 5 * time.Minute
	// maxCalls is how many calls may be under way: a slow provider must not
	// take up what Caddy needs for everything else. Fewer than the connections
	// that a verifier opens, or calls would run out of time in their queue.
	maxCalls = 100
)

var (
	errSuspended = errors.New("calls to the provider are suspended")
	errCrowded   = errors.New("too many calls to the provider are under way")
	// errNotCalled is the outcome of a call that was not made.
	errNotCalled = errors.New("the provider was not called")
)

// Breaker keeps a provider that fails from being called, and bounds how many calls
// are under way. One stands before each verifier account.
type Breaker struct {
	log             *zap.Logger
	outage, mistake *gobreaker.TwoStepCircuitBreaker[struct{}]
	calls           chan struct{}

	mu sync.Mutex
	// failing are the numbers whose calls have failed in a row.
	failing map[string]bool
}

// NewBreaker returns one that lets calls through.
func NewBreaker(log *zap.Logger) *Breaker {
	b := &Breaker{log: log, calls: make(chan struct{}, maxCalls), failing: make(map[string]bool)}
	b.outage = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: "outage", Timeout: outageTime, OnStateChange: b.changed,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.ConsecutiveFailures >= outageFailures && b.numbers() >= outageNumbers
		},
		IsSuccessful: func(err error) bool { return !isOutage(err) },
		IsExcluded:   func(err error) bool { return isNoCall(err) || isMistake(err) },
	})
	b.mistake = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: "misconfiguration", Timeout: mistakeTime, OnStateChange: b.changed,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= mistakeFailures },
		IsSuccessful: func(err error) bool { return !isMistake(err) },
		IsExcluded:   func(err error) bool { return isNoCall(err) || isOutage(err) },
	})
	return b
}

// Allow lets a call for a number through, or returns at once why not. The caller
// calls done with the call's error, or with errNotCalled.
func (b *Breaker) Allow(number string) (done func(error), err error) {
	select {
	case b.calls <- struct{}{}:
	default:
		return nil, errCrowded
	}
	mistakeDone, err := b.mistake.Allow()
	if err != nil {
		<-b.calls
		return nil, errSuspended
	}
	outageDone, err := b.outage.Allow()
	if err != nil {
		mistakeDone(errNotCalled)
		<-b.calls
		return nil, errSuspended
	}
	return func(err error) {
		<-b.calls
		b.note(number, err)
		mistakeDone(err)
		outageDone(err)
	}, nil
}

// note remembers whose calls have failed in a row.
func (b *Breaker) note(number string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case isNoCall(err), isMistake(err):
	case !isOutage(err):
		clear(b.failing)
	case len(b.failing) < outageNumbers:
		b.failing[number] = true
	}
}

func (b *Breaker) numbers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.failing)
}

func (b *Breaker) changed(name string, from, to gobreaker.State) {
	fields := []zap.Field{zap.String("cause", name), zap.Stringer("state", to)}
	if to == gobreaker.StateOpen {
		b.log.Error("calls to the provider suspended", fields...)
		return
	}
	b.log.Warn("calls to the provider resumed", fields...)
}

// isOutage tells whether the provider failed: no answer, or nonsense. What one
// number or one operator causes is none.
func isOutage(err error) bool {
	return err != nil && !isNoCall(err) && codeOf(err) == ProviderUnavailable
}

// isMistake tells whether the site's operator has to mend something.
func isMistake(err error) bool {
	return err != nil && !isNoCall(err) && codeOf(err) == ProviderMisconfigured
}

// isNoCall tells whether the provider was not asked at all.
func isNoCall(err error) bool {
	return errors.Is(err, errNotCalled) || errors.Is(err, errCache) || errors.Is(err, cache.ErrFull) || errors.Is(err, verifier.ErrClaimed)
}
