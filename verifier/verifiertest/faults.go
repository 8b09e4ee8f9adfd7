package verifiertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	// deadline is that of a call to a provider that hangs.
	deadline = 200 * time.Millisecond
	// patience is how long after it the call may return.
	patience = 2 * time.Second
)

// step is a method that may call the provider, made ready for one call.
type step struct {
	name string
	// call returns whether something came of it that could let a visitor in.
	call func(ctx context.Context) (succeeded bool, err error)
	// attempt is nil before there is one.
	attempt *attempt
}

// steps makes each step ready while the provider works.
func (b *bench) steps(v verifier.Verifier) ([]step, error) {
	var all []step
	if _, ok := v.(verifier.TokenSource); ok {
		all = append(all, step{"Token", func(ctx context.Context) (bool, error) {
			token, err := fetchToken(ctx, v)
			return token != nil, err
		}, nil})
	}
	unstarted, err := b.newAttempt(v, b.Numbers.Verified)
	if err != nil {
		return nil, err
	}
	all = append(all, step{"Start", func(ctx context.Context) (bool, error) {
		err := unstarted.start(ctx, v)
		return unstarted.started != nil, err
	}, unstarted})
	a, err := b.begin(v, b.Numbers.Verified)
	if err != nil {
		return nil, err
	}
	query, err := b.visit(v, a)
	if err != nil {
		return nil, err
	}
	state, err := callback(v, a.started.State, query)
	if err != nil {
		return nil, in("Callback", err)
	}
	return append(all, step{"Result", func(ctx context.Context) (bool, error) {
		outcome, err := result(ctx, v, state)
		return outcome == verifier.Verified, err
	}, a}), nil
}

// checkFaults breaks the provider in each way at each step.
func checkFaults(b *bench) error {
	for _, fault := range []Fault{Fails, Echoes, Garbles, Hangs} {
		v := b.New()
		steps, err := b.steps(v)
		if err != nil {
			return err
		}
		for _, s := range steps {
			if err := b.breaks(v, s, fault); err != nil {
				return fmt.Errorf("%s of a provider that %s: %w", s.name, fault, err)
			}
		}
	}
	return nil
}

// breaks calls a step of a broken provider. A step that calls nobody is not
// concerned.
func (b *bench) breaks(v verifier.Verifier, s step, fault Fault) error {
	ctx, mend := b.broken(fault)
	defer mend()
	var succeeded bool
	var err, late error
	calls := b.callsDuring(func() {
		late = inTime(fault, func() { succeeded, err = s.call(ctx) })
	})
	switch {
	case late != nil:
		return late
	case calls == 0 && err == nil:
		return nil
	case succeeded:
		return errors.New("it succeeds")
	}
	if err := b.badError(v, err, s.attempt); err != nil {
		return err
	}
	if class := classOf(err); class != verifier.ProviderUnavailable {
		return fmt.Errorf("the error's class is %s, not ProviderUnavailable: %w", class, err)
	}
	return nil
}

// broken gives the provider a fault until mend is called. The context is that of calls
// meanwhile: it ends soon if the provider hangs.
func (b *bench) broken(fault Fault) (ctx context.Context, mend func()) {
	b.Far.Break(fault)
	ctx, cancel := b.ctx, context.CancelFunc(func() {})
	if fault == Hangs {
		ctx, cancel = context.WithTimeout(ctx, deadline)
	}
	return ctx, func() {
		cancel()
		b.Far.Break(Works)
	}
}

// inTime makes a call, and waits no longer than it may take if the provider hangs.
func inTime(fault Fault, call func()) error {
	if fault != Hangs {
		call()
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	select {
	case <-done:
		return nil
	case <-time.After(deadline + patience):
		return errors.New("it goes on although its context has ended")
	}
}

// checkEndedContext holds that nobody is called for a caller who has gone.
func checkEndedContext(b *bench) error {
	v := b.New()
	steps, err := b.steps(v)
	if err != nil {
		return err
	}
	ended, cancel := context.WithCancel(b.ctx)
	cancel()
	for _, s := range steps {
		var err error
		calls := b.callsDuring(func() { _, err = s.call(ended) })
		if calls != 0 {
			return fmt.Errorf("%s makes %d calls with a context that has ended", s.name, calls)
		}
		if err == nil {
			continue // it needs no call
		}
		if err := b.badError(v, err, s.attempt); err != nil {
			return in(s.name+" with a context that has ended", err)
		}
	}
	return nil
}

// parallel is how many attempts are under way at once, every second one of them of
// a number that the SIM does not have.
const parallel = 16

// checkConcurrency lets attempts of two instances overlap.
func checkConcurrency(b *bench) error {
	instances := []verifier.Verifier{b.New(), b.New()}
	numbers := []string{b.Numbers.Verified, b.Numbers.Mismatch}
	attempts := make([]*attempt, parallel)
	err := atOnce(func(i int) (err error) {
		attempts[i], err = b.begin(instances[i/2%2], numbers[i%2])
		return err
	})
	if err != nil {
		return err
	}
	return atOnce(func(i int) error {
		v := instances[i/4%2]
		query, err := b.visit(v, attempts[i])
		if err != nil {
			return err
		}
		_ = v.Account() + v.Secret() + v.Recipient()
		outcome, err := b.finish(v, attempts[i], query)
		if isMine := i%2 == 0; isMine != (err == nil && outcome == verifier.Verified) {
			return fmt.Errorf("one attempt of several ends in %s, %v, where its number says otherwise", outcome, err)
		}
		return nil
	})
}

// atOnce calls do in many goroutines and returns an error of one of them.
func atOnce(do func(i int) error) error {
	var working sync.WaitGroup
	errs := make([]error, parallel)
	for i := range errs {
		working.Go(func() { errs[i] = do(i) })
	}
	working.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
