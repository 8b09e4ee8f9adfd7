package attempt

import (
	"context"
	"errors"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/internal/quota"
)

// admission is a start that neither a limit nor the breaker refuses.
type admission struct {
	*quota.Counted
	// pressed is when the button was pressed.
	pressed time.Time
	// called tells the breaker the error of the provider's calls, or
	// provider.ErrNotCalled. It must be called; only the first time counts.
	called func(error)
}

// roomWait is how long a start waits while too many calls are under way, so that a
// burst passes as far as the limits allow.
const roomWait = 2 * time.Second

// admit admits a start and counts it against all limits in one step, or returns the
// refused press. A refused start has stored nothing.
func (d *Desk) admit(ctx context.Context, o *Order) (*admission, *ledger.Press) {
	pressed := time.Now()
	by := provider.Caller{Number: o.Number.E164, Client: d.clientName(o)}
	waiting, cancel := context.WithTimeout(ctx, roomWait)
	defer cancel()
	// First, so that a start that is not called does not even make counters.
	if err := whenRoom(waiting, func() error { return d.Provider.Refuses(by) }); err != nil {
		return nil, d.notCalled(ctx, err)
	}
	counted, reached := d.Quota.Count(ctx, quota.Start{Number: o.Number.E164, Browser: o.Visitor.Browser, Client: o.Client})
	if reached != nil {
		return nil, refusedPress(ctx, reached.Code, reached.RetryAt)
	}
	admitted := &admission{Counted: counted, pressed: pressed}
	// Only now, so that a start that a limit refuses does not take up a call.
	err := whenRoom(waiting, func() (err error) {
		admitted.called, err = d.Provider.AllowStart(by)
		return err
	})
	if err != nil {
		d.Quota.Uncount(ctx, counted.All)
		return nil, d.notCalled(ctx, err)
	}
	return admitted, nil
}

// whenRoom calls ask, again and again until ctx ends while too many calls are under
// way.
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

// notCalled returns the press of a start for which the provider may not be called.
func (d *Desk) notCalled(ctx context.Context, err error) *ledger.Press {
	return refusedPress(ctx, d.Journal.StartNotCalled(ctx, err), provider.SuspendedUntil(err))
}

// clientName names the network of a start for the breaker and in the attempt.
func (d *Desk) clientName(o *Order) string { return d.Ledger.ClientName(o.Client.Customer()) }
