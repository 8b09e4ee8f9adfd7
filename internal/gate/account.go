package gate

import (
	"context"
	"errors"
	"strings"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/internal/quota"
)

// Account is what all gates of a verifier account share.
type Account struct {
	name    string
	breaker *provider.Breaker
	windows quota.Windows
	ledgers map[string]*ledger.Ledger // by store and secrets
}

// NewAccount returns an account without gates.
func NewAccount(name string, log *zap.Logger) *Account {
	return &Account{name: name, breaker: provider.NewBreaker(journal.New(log)), ledgers: make(map[string]*ledger.Ledger)}
}

// BreakerState returns 0 while the provider is called, 1 while one call tries whether it
// works again, and 2 while calls are suspended.
func (a *Account) BreakerState() int { return a.breaker.State() }

// ledger returns the records of the account in a store. Gates that name the same store
// share them.
func (a *Account) ledger(cfg Config, j *journal.Journal) (*ledger.Ledger, error) {
	key := strings.Join(append([]string{cfg.Store}, cfg.Secrets...), "\x00")
	if l, ok := a.ledgers[key]; ok {
		return l, nil
	}
	l, err := ledger.New(ledger.Config{Account: a.name, Secrets: cfg.Secrets, Cache: cfg.Cache,
		Panicked: j.CachePanicked, Failed: j.CacheFailed, OtherSecret: j.OtherSecret, NotErased: j.NotErased})
	if err != nil {
		return nil, err
	}
	a.ledgers[key] = l
	return l, nil
}

// Refresh reads what the nodes of the account share.
func (a *Account) Refresh(ctx context.Context) error {
	var errs []error
	for _, l := range a.ledgers {
		errs = append(errs, l.Refresh(ctx))
	}
	return errors.Join(errs...)
}

// Watch keeps what the nodes of the account share up to date until ctx ends. It returns
// at once; before that it reads what there is now, if the cache answers.
func (a *Account) Watch(ctx context.Context) {
	_ = a.Refresh(ctx) // a request tries again
	for _, l := range a.ledgers {
		go l.Watch(ctx)
	}
}
