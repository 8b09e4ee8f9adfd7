package attempt

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/internal/tracing"
)

// ComeBack answers a callback; query is the raw query of its address. The nonce counts
// once, in time, and from the browser that started the attempt. From any other
// browser it burns the attempt: somebody may have sent a visitor the operator link
// of an attempt of their own.
func (d *Desk) ComeBack(ctx context.Context, v *Visitor, query string) (next Step) {
	ctx, span := tracing.Step(ctx, "callback")
	defer func() { endSpan(ctx, span, next) }()
	rest, nonce, ok := d.Provider.ReadCallback(query)
	if !ok {
		return Problem{Code: refusal.AttemptUnknown}
	}
	id := ledger.AttemptID(nonce)
	ctx = journal.WithAttempt(ctx, id)
	for {
		step, err := d.arrive(context.WithoutCancel(ctx), v, id, rest) // whoever burns an attempt may hang up
		switch {
		case errors.Is(err, ledger.ErrConflict): // another callback was faster
		case err != nil:
			return Problem{d.Journal.Failed(ctx, "callback", err), id}
		case step != nil:
			return step
		default:
			return d.proceed(ctx, v, id, time.Now().Add(SettleTime))
		}
	}
}

// arrive applies a callback to its attempt. If it returns neither a step nor an error,
// the attempt goes on to its result.
func (d *Desk) arrive(ctx context.Context, v *Visitor, id string, query url.Values) (Step, error) {
	entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.AttemptKey(v.Realm, id))
	if errors.Is(err, ledger.ErrNotFound) || (err == nil && entry.Value.Account != d.Account) {
		return Problem{refusal.AttemptUnknown, id}, nil
	}
	if err != nil {
		return nil, err
	}
	switch a := entry.Value; {
	case isOver(a):
		return d.afterEnd(ctx, v, id, a), nil
	case isLate(a):
		return Problem{refusal.AttemptExpired, id}, d.expire(ctx, v, entry)
	case !v.owns(a):
		return Problem{refusal.BrowserMismatch, id}, d.burn(ctx, entry, "another browser came back")
	case a.Phase != ledger.PhaseStarted:
		return Pending{id, a.Return}, nil
	default:
		return d.accept(ctx, v, entry, query)
	}
}

// accept lets one of all callbacks with the nonce take the attempt to its result. An
// error of the verifier ends the attempt with its code; a callback that is not the
// provider's burns it.
func (d *Desk) accept(ctx context.Context, v *Visitor, entry ledger.Entry[ledger.Attempt], query url.Values) (Step, error) {
	a := *entry.Value
	state, err := d.Provider.Callback(a.State, query)
	if errors.Is(err, provider.ErrForeign) {
		return Problem{refusal.BrowserMismatch, entry.Key.Secret}, d.burn(ctx, entry, err.Error())
	}
	if err != nil {
		return Ended{Return: a.Return}, d.finish(ctx, v, entry, d.Journal.Failed(ctx, "callback", err))
	}
	now := time.Now()
	a.Phase, a.State, a.ReturnedAt, a.AskAt = ledger.PhaseReturned, state, now, now
	_, err = ledger.Swap(ctx, d.Ledger, entry, &a, d.Ledger.AttemptLife(&a))
	return nil, err
}

// burn ends an attempt whose callback came from elsewhere.
func (d *Desk) burn(ctx context.Context, entry ledger.Entry[ledger.Attempt], why string) error {
	ended, err := d.end(ctx, entry, string(refusal.BrowserMismatch))
	if err == nil {
		d.Journal.AttemptBurned(ctx, ended, why)
	}
	return err
}

// expire ends an attempt of the visitor's browser whose callback came too late.
// Another browser's is left as it is: it is over in any case.
func (d *Desk) expire(ctx context.Context, v *Visitor, entry ledger.Entry[ledger.Attempt]) error {
	if !v.owns(entry.Value) {
		return nil
	}
	return d.finish(ctx, v, entry, refusal.AttemptExpired)
}
