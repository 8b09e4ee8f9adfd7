package attempt

import (
	"context"
	"errors"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/internal/quota"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	// pressTTL is how long the same press of the button leads to the same
	// attempt.
	pressTTL = 15 * time.Second
	// reservedTTL is how long a press that is being answered keeps others
	// waiting once its node has died.
	reservedTTL = 3 * time.Second
	// failedPressTTL is the same for one that failed: long enough for those
	// that wait for it, too short for a person who tries again.
	failedPressTTL = time.Second
	// pressPatience is how long a press waits for another that is being answered.
	pressPatience = 40 * time.Second
	// pressPoll is how often a second press looks for the first one's answer.
	pressPoll = 50 * time.Millisecond
)

// Order is what a visitor asks for with the press of the button.
type Order struct {
	Number phone.Number
	// Return is the path and query to go to afterwards.
	Return string
	// CallbackURL is where the operator sends the browser back to.
	CallbackURL string
	Client      quota.Client
}

// order is one of a visitor.
type order struct {
	Order
	visitor *Visitor
}

func (d *Desk) pressKey(o *order) ledger.Key[ledger.Press] {
	return d.Ledger.PressKey(o.visitor.browser(), o.Number.E164, o.Return)
}

// Start begins an attempt, or finds that of the same press a moment ago: an
// impatient tap is not billed twice. The work goes on when the visitor's request
// ends, since the second tap ends the first request.
func (d *Desk) Start(ctx context.Context, v *Visitor, asked Order) Step {
	o := &order{asked, v}
	press := d.presses.do(ctx, d.pressKey(o).Key, func() *ledger.Press {
		return d.press(context.WithoutCancel(ctx), o)
	})
	if press.Code == "" && press.URL != "" {
		return ToOperator{press.URL}
	}
	return Refused{refusal.Code(press.Code), press.RetryAt}
}

// press looks for the same press, on whichever node, and begins an attempt where
// there is none.
func (d *Desk) press(ctx context.Context, o *order) *ledger.Press {
	patience, cancel := context.WithTimeout(ctx, pressPatience)
	defer cancel()
	for {
		earlier, answer, err := d.earlierPress(patience, o)
		if answer != nil {
			return answer
		}
		if err == nil {
			answer, err = d.firstPress(ctx, o, earlier)
		}
		switch {
		case err == nil:
			return answer
		case errors.Is(err, errReserved):
			if !pause(patience, pressPoll) {
				return pressOf(refusal.Busy)
			}
		case errors.Is(err, ledger.ErrConflict): // another node was faster
		default:
			return pressOf(d.Journal.Failed("start", err))
		}
	}
}

// errReserved says that another node is answering the same press.
var errReserved = errors.New("the press is being answered")

// earlierPress returns the answer of the same press a moment ago. Where there is
// none that still leads anywhere, it returns the entry to replace.
func (d *Desk) earlierPress(ctx context.Context, o *order) (entry ledger.Entry[ledger.Press], answer *ledger.Press, err error) {
	entry, err = ledger.Get(ctx, d.Ledger, d.pressKey(o))
	if errors.Is(err, ledger.ErrNotFound) {
		return ledger.Nothing(d.pressKey(o)), nil, nil
	}
	if err != nil {
		return entry, nil, err
	}
	earlier := entry.Value
	if earlier.Code != "" {
		return entry, earlier, nil
	}
	if earlier.URL == "" {
		return entry, nil, errReserved
	}
	isWaiting, err := d.isWaiting(ctx, o, earlier.Attempt)
	if isWaiting {
		return entry, earlier, nil
	}
	return entry, nil, err
}

// isWaiting tells whether the attempt's visitor has not come back yet.
func (d *Desk) isWaiting(ctx context.Context, o *order, id string) (bool, error) {
	entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.AttemptKey(o.visitor.Realm, id))
	if errors.Is(err, ledger.ErrNotFound) {
		return false, nil
	}
	return err == nil && entry.Value.Phase == ledger.PhaseStarted && time.Now().Before(entry.Value.Deadline), err
}

// firstPress starts the attempt and leaves its answer for later presses, in place
// of an earlier one. Nothing is stored before the start is admitted.
// ErrConflict means that the same press was made elsewhere.
func (d *Desk) firstPress(ctx context.Context, o *order, earlier ledger.Entry[ledger.Press]) (*ledger.Press, error) {
	admitted, refused := d.admit(ctx, o)
	if refused != nil {
		return refused, nil
	}
	defer admitted.called(provider.ErrNotCalled) // also where something panics
	if _, err := ledger.Swap(ctx, d.Ledger, earlier, &ledger.Press{}, forNow(reservedTTL)); err != nil {
		d.withdraw(ctx, admitted)
		return nil, err
	}
	began := time.Now()
	press := d.beginReserved(ctx, o, admitted)
	life := max(pressTTL-time.Since(began), failedPressTTL)
	if press.Code != "" {
		life = failedPressTTL
	}
	stored := *press
	if err := ledger.Put(ctx, d.Ledger, d.pressKey(o), &stored, forNow(life)); err != nil {
		d.Journal.NotDone("press not remembered", err)
	}
	return press, nil
}

func forNow(ttl time.Duration) ledger.Life { return ledger.Life{Expires: time.Now().Add(ttl)} }

// beginReserved begins the attempt while others that press wait.
func (d *Desk) beginReserved(ctx context.Context, o *order, admitted *admission) *ledger.Press {
	letGo := d.keepReserved(ctx, d.pressKey(o))
	defer letGo()
	return d.begin(ctx, o, admitted)
}

// keepReserved keeps a press as one that is being answered until letGo is called:
// only a node that lives keeps others waiting.
func (d *Desk) keepReserved(ctx context.Context, key ledger.Key[ledger.Press]) (letGo func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(ctx, reservedTTL/3) {
			err := ledger.Put(ctx, d.Ledger, key, &ledger.Press{}, forNow(reservedTTL))
			if err != nil && ctx.Err() == nil {
				d.Journal.NotDone("press not reserved any longer", err)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// begin makes the record of an admitted attempt, so that nothing is billed that
// could not be finished, calls the provider, and completes the record.
func (d *Desk) begin(ctx context.Context, o *order, admitted *admission) *ledger.Press {
	d.CheckSecret(ctx)
	nonce := ledger.NewID()
	id := ledger.AttemptID(nonce)
	a := d.newAttempt(o, admitted)
	entry, err := ledger.Swap(ctx, d.Ledger, ledger.Nothing(d.Ledger.AttemptKey(o.visitor.Realm, id)), a, d.Ledger.AttemptLife(a))
	if err != nil {
		d.withdraw(ctx, admitted)
		return pressOf(d.Journal.Failed("start", err))
	}
	started, err := d.Provider.Start(ctx, verifier.StartRequest{Number: a.Number, CallbackURL: o.CallbackURL, State: nonce})
	admitted.called(err)
	if err != nil {
		return pressOf(d.startFailed(ctx, o, entry, err))
	}
	full := *a
	full.Operator, full.Method, full.State = started.Operator, started.Method, started.State
	full.AskUntil = full.Deadline.Add(d.ResultWait)
	if !started.Expires.IsZero() {
		full.AskUntil = started.Expires
	}
	full.Deadline = provider.Earlier(full.Deadline, started.Expires)
	if _, err := ledger.Swap(ctx, d.Ledger, entry, &full, d.Ledger.AttemptLife(&full)); err != nil {
		return pressOf(d.startFailed(ctx, o, entry, err))
	}
	if err := d.Ledger.Remove(ctx, d.Ledger.RefusalKey(o.visitor.browser()).Ref()); err != nil {
		d.Journal.NotDone("earlier refusal not forgotten", err)
	}
	d.Journal.AttemptStarted(ctx, id, &full)
	return &ledger.Press{Attempt: id, URL: started.URL}
}

// newAttempt is an attempt that the provider does not know yet.
func (d *Desk) newAttempt(o *order, admitted *admission) *ledger.Attempt {
	return &ledger.Attempt{
		Phase: ledger.PhaseStarted, Browser: ledger.Hash(o.visitor.Browser), Client: d.clientName(o),
		Account: d.Account, Number: o.Number.E164, Region: o.Number.Region,
		Return: o.Return, Deadline: time.Now().Add(d.AttemptTTL),
		InFlight: admitted.InFlight, Counted: admitted.Returned,
	}
}

// startFailed ends an attempt that the provider did not begin.
func (d *Desk) startFailed(ctx context.Context, o *order, entry ledger.Entry[ledger.Attempt], err error) refusal.Code {
	code := d.Journal.Failed("start", err)
	d.Quota.Release(ctx, entry.Value, false)
	if err := errors.Join(
		d.Ledger.Remove(ctx, entry.Key.Ref()),
		d.putRefusal(ctx, o.visitor, code),
	); err != nil {
		d.Journal.NotDone("failed start not recorded", err)
	}
	return code
}
