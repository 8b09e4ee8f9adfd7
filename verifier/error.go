package verifier

import (
	"errors"
	"strings"

	"github.com/numberverify/caddy-number-verify/internal/remote"
)

// ErrForeignCallback is what Callback returns for a query that does not belong to
// the attempt: somebody may have started one and had another's browser open its link.
// The gate burns the attempt: it ends for good, whatever the provider says later.
var ErrForeignCallback = errors.New("the callback does not belong to this attempt")

// TransportError returns an error that says why a call got no answer, in fixed
// words that are safe to log, as the cause of an *Error. Errors of net/http are
// not safe: they quote what the other side sent, which may be a number or a secret.
func TransportError(err error) error { return remote.Plain(err) }

// Class is the kind of a failure or refusal: it decides what the visitor is told.
// The zero value, and every value that is not named here, is ProviderUnavailable.
type Class uint8

// The classes.
const (
	// ProviderUnavailable: the provider failed, or its answer made no sense. It is
	// the only class that counts as an outage, during which the gate calls nobody.
	ProviderUnavailable Class = iota
	// OperatorUnavailable: the mobile operator failed, or did not see the SIM.
	OperatorUnavailable
	// Misconfigured: the site's operator has to mend something.
	Misconfigured
	// NumberInvalid: there is no such number.
	NumberInvalid
	// NumberUnsupported: this number or its operator cannot be verified.
	NumberUnsupported
	// Mismatch: the SIM has another number.
	Mismatch
	// Denied: the operator or the visitor declined.
	Denied
	// Expired: the attempt took too long.
	Expired
)

// String names the class.
func (c Class) String() string {
	names := [...]string{
		"provider unavailable", "operator unavailable", "misconfigured", "number invalid", "number unsupported", "mismatch", "denied", "expired",
	}
	if int(c) >= len(names) {
		return names[ProviderUnavailable]
	}
	return names[c]
}

// Error is the error type of every method of a verifier: a call that failed, or a
// refusal. It is logged, so no field may hold a secret, a number, or text that the
// other side sent.
type Error struct {
	// Class decides what the visitor is told.
	Class Class
	// Call names the step: token, start, callback or result.
	Call string
	// ID is the provider's own error id, or empty.
	ID string
	// Operator is the mobile operator, if the provider names it with the refusal.
	// The gate makes it fit for logs.
	Operator string
	// Hint tells the site's operator what to do, or is empty.
	Hint string
	// Again says that the call for a result got no usable answer, and that asking
	// once more may get one. The gate asks three times in all.
	Again bool
	// Err is the cause, or nil.
	Err error
}

// Error returns the step, the id and the cause.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Call)
	b.WriteString(" call")
	if e.ID != "" {
		b.WriteString(": error id " + e.ID)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
