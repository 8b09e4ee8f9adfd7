package gate

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// errPanicked is the cause of an error that a panic of a verifier has become.
var errPanicked = errors.New("the verifier panicked")

// guarded calls the verifier. Its panic becomes an error that refuses: it must not
// end Caddy, nor keep what the caller holds. Neither the panic's text nor that of
// an error that is no *verifier.Error is logged, since both may hold what the
// provider sent, or the number that it was sent.
func (g *Gate) guarded(step string, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			g.log.Error("verifier panicked", zap.String("step", step), zap.String("code", string(ProviderUnavailable)),
				zap.String("type", fmt.Sprintf("%T", p)), zap.Stack("stack"))
			err = &verifier.Error{Call: step, Err: errPanicked}
		}
	}()
	err = call()
	if told, ok := errors.AsType[*verifier.Error](err); ok {
		return told
	}
	if err == nil || isOfClaim(err) {
		return err
	}
	return &verifier.Error{Call: step, Err: fmt.Errorf("an error of type %T, which is no *verifier.Error", err)}
}

// isOfClaim tells whether the verifier returns what its Claim has returned.
func isOfClaim(err error) bool {
	return errors.Is(err, verifier.ErrClaimed) || errors.Is(err, errCache) || errors.Is(err, cache.ErrFull)
}
