package attempt

import (
	"context"
	"errors"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/internal/quota"
)

// admission is a start that no limit refuses, and the breaker lets through.
type admission struct {
	*quota.Counted
	// called is to be told of the provider's calls; only the first time counts.
	called func(error)
}

// roomWait is how long a start waits for others' calls to end where too many are
// under way: a burst is to pass as its limits say.
const roomWait = 2 * time.Second

// admit lets a start through, counted against all limits in one step, or returns
// the press that is refused. What is refused has stored nothing.
func (d *Desk) admit(ctx context.Context, o *order) (*admission, *ledger.Press) {
	by := provider.Caller{Number: o.Number.E164, Client: d.clientName(o)}
	waiting, cancel := context.WithTimeout(ctx, roomWait)
	defer cancel()
	// first of all: not even counters may be made by what is not called
	if err := whenRoom(waiting, func() error { return d.Provider.Refuses(by) }); err != nil {
		return nil, d.notCalled(err)
	}
	counted, reached := d.Quota.Count(ctx, quota.Start{Number: o.Number.E164, Browser: o.visitor.Browser, Client: o.Client})
	if reached != nil {
		return nil, &ledger.Press{Code: string(reached.Code), RetryAt: reached.RetryAt}
	}
	admitted := &admission{Counted: counted}
	// only now: what a limit refuses must not take up calls
	err := whenRoom(waiting, func() (err error) {
		admitted.called, err = d.Provider.AllowStart(by)
		return err
	})
	if err != nil {
		d.Quota.Uncount(ctx, counted.All)
		return nil, d.notCalled(err)
	}
	return admitted, nil
}

// whenRoom asks again, until ctx ends, while too many calls are under way.
func whenRoom(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if !errors.Is(err, provider.ErrCrowded) || !pause(ctx, pressPoll) {
			return err
		}
	}
}

// withdraw undoes an admission whose provider was not called.
func (d *Desk) withdraw(ctx context.Context, a *admission) {
	a.called(provider.ErrNotCalled)
	d.Quota.Uncount(ctx, a.All)
}

// notCalled is the press of a start for which the provider may not be called.
func (d *Desk) notCalled(err error) *ledger.Press {
	return &ledger.Press{Code: string(d.Journal.NotCalled("start", err)), RetryAt: provider.SuspendedUntil(err)}
}

// clientName names where a start comes from to the breaker, and in the attempt.
func (d *Desk) clientName(o *order) string { return d.Ledger.ClientName(o.Client.Customer()) }
