package attempt

import (
	"context"
	"sync"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// presses has equal presses of the button wait for the answer of the first. It does
// what singleflight does, except that who waits may leave, and that a panic of the
// first refuses the others and goes up its stack, where net/http catches it.
type presses struct {
	mu    sync.Mutex
	under map[cache.Key]*answering
}

// answering is a press that is being answered.
type answering struct {
	done  chan struct{}
	press *ledger.Press
}

// do answers the press under key, or waits until another caller has.
func (p *presses) do(ctx context.Context, key cache.Key, answer func() *ledger.Press) *ledger.Press {
	a, isFirst := p.join(key)
	if !isFirst {
		select {
		case <-a.done:
			return a.press
		case <-ctx.Done():
			return pressOf(refusal.Busy) // which nobody reads any more
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

// join returns what is answering the press; the first to come has to.
func (p *presses) join(key cache.Key) (a *answering, isFirst bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.under[key]; ok {
		return a, false
	}
	if p.under == nil {
		p.under = make(map[cache.Key]*answering)
	}
	a = &answering{done: make(chan struct{}), press: pressOf(refusal.ProviderUnavailable)}
	p.under[key] = a
	return a, true
}

// pressOf is a press that was refused.
func pressOf(code refusal.Code) *ledger.Press { return &ledger.Press{Code: string(code)} }
