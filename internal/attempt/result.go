package attempt

import (
	"context"
	"errors"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	// settleTime is how long a request waits for the result before the visitor
	// sees the wait page.
	settleTime = 2 * time.Second
	// maxFailed is how many calls without a usable answer end the attempt.
	maxFailed = 3
)

// SettleTime is after how long it pays to look for the result again.
const SettleTime = settleTime

// pauses are those between the calls for a result; the last one repeats.
var pauses = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}

func pauseAfter(asked int) time.Duration {
	return pauses[min(asked, len(pauses))-1]
}

// Wait brings the attempt of that id as far as it will come now.
func (d *Desk) Wait(ctx context.Context, v *Visitor, id string) Step {
	step := d.Look(ctx, v, id)
	if _, ok := step.(Pending); !ok {
		return step
	}
	return d.proceed(ctx, v, id, time.Now())
}

// Look is Wait without effect: it says Pending of every attempt of the visitor's
// that has come back.
func (d *Desk) Look(ctx context.Context, v *Visitor, id string) Step {
	entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.AttemptKey(v.Realm, id))
	switch a := entry.Value; {
	case errors.Is(err, ledger.ErrNotFound):
		return Problem{refusal.AttemptUnknown, id}
	case err != nil:
		return Problem{d.Journal.Failed("wait", err), id}
	case a.Phase == ledger.PhaseStarted || a.Account != d.Account:
		return Problem{refusal.AttemptUnknown, id}
	case !v.owns(a):
		return Problem{refusal.BrowserMismatch, id}
	default:
		return Pending{id, a.Return}
	}
}

// proceed brings an accepted attempt as far as it will come now, asking for the
// result where that is due before the given time.
func (d *Desk) proceed(ctx context.Context, v *Visitor, id string, until time.Time) Step {
	key := d.Ledger.AttemptKey(v.Realm, id)
	for {
		entry, err := d.settle(ctx, v, key, until)
		if errors.Is(err, ledger.ErrNotFound) {
			return Problem{refusal.AttemptUnknown, id}
		}
		if err != nil {
			return Problem{d.Journal.Failed("result", err), id}
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
				return Problem{d.Journal.Failed("session", err), id}
			}
			return Verified{a.Return, issued}
		default:
			return d.afterEnd(ctx, v, a)
		}
	}
}

// settle asks for the result as often as that is due before until, and returns
// how the attempt stands.
func (d *Desk) settle(ctx context.Context, v *Visitor, key ledger.Key[ledger.Attempt], until time.Time) (ledger.Entry[ledger.Attempt], error) {
	patience := time.Now().Add(settleTime)
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

// resultDeadline is until when the provider is asked. It is asked once all the
// same, and what an asker at work brings home still counts.
func (d *Desk) resultDeadline(a *ledger.Attempt) time.Time {
	deadline := a.ReturnedAt.Add(d.ResultWait)
	if a.AskUntil.Before(deadline) {
		return a.AskUntil
	}
	return deadline
}

// ask asks the provider for the result, once, if no other request does:
// ErrConflict says that one does. The call goes on when the visitor's request ends,
// since its answer may be given only once; done is closed when the answer is in the
// ledger.
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
		if err := d.record(ctx, v, asking, outcome, err); err != nil {
			d.Journal.NotDone("result not recorded", err)
		}
	}()
	return finished, nil
}

// closed stands for a call that is over.
var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// postpone waits with asking while the provider is not to be called: what was paid
// for is not given up before its time.
func (d *Desk) postpone(ctx context.Context, v *Visitor, entry ledger.Entry[ledger.Attempt], why error) error {
	a, now := *entry.Value, time.Now()
	if !now.Before(d.resultDeadline(&a)) {
		return d.finish(ctx, v, entry, d.Journal.NotCalled("result", why))
	}
	a.AskAt = now.Add(pauseAfter(a.Asked + 1))
	_, err := ledger.Swap(ctx, d.Ledger, entry, &a, d.Ledger.AttemptLife(&a))
	return err
}

// record writes down what the provider said. Whatever is not a confirmation or
// a reason to ask again refuses. A conflict means that the attempt was burned
// meanwhile: then the answer no longer counts.
func (d *Desk) record(ctx context.Context, v *Visitor, entry ledger.Entry[ledger.Attempt], outcome verifier.Outcome, err error) error {
	a := *entry.Value
	again := provider.IsUnanswered(err)
	if again {
		a.Failed++
	}
	switch {
	case err == nil && outcome == verifier.Verified:
		a.Phase, a.ProvenAt = ledger.PhaseProven, time.Now()
	case err == nil && outcome == verifier.Pending, again && a.Failed < maxFailed:
		a.AskAt = time.Now().Add(pauseAfter(a.Asked))
	case err == nil:
		return d.finish(ctx, v, entry, refusal.NumberMismatch) // fail closed
	default:
		return d.finish(ctx, v, entry, d.Journal.Failed("result", err))
	}
	_, err = ledger.Swap(ctx, d.Ledger, entry, &a, d.Ledger.AttemptLife(&a))
	return err
}
