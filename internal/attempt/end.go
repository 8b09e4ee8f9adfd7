package attempt

import (
	"context"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// verified is the outcome of an attempt that made a session.
const verified = "verified"

// forNow returns a life that begins now.
func forNow(ttl time.Duration) ledger.Life { return ledger.Life{Expires: time.Now().Add(ttl)} }

// end ends an attempt and takes back its counts. Of several callers one succeeds; the
// others get ErrConflict. Outcome is verified or a code.
func (d *Desk) end(ctx context.Context, entry ledger.Entry[ledger.Attempt], outcome string) (*ledger.Attempt, error) {
	ended := *entry.Value
	ended.Phase, ended.Outcome, ended.State = ledger.PhaseEnded, outcome, nil
	ended.InFlight, ended.Counted = nil, nil
	if _, err := ledger.Swap(ctx, d.Ledger, entry, &ended, d.Ledger.AttemptLife(&ended)); err != nil {
		return nil, err
	}
	d.Quota.Release(ctx, entry.Value, outcome == verified)
	return &ended, nil
}

// finish ends an attempt with a refusal and remembers that for its browser.
func (d *Desk) finish(ctx context.Context, v *Visitor, entry ledger.Entry[ledger.Attempt], code refusal.Code) error {
	ended, err := d.end(ctx, entry, string(code))
	if err != nil {
		return err
	}
	d.Journal.NotVerified(ctx, ended, code)
	return d.putRefusal(ctx, v, code)
}

func (d *Desk) putRefusal(ctx context.Context, v *Visitor, code refusal.Code) error {
	refused := &ledger.Refusal{Code: string(code), Reference: journal.Reference(ctx)}
	return ledger.Put(ctx, d.Ledger, d.Ledger.RefusalKey(v.browser()), refused, forNow(d.RefusedTTL))
}

// isOver tells whether the attempt has ended, or is in no known phase.
func isOver(a *ledger.Attempt) bool {
	switch a.Phase {
	case ledger.PhaseStarted, ledger.PhaseReturned, ledger.PhaseProven:
		return false
	default:
		return true
	}
}

// isLate tells whether the attempt's browser has not come back in time.
func isLate(a *ledger.Attempt) bool {
	return a.Phase == ledger.PhaseStarted && !time.Now().Before(a.Deadline)
}

// afterEnd returns what follows a callback or a reload after the attempt's end: a
// verified visitor goes on, any other one is told why not.
func (d *Desk) afterEnd(ctx context.Context, v *Visitor, id string, a *ledger.Attempt) Step {
	back := "/"
	if v.owns(a) {
		back = a.Return
	}
	found, err := d.Peek(ctx, v, d.Lenient())
	switch {
	case err != nil:
		return Problem{refusal.CacheUnavailable, id}
	case found.Session != nil:
		return Verified{Return: back}
	case a.Outcome == string(refusal.BrowserMismatch):
		return Problem{refusal.BrowserMismatch, id}
	case a.ReturnedAt.IsZero() && a.Outcome == string(refusal.AttemptExpired):
		return Problem{refusal.AttemptExpired, id}
	default:
		return Ended{Return: back, UnknownSession: found.Misfit == Unknown}
	}
}
