package verifier

import (
	"errors"
	"strings"

	"github.com/numberverify/caddy-number-verify/internal/remote"
)

// TransportError says in words of its own why a call gave no answer, for
// Error.Err. The errors of net/http quote what the other side sent, which may be
// a number or a secret.
func TransportError(err error) error { return remote.Plain(err) }

// ErrClaimed says that a value has already served another attempt.
var ErrClaimed = errors.New("already used for another attempt")

// Class is the kind of a refusal, which the gate decides on. The zero value
// counts as ProviderUnavailable.
type Class uint8

// The classes.
const (
	// ProviderUnavailable: the provider failed, or answered nonsense.
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
	// LinkUnusable: the provider answered, but no visitor can be sent to the
	// operator's URL. The visitor is told what ProviderUnavailable tells him; the
	// fault is one operator's, so it does not keep the provider from being called.
	LinkUnusable
)

// Error is a call that gave no outcome, or a refusal. It holds nothing secret
// or personal and no text of the other side, so that it can be logged: see
// TransportError.
type Error struct {
	// Class decides what the visitor is told.
	Class Class
	// Call names the step: token, start or result.
	Call string
	// ID is the provider's own error id, or empty.
	ID string
	// Operator is the mobile operator, where the provider names it with the
	// refusal.
	Operator string
	// Hint tells the site's operator what to do; empty where there is nothing.
	Hint string
	// Again says that no usable answer arrived, so that asking for the result
	// once more may give one.
	Again bool
	// Err is the cause, or nil.
	Err error
}

// Error tells the step, the id and the cause.
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
