package attempt

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

const (
	// pressTTL is how long the same press of the button leads to the same attempt.
	pressTTL = 15 * time.Second
	// reservedTTL is how long a reserved press keeps others waiting after its node
	// has died.
	reservedTTL = 3 * time.Second
	// failedPressTTL is how long a failed press is remembered: long enough for
	// those that wait for it, too short for a person who tries again.
	failedPressTTL = time.Second
	// pressPatience is how long a press waits for the answer of the same press.
	pressPatience = 40 * time.Second
	// pressPoll is how often a press that waits looks for the answer.
	pressPoll = 50 * time.Millisecond
)

// presses makes equal presses on this node wait for the answer of the first. It
// differs from singleflight in two ways: a press that waits may leave, and a panic of
// the first refuses the others and then goes on to net/http, which catches it.
type presses struct {
	mu    sync.Mutex
	under map[cache.Key]*answering
}

// answering is a press that is being answered.
type answering struct {
	done  chan struct{}
	press *ledger.Press
}

// do answers the press under key, or waits until another caller has answered it.
func (p *presses) do(ctx context.Context, key cache.Key, answer func() *ledger.Press) *ledger.Press {
	a, isFirst := p.join(key)
	if !isFirst {
		select {
		case <-a.done:
			return a.press
		case <-ctx.Done():
			return pressOf(ctx, refusal.Busy) // the visitor has gone
		}
	}
	defer func() {
		p.mu.Lock()
		delete(p.under, key)
		p.mu.Unlock()
		close(a.done)
	}()
	a.press = answer()
	return a.press
}

// join returns the press that is being answered. The first caller must answer it.
func (p *presses) join(key cache.Key) (a *answering, isFirst bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.under[key]; ok {
		return a, false
	}
	if p.under == nil {
		p.under = make(map[cache.Key]*answering)
	}
	a = &answering{done: make(chan struct{}), press: &ledger.Press{Code: string(refusal.ProviderUnavailable)}}
	p.under[key] = a
	return a, true
}

// pressOf returns a refused press.
func pressOf(ctx context.Context, code refusal.Code) *ledger.Press {
	return refusedPress(ctx, code, time.Time{})
}

// refusedPress returns a refused press after which another one may pass at retryAt. It
// has the reference of the request that was answered first, since that stands in the
// log.
func refusedPress(ctx context.Context, code refusal.Code, retryAt time.Time) *ledger.Press {
	return &ledger.Press{Code: string(code), RetryAt: retryAt, Reference: journal.Reference(ctx)}
}

func (d *Desk) pressKey(o *Order) ledger.Key[ledger.Press] {
	return d.Ledger.PressKey(o.Visitor.browser(), o.Number.E164, o.Return)
}

// press answers a press: with the answer of the same press a moment ago, on any node,
// or by beginning an attempt.
func (d *Desk) press(ctx context.Context, o *Order) *ledger.Press {
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
				return pressOf(ctx, refusal.Busy)
			}
		case errors.Is(err, ledger.ErrConflict): // another node was faster
		default:
			return pressOf(ctx, d.Journal.StartFailed(ctx, err))
		}
	}
}

// errReserved says that another node is answering the same press.
var errReserved = errors.New("the press is being answered")

// earlierPress returns the answer of the same press a moment ago. If there is none
// that still leads anywhere, it returns the entry to replace.
func (d *Desk) earlierPress(ctx context.Context, o *Order) (entry ledger.Entry[ledger.Press], answer *ledger.Press, err error) {
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

// isWaiting tells whether the attempt still waits for its visitor to come back.
func (d *Desk) isWaiting(ctx context.Context, o *Order, id string) (bool, error) {
	entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.AttemptKey(o.Visitor.Realm, id))
	if errors.Is(err, ledger.ErrNotFound) {
		return false, nil
	}
	return err == nil && entry.Value.Phase == ledger.PhaseStarted && time.Now().Before(entry.Value.Deadline), err
}

// firstPress begins the attempt and stores its answer for later presses, in place of
// an earlier one. Nothing is stored before the start is admitted. ErrConflict means
// that the same press was made elsewhere.
func (d *Desk) firstPress(ctx context.Context, o *Order, earlier ledger.Entry[ledger.Press]) (*ledger.Press, error) {
	admitted, refused := d.admit(ctx, o)
	if refused != nil {
		return refused, nil
	}
	defer admitted.called(provider.ErrNotCalled) // for a panic; after a call it does nothing
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
		d.Journal.NotDone(ctx, "press not remembered", err)
	}
	return press, nil
}

// beginReserved begins the attempt and keeps the press reserved meanwhile.
func (d *Desk) beginReserved(ctx context.Context, o *Order, admitted *admission) *ledger.Press {
	letGo := d.keepReserved(ctx, d.pressKey(o))
	defer letGo()
	return d.begin(ctx, o, admitted)
}

// keepReserved renews the reservation of a press until letGo is called, so that others
// wait as long as this node lives, and no longer.
func (d *Desk) keepReserved(ctx context.Context, key ledger.Key[ledger.Press]) (letGo func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for pause(ctx, reservedTTL/3) {
			err := ledger.Put(ctx, d.Ledger, key, &ledger.Press{}, forNow(reservedTTL))
			if err != nil && ctx.Err() == nil {
				d.Journal.NotDone(ctx, "press not reserved any longer", err)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
