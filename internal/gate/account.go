package gate

import (
	"slices"
	"time"

	"go.uber.org/zap"
)

// Account is what all gates of a verifier account share: its breaker, and the
// windows in which its starts are counted. Each start counts in the windows of
// all gates, so that none has a budget beside that of another.
type Account struct {
	breaker *Breaker
	// number, client and global are the windows of the limits of that name.
	number, client, global []time.Duration
	// budgets are the global limits.
	budgets []Rate
	// flight is how long an attempt may be under way.
	flight time.Duration
}

// NewAccount returns one without gates, whose provider may be called.
func NewAccount(log *zap.Logger) *Account { return &Account{breaker: NewBreaker(log)} }

// add has starts counted as a gate wants them to be. It must come before the
// account's gates serve.
func (a *Account) add(l *Limits, flight time.Duration) {
	a.number = with(a.number, l.NumberWindow)
	for _, rate := range l.Client {
		a.client = with(a.client, rate.Window)
	}
	if l.Global.Max > 0 {
		a.global = with(a.global, l.Global.Window)
		a.budgets = with(a.budgets, l.Global)
	}
	a.flight = max(a.flight, flight)
}

func with[T comparable](all []T, one T) []T {
	if slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}
