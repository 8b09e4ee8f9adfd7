package gate

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// The causes of errors that a verifier's mistakes have become.
var (
	errPanicked = errors.New("the verifier panicked")
	errNil      = errors.New("an error that is a nil *verifier.Error")
)

// guarded calls the verifier. Its panic becomes an error that refuses: it must not
// end Caddy, nor keep what the caller holds. Neither the panic's text nor that of
// an error that is no *verifier.Error is logged, since both may hold what the
// provider sent, or the number that it was sent. Such an error becomes a
// *foreignError.
func (g *Gate) guarded(step string, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			g.logPanic("verifier panicked", step, ProviderUnavailable, p)
			err = &verifier.Error{Call: step, Err: errPanicked}
		}
	}()
	err = call()
	told, ok := errors.AsType[*verifier.Error](err)
	switch {
	case err == nil:
		return nil
	case ok && told == nil: // no nil error, but nothing can be read from it either
		return &foreignError{step, errNil}
	case ok:
		return told
	case errors.Is(err, verifier.ErrForeignCallback):
		return &foreignError{step, verifier.ErrForeignCallback} // what wraps it may be text of the verifier's
	default:
		return &foreignError{step, fmt.Errorf("an error of type %T, which is no *verifier.Error", err)}
	}
}

// foreignError is an error of a verifier that is no *verifier.Error.
type foreignError struct {
	step string
	err  error
}

func (e *foreignError) Error() string { return e.step + " call: " + e.err.Error() }

func (e *foreignError) Unwrap() error { return e.err }

// survive keeps a panic from ending Caddy in a goroutine that nobody else looks
// after: caches are modules, too.
func (g *Gate) survive(step string) {
	if p := recover(); p != nil {
		g.logPanic("cache panicked", step, CacheUnavailable, p)
	}
}

// logPanic tells where it was, not its text.
func (g *Gate) logPanic(message, step string, code Code, p any) {
	g.log.Error(message, zap.String("step", step), zap.String("code", string(code)),
		zap.String("type", fmt.Sprintf("%T", p)), zap.Stack("stack"))
}

// understands asks the verifier. Where it panics it does not.
func (g *Gate) understands(e164 string) (ok bool) {
	err := g.guarded("number", func() error {
		ok = g.cfg.Verifier.Understands(e164)
		return nil
	})
	return ok && err == nil
}
