package provider

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/metrics"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/internal/tracing"
	"github.com/numberverify/caddy-number-verify/verifier"
)

var errPanicked = errors.New("the verifier panicked")

// foreignError stands for an error that is no *verifier.Error. It holds only the
// type: the text may contain the number, or what the provider sent.
type foreignError struct{ kind string }

// Error implements error.
func (e foreignError) Error() string {
	return "an error of type " + e.kind + ", which is no *verifier.Error that can be read"
}

// cause is the cause of a verifier's error, read once. Its methods are the gate's own:
// those of the verifier's error may panic, also where nobody would catch it.
type cause struct {
	text string
	// canceled says that the visitor went away.
	canceled bool
}

// Error implements error.
func (c cause) Error() string { return c.text }

// Is makes a canceled one match context.Canceled.
func (c cause) Is(target error) bool { return c.canceled && target == context.Canceled }

// called is guarded for what asks the provider, whose time is noted.
func (p *Provider) called(ctx context.Context, step string, call func(context.Context) error) error {
	began := time.Now()
	ctx, span := tracing.Call(ctx, "provider", step)
	err := p.guarded(step, func() error { return call(ctx) })
	p.journal.ProviderCalled(ctx, step, time.Since(began), err)
	span.End(metrics.ResultOf(err), tracing.Facts{Code: codeOf(err)})
	return err
}

// codeOf returns the code for err, and "" for none.
func codeOf(err error) refusal.Code {
	if err == nil {
		return ""
	}
	return refusal.Of(err)
}

// guarded calls the verifier. A panic becomes an error, so that it neither ends Caddy
// nor leaves behind what the caller has to release. All errors returned can be
// logged, and none of them runs code of the verifier's.
func (p *Provider) guarded(step string, call func() error) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			p.journal.VerifierPanicked(step, panicked)
			err = &verifier.Error{Call: step, Err: errPanicked}
		}
	}()
	err = call()
	if err == nil {
		return nil
	}
	told, ok := errors.AsType[*verifier.Error](err)
	if !ok || told == nil {
		return &verifier.Error{Call: step, Err: foreignError{fmt.Sprintf("%T", err)}}
	}
	fit := *told
	fit.Operator = OperatorName(told.Operator)
	if told.Err != nil {
		fit.Err = cause{told.Err.Error(), errors.Is(told.Err, context.Canceled)}
	}
	return &fit
}
