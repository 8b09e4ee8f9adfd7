package attempt

import (
	"context"
	"errors"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/internal/quota"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/internal/tracing"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// Order is what a visitor asks for with a press of the start button.
type Order struct {
	Visitor *Visitor
	Number  phone.Number
	// Return is the path and query to go to afterwards.
	Return string
	// CallbackURL is where the operator sends the browser back to.
	CallbackURL string
	Client      quota.Client
	// Texts is the version of the text that the visitor saw.
	Texts string
}

// Start begins an attempt, or finds the one that the same press began a moment ago:
// an impatient tap is not billed twice. A browser that goes in circles is stopped. The
// work goes on when the visitor's request ends, since a second tap ends the first
// request.
func (d *Desk) Start(ctx context.Context, o *Order) (step Step) {
	ctx, span := tracing.Step(ctx, "start")
	defer func() { endSpan(ctx, span, step) }()
	if o.Visitor.Realm == "" {
		return Refused{Code: refusal.CacheUnavailable, Return: o.Return}
	}
	recent, err := d.Recent(ctx, o.Visitor)
	if err != nil {
		return Refused{Code: d.Journal.StartFailed(ctx, err), Return: o.Return}
	}
	if stopped := recent.Stopped; stopped != nil {
		d.Journal.StartStopped(ctx, stopped.Code)
		stopped.Return = o.Return
		return *stopped
	}
	press := d.presses.do(ctx, d.pressKey(o).Key, func() *ledger.Press {
		return d.press(context.WithoutCancel(ctx), o)
	})
	if press.Code == "" && press.URL != "" {
		return ToOperator{press.URL}
	}
	return Refused{refusal.Code(press.Code), press.Reference, o.Return, press.RetryAt}
}

// begin stores an admitted attempt, calls the provider, and completes the record. The
// record comes first, so that nothing is billed that could not be finished.
func (d *Desk) begin(ctx context.Context, o *Order, admitted *admission) *ledger.Press {
	nonce := ledger.NewID()
	id := ledger.AttemptID(nonce)
	ctx = journal.WithAttempt(ctx, id)
	a := d.newAttempt(o, admitted)
	entry, err := ledger.Swap(ctx, d.Ledger, ledger.Nothing(d.Ledger.AttemptKey(o.Visitor.Realm, id)), a, d.Ledger.AttemptLife(a))
	if err != nil {
		d.withdraw(ctx, admitted)
		return pressOf(ctx, d.Journal.StartFailed(ctx, err))
	}
	started, err := d.Provider.Start(ctx, verifier.StartRequest{Number: a.Number, CallbackURL: o.CallbackURL, State: nonce})
	admitted.called(err)
	if err != nil {
		return pressOf(ctx, d.startFailed(ctx, o, entry, err))
	}
	full := *a
	full.SentAt, full.Operator, full.Method, full.State = time.Now(), started.Operator, started.Method, started.State
	full.AskUntil = full.Deadline.Add(d.ResultWait)
	if !started.Expires.IsZero() {
		full.AskUntil = started.Expires
	}
	full.Deadline = provider.Earlier(full.Deadline, started.Expires)
	if _, err := ledger.Swap(ctx, d.Ledger, entry, &full, d.Ledger.AttemptLife(&full)); err != nil {
		return pressOf(ctx, d.startFailed(ctx, o, entry, err))
	}
	if err := d.Ledger.Remove(ctx, d.Ledger.RefusalKey(o.Visitor.browser()).Ref()); err != nil {
		d.Journal.NotDone(ctx, "earlier refusal not forgotten", err)
	}
	d.Journal.AttemptStarted(ctx, &full)
	return &ledger.Press{Attempt: id, URL: started.URL}
}

// newAttempt returns an attempt that the provider does not know yet.
func (d *Desk) newAttempt(o *Order, admitted *admission) *ledger.Attempt {
	return &ledger.Attempt{
		Phase: ledger.PhaseStarted, StartedAt: admitted.pressed, Browser: ledger.Hash(o.Visitor.Browser), Client: d.clientName(o),
		Account: d.Account, Number: o.Number.E164, Region: o.Number.Region,
		Return: o.Return, Texts: o.Texts, Deadline: time.Now().Add(d.AttemptTTL),
		InFlight: admitted.InFlight, Counted: admitted.Returned,
	}
}

// startFailed ends an attempt that the provider did not begin. Whoever ends it first
// tells of it: meanwhile it may have been burned, or its visitor may have signed out.
func (d *Desk) startFailed(ctx context.Context, o *Order, entry ledger.Entry[ledger.Attempt], err error) refusal.Code {
	_, lost := d.end(ctx, entry, string(refusal.Of(err)))
	switch {
	case errors.Is(lost, ledger.ErrConflict):
		return d.startOvertaken(ctx, entry, err)
	case lost != nil: // nobody has taken the counts back
		d.Quota.Release(ctx, entry.Value, false)
	}
	code := d.Journal.AttemptFailed(ctx, entry.Value, err)
	if err := errors.Join(
		d.Ledger.Remove(ctx, entry.Key.Ref()),
		d.putRefusal(ctx, o.Visitor, code),
	); err != nil {
		d.Journal.NotDone(ctx, "failed start not recorded", err)
	}
	return code
}

// startOvertaken returns the code of a failed start whose attempt has ended already.
func (d *Desk) startOvertaken(ctx context.Context, entry ledger.Entry[ledger.Attempt], err error) refusal.Code {
	if _, there := ledger.Get(ctx, d.Ledger, entry.Key); errors.Is(there, ledger.ErrNotFound) {
		d.Quota.Release(ctx, entry.Value, false) // a sign-out or a revocation takes no counts back
		return d.Journal.StartFailed(ctx, err)
	}
	return d.Journal.Failed(ctx, "start", err)
}
