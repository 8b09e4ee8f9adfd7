package attempt

import (
	"context"
	"errors"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/internal/tracing"
	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	// SettleTime is how long a request waits for the result before the visitor sees
	// the wait page, and how long that page waits before it looks again.
	SettleTime = 2 * time.Second
	// maxFailed is how many calls without a usable answer end the attempt.
	maxFailed = 3
)

// pauses are the pauses between calls for a result. The last one repeats.
var pauses = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}

// pauseAfter returns the pause after so many calls.
func pauseAfter(asked int) time.Duration {
	return pauses[min(asked, len(pauses))-1]
}

// Wait takes an attempt that has come back as far as it gets now.
func (d *Desk) Wait(ctx context.Context, v *Visitor, id string) (step Step) {
	ctx, span := tracing.Step(ctx, "wait")
	defer func() { endSpan(ctx, span, step) }()
	ctx = journal.WithAttempt(ctx, id)
	step = d.Look(ctx, v, id)
	if _, ok := step.(Pending); !ok {
		return step
	}
	return d.proceed(ctx, v, id, time.Now())
}

// Look does what Wait does, without effect: it returns Pending for every attempt of
// the visitor that has come back.
func (d *Desk) Look(ctx context.Context, v *Visitor, id string) Step {
	ctx = journal.WithAttempt(ctx, id)
	entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.AttemptKey(v.Realm, id))
	switch a := entry.Value; {
	case errors.Is(err, ledger.ErrNotFound):
		return Problem{refusal.AttemptUnknown, id}
	case err != nil:
		return Problem{d.Journal.Failed(ctx, "wait", err), id}
	case a.Phase == ledger.PhaseStarted || a.Account != d.Account:
		return Problem{refusal.AttemptUnknown, id}
	case !v.owns(a):
		return Problem{refusal.BrowserMismatch, id}
	default:
		return Pending{id, a.Return}
	}
}

// proceed takes an accepted attempt as far as it gets now. It asks for the result if
// that is due before until.
func (d *Desk) proceed(ctx context.Context, v *Visitor, id string, until time.Time) Step {
	key := d.Ledger.AttemptKey(v.Realm, id)
	for {
		entry, err := d.settle(ctx, v, key, until)
		if errors.Is(err, ledger.ErrNotFound) {
			return Problem{refusal.AttemptUnknown, id}
		}
		if err != nil {
			return Problem{d.Journal.Failed(ctx, "result", err), id}
		}
		a := entry.Value
		switch a.Phase {
		case ledger.PhaseReturned:
			return Pending{id, a.Return}
		case ledger.PhaseProven:
			if ctx.Err() != nil {
				return Gone{} // the next request makes the session
			}
			issued, err := d.issue(ctx, v, entry)
			if errors.Is(err, ledger.ErrConflict) {
				continue
			}
			if err != nil {
				return Problem{d.Journal.Failed(ctx, "session", err), id}
			}
			return Verified{a.Return, issued}
		default:
			return d.afterEnd(ctx, v, id, a)
		}
	}
}

// settle asks for the result as often as that is due before until, and returns the
// attempt as it is then. It waits for SettleTime at most: an answer that comes later is
// found by the next request.
func (d *Desk) settle(ctx context.Context, v *Visitor, key ledger.Key[ledger.Attempt], until time.Time) (ledger.Entry[ledger.Attempt], error) {
	patience := time.Now().Add(SettleTime)
	for {
		entry, err := ledger.Get(ctx, d.Ledger, key)
		if err != nil || entry.Value.Phase != ledger.PhaseReturned {
			return entry, err
		}
		a, now := entry.Value, time.Now()
		if a.Asked > 0 && !now.Before(a.AskAt) && !now.Before(d.resultDeadline(a)) {
			err := d.finish(ctx, v, entry, refusal.ResultTimeout)
			if err != nil && !errors.Is(err, ledger.ErrConflict) {
				return entry, err
			}
			continue
		}
		if a.AskAt.After(until) && a.AskAt.After(now) {
			return entry, nil
		}
		if !pause(ctx, a.AskAt.Sub(now)) {
			return entry, nil // the visitor has gone
		}
		done, err := d.ask(ctx, v, entry)
		if errors.Is(err, ledger.ErrConflict) {
			continue
		}
		if err != nil {
			return entry, err
		}
		if !waitFor(ctx, done, time.Until(patience)) {
			return entry, nil
		}
	}
}

// waitFor waits for done. It returns false if ctx or the time ends first.
func waitFor(ctx context.Context, done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// resultDeadline returns when asking for the result ends. After it the provider is
// still asked if it never was, and a call under way still counts.
func (d *Desk) resultDeadline(a *ledger.Attempt) time.Time {
	deadline := a.ReturnedAt.Add(d.ResultWait)
	if a.AskUntil.Before(deadline) {
		return a.AskUntil
	}
	return deadline
}

// ask makes one call for the result, unless another request makes it: then the error
// is ErrConflict. The call goes on when the visitor's request ends, since the
// provider may answer only once. Done is closed when the answer is in the ledger.
func (d *Desk) ask(ctx context.Context, v *Visitor, entry ledger.Entry[ledger.Attempt]) (done <-chan struct{}, err error) {
	a := *entry.Value
	isLast := a.Asked == 0 && time.Until(d.resultDeadline(&a)) <= provider.LastChance
	called, err := d.Provider.AllowResult(provider.Caller{Number: a.Number, Client: a.Client}, isLast)
	if err != nil {
		return closed, d.postpone(ctx, v, entry, err)
	}
	a.Asked++
	a.AskAt = time.Now().Add(provider.ResultTime) // nobody else asks until then
	asking, err := ledger.Swap(ctx, d.Ledger, entry, &a, d.Ledger.AttemptLife(&a))
	if err != nil {
		called(provider.ErrNotCalled)
		return nil, err
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		ctx := context.WithoutCancel(ctx)
		outcome, err := d.Provider.Result(ctx, a.State)
		called(err)
		if err := d.recordResult(ctx, v, asking, answer{outcome, err}); err != nil {
			d.Journal.NotDone(ctx, "result not recorded", err)
		}
	}()
	return finished, nil
}

// closed is the done of a call that was not made.
var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// postpone puts the next call off while the provider may not be called. A result that
// was paid for is given up only at its deadline.
func (d *Desk) postpone(ctx context.Context, v *Visitor, entry ledger.Entry[ledger.Attempt], why error) error {
	a, now := *entry.Value, time.Now()
	if !now.Before(d.resultDeadline(&a)) {
		return d.finish(ctx, v, entry, d.Journal.NotCalled(ctx, "result", why))
	}
	a.AskAt = now.Add(pauseAfter(a.Asked + 1))
	_, err := ledger.Swap(ctx, d.Ledger, entry, &a, d.Ledger.AttemptLife(&a))
	return err
}

// answer is what a call for the result returned.
type answer struct {
	outcome verifier.Outcome
	err     error
}

// recordResult stores what a call for the result returned. Anything but a
// confirmation or a reason to ask again refuses. ErrConflict means that the attempt
// was burned meanwhile: then the answer no longer counts.
func (d *Desk) recordResult(ctx context.Context, v *Visitor, entry ledger.Entry[ledger.Attempt], got answer) error {
	a := *entry.Value
	isUnanswered := provider.IsUnanswered(got.err)
	if isUnanswered {
		a.Failed++
	}
	switch {
	case got.err == nil && got.outcome == verifier.Verified:
		a.Phase, a.ProvenAt = ledger.PhaseProven, time.Now()
	case got.err == nil && got.outcome == verifier.Pending, isUnanswered && a.Failed < maxFailed:
		a.AskAt = time.Now().Add(pauseAfter(a.Asked))
	case got.err == nil:
		return d.finish(ctx, v, entry, refusal.NumberMismatch) // fail closed
	default:
		return d.finish(ctx, v, entry, d.Journal.Failed(ctx, "result", got.err))
	}
	_, err := ledger.Swap(ctx, d.Ledger, entry, &a, d.Ledger.AttemptLife(&a))
	return err
}
