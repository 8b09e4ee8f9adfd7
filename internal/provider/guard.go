package provider

import (
	"errors"
	"fmt"

	"github.com/numberverify/caddy-number-verify/verifier"
)

var errPanicked = errors.New("the verifier panicked")

// foreignError stands for an error that is no *verifier.Error. It tells the type
// alone: the text may hold what the provider sent, or the number that it was sent.
type foreignError struct{ kind string }

// Error implements error.
func (e foreignError) Error() string {
	return "an error of type " + e.kind + ", which is no *verifier.Error that can be read"
}

// guarded calls the verifier. Its panic becomes an error that refuses: it must not
// end Caddy, nor keep what the caller holds. All its errors can be logged.
func (p *Provider) guarded(step string, call func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			p.journal.VerifierPanicked(step, cause)
			err = &verifier.Error{Call: step, Err: errPanicked}
		}
	}()
	err = call()
	if err == nil {
		return nil
	}
	told, ok := errors.AsType[*verifier.Error](err)
	if !ok || told == nil { // of a nil one nothing can be read
		return &verifier.Error{Call: step, Err: foreignError{fmt.Sprintf("%T", err)}}
	}
	fit := *told
	fit.Operator = OperatorName(told.Operator)
	return &fit
}
