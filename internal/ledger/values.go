// Package ledger holds the records of the gate: what is kept of attempts and
// sessions, and how it is written where a cache stores bytes.
package ledger

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// NewValue returns an empty value of the type that records of kind hold.
func NewValue(kind cache.Kind) (any, error) {
	switch kind {
	case cache.KindSession:
		return new(Session), nil
	case cache.KindAttempt:
		return new(Attempt), nil
	case cache.KindPress:
		return new(Press), nil
	case cache.KindRefusal:
		return new(Refusal), nil
	case cache.KindGrant:
		return new(Grant), nil
	case cache.KindClaim:
		return new(Claim), nil
	case cache.KindFingerprint:
		return new(Fingerprint), nil
	default:
		return nil, fmt.Errorf("ledger: no values of kind %d", kind)
	}
}

// Session is a visitor's verification.
type Session struct {
	// PublicID names the session in logs; it opens nothing.
	PublicID string
	// Account is the verifier account that vouches for it.
	Account string
	// Number is the verified number in E.164, Region its ISO 3166-1 country.
	Number, Region string
	// Operator is the mobile operator, as the provider names it.
	Operator string
	// VerifiedAt is when the provider confirmed the number.
	VerifiedAt time.Time
	// Method is how the visitor was recognised; older records name none.
	Method verifier.Method `json:",omitempty"`

	at string // VerifiedAt, written once for many requests
}

// NewSession completes a session before it is stored.
func NewSession(s Session) *Session {
	s.at = s.VerifiedAt.UTC().Format(time.RFC3339)
	return &s
}

// At is VerifiedAt as upstreams get it: RFC 3339, in UTC.
func (s *Session) At() string {
	if s.at == "" {
		return NewSession(*s).at
	}
	return s.at
}

// How is the method by which the visitor was recognised.
func (s *Session) How() verifier.Method {
	if s.Method == "" {
		return verifier.Silent
	}
	return s.Method
}

// Phase is how far an attempt has come. The zero value is none, and refuses.
type Phase uint8

// The phases, in their order.
const (
	// PhaseStarted: the visitor was sent to the operator.
	PhaseStarted Phase = iota + 1
	// PhaseReturned: the right browser came back, the result is being asked for.
	PhaseReturned
	// PhaseProven: the provider has confirmed the number, no session exists yet.
	PhaseProven
	// PhaseEnded: nothing can come of it any more; Attempt.Outcome says why.
	PhaseEnded
)

// Attempt is one verification under way, or how it ended.
type Attempt struct {
	Phase Phase
	// Browser is the hash of the cookie of the browser that started it.
	Browser [sha256.Size]byte
	// Account, Number, Region and Operator become those of the session.
	Account, Number, Region, Operator string
	// Client names where it was started from: an HMAC of the address.
	Client string
	// Return is the path and query to go to after it.
	Return string
	// Method becomes that of the session.
	Method verifier.Method `json:",omitempty"`
	// State is the verifier's.
	State []byte
	// Deadline is until when a callback is accepted, AskUntil until when the
	// provider can be asked.
	Deadline, AskUntil time.Time

	// InFlight is what it counts as long as it has not ended, Counted what is
	// taken back if it ends verified.
	InFlight, Counted []cache.Counted

	// ReturnedAt is when the callback was accepted.
	ReturnedAt time.Time
	// AskAt is when the result may be asked for next; an asker that is at work
	// has moved it past the time that its call can take.
	AskAt time.Time
	// Asked counts the calls for the result, Failed those without a usable
	// answer.
	Asked, Failed int
	// ProvenAt is when the provider confirmed the number.
	ProvenAt time.Time
	// Outcome is "verified" or the code of the refusal, once Phase is
	// PhaseEnded.
	Outcome string
}

// Press is a press of the start button: while it lives, the same press again
// leads to the same attempt and is not billed twice.
type Press struct {
	// Attempt is the secret of the attempt's key.
	Attempt string
	// URL is where the browser is sent; empty while the provider is asked.
	URL string
	// Code is the refusal, where the start failed, and RetryAt when another one
	// may pass, where that is known.
	Code    string
	RetryAt time.Time
}

// Refusal explains to a browser why its last attempt failed. It blocks nothing.
type Refusal struct {
	Code string
}

// Grant lets the browser of a success come for its session once more, in case
// that the answer that carried the cookie got lost.
type Grant struct {
	// Attempt is the secret of the key of the attempt that it came of.
	Attempt string
	// Session is the session as it was given first.
	Session *Session
	// Given counts how often the session was given once more.
	Given int
}

// Claim marks a value that has served its one attempt.
type Claim struct{}

// Fingerprint tells keys apart that must be equal on all nodes.
type Fingerprint struct {
	Sum []byte
}
