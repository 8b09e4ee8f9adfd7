package provider

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// bomb is an error whose methods panic, as those of a nil pointer may.
type bomb struct{ in string }

func (b bomb) Error() string {
	if b.in == "Error" {
		panic(b.in)
	}
	return "bomb"
}

func (b bomb) Is(error) bool {
	if b.in == "Is" {
		panic(b.in)
	}
	return false
}

func (b bomb) Unwrap() error {
	if b.in == "Unwrap" {
		panic(b.in)
	}
	return nil
}

func TestErrorOfAVerifierRunsNoCodeOfItsOwnOnceItIsReturned(t *testing.T) {
	p := New(plain{}, nil, nil, journal.New(zap.NewNop()))
	for _, in := range []string{"Error", "Is", "Unwrap"} {
		err := p.guarded("result", func() error { return &verifier.Error{Call: "result", Err: bomb{in}} })
		if !isOutage(err) || err.Error() == "" || errors.As(err, new(bomb)) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestErrorOfAVerifierKeepsItsTextAndWhetherTheVisitorWentAway(t *testing.T) {
	p := New(plain{}, nil, nil, journal.New(zap.NewNop()))
	for _, cause := range []error{nil, errors.New("why"), fmt.Errorf("gone: %w", context.Canceled)} {
		told := &verifier.Error{Class: verifier.Denied, Call: "result", ID: "21", Hint: "do", Again: true, Err: cause}
		err := p.guarded("result", func() error { return told })
		fit, ok := errors.AsType[*verifier.Error](err)
		if !ok || fit.Error() != told.Error() || errors.Is(fit, context.Canceled) != errors.Is(told, context.Canceled) {
			t.Fatalf("%v became %v", told, err)
		}
		if fit.Class != told.Class || fit.ID != told.ID || fit.Hint != told.Hint || !fit.Again || (cause == nil) != (fit.Err == nil) {
			t.Errorf("%+v became %+v", told, fit)
		}
	}
}

// The operator of an error is logged as well.
func TestOperatorOfAnErrorThatIsANumberIsNotTold(t *testing.T) {
	p := New(plain{}, nil, nil, journal.New(zap.NewNop()))
	for operator, want := range map[string]string{"+33 6 39 98 00 01": "", "SFR\n{}": "", " SFR ": "SFR"} {
		err := p.guarded("result", func() error { return &verifier.Error{Call: "result", Operator: operator} })
		if fit, ok := errors.AsType[*verifier.Error](err); !ok || fit.Operator != want {
			t.Errorf("%q is told as %q", operator, fit.Operator)
		}
	}
}
