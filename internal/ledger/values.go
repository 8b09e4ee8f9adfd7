package ledger

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"reflect"
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
	case cache.KindShared:
		return new(Shared), nil
	default:
		return nil, fmt.Errorf("ledger: no values of kind %d", kind)
	}
}

// Session is a visitor's verification.
type Session struct {
	// PublicID names the session in logs; it opens nothing.
	PublicID string
	// Account is the verifier account that made the verification.
	Account string
	// Number is the verified number in E.164, Region its ISO 3166-1 country.
	Number, Region string
	// Operator is the mobile operator, as the provider names it.
	Operator string
	// VerifiedAt is when the provider confirmed the number.
	VerifiedAt time.Time
	// Method is how the visitor was recognised; "" in older records. See How.
	Method verifier.Method `json:",omitempty"`

	at string // VerifiedAt as text, made once for all requests
}

// NewSession returns a session that is ready to be stored.
func NewSession(s Session) *Session {
	s.at = s.VerifiedAt.UTC().Format(time.RFC3339)
	return &s
}

// At returns VerifiedAt in the form that upstreams get: RFC 3339, in UTC.
func (s *Session) At() string {
	if s.at == "" {
		return NewSession(*s).at
	}
	return s.at
}

// How returns the method by which the visitor was recognised.
func (s *Session) How() verifier.Method {
	if s.Method == "" {
		return verifier.Silent
	}
	return s.Method
}

// Phase is how far an attempt has come. The zero value is no phase: such an attempt
// refuses.
type Phase uint8

// The phases, in their order.
const (
	// PhaseStarted: the visitor was sent to the operator.
	PhaseStarted Phase = iota + 1
	// PhaseReturned: the right browser came back; the result is being asked for.
	PhaseReturned
	// PhaseProven: the provider has confirmed the number; there is no session yet.
	PhaseProven
	// PhaseEnded: the attempt is over; Attempt.Outcome says how it ended.
	PhaseEnded
)

// Attempt is a verification that is under way or has ended.
type Attempt struct {
	Phase Phase
	// Browser is the hash of the cookie of the browser that started it.
	Browser [sha256.Size]byte
	// Account, Number, Region and Operator become those of the session.
	Account, Number, Region, Operator string
	// Client names the network that it was started from; see ClientName.
	Client string
	// Return is the path and query that the visitor goes to afterwards.
	Return string
	// Method becomes that of the session.
	Method verifier.Method `json:",omitempty"`
	// State is the verifier.State of the attempt.
	State []byte
	// No callback is accepted from Deadline on. The provider can be asked until
	// AskUntil.
	Deadline, AskUntil time.Time

	// InFlight are the counts to take back when the attempt ends, Counted those
	// to take back only if it ends verified.
	InFlight, Counted []cache.Counted

	// StartedAt is when the button was pressed, SentAt when the visitor was sent to
	// the operator; zero in older records.
	StartedAt time.Time `json:",omitzero"`
	SentAt    time.Time `json:",omitzero"`
	// ReturnedAt is when the callback was accepted.
	ReturnedAt time.Time
	// AskAt is when the result may be asked for next. While a call is under way
	// it lies after the latest time at which that call can end.
	AskAt time.Time
	// Asked counts the calls for the result, Failed those without a usable
	// answer.
	Asked, Failed int
	// ProvenAt is when the provider confirmed the number.
	ProvenAt time.Time
	// Outcome is "verified" or the code of the refusal, once Phase is
	// PhaseEnded.
	Outcome string
	// Texts is the version of the text that the visitor saw; "" in older records.
	Texts string `json:",omitempty"`
}

// Press is a press of the start button. While the record lives, the same press again
// leads to the same attempt, so that it is not billed twice.
type Press struct {
	// Attempt is the attempt's id.
	Attempt string
	// URL is where the browser is sent; "" while the provider is asked: the press
	// is reserved then, and the same press elsewhere waits for its answer.
	URL string
	// Code is the refusal of a start that failed. RetryAt is when another start
	// may pass; zero where that is not known.
	Code    string
	RetryAt time.Time
	// Reference is the reference of such a start.
	Reference string `json:",omitempty"`
}

// Refusal is why a browser's last attempt failed. It explains, and blocks nothing.
type Refusal struct {
	Code string
	// Reference is that of the attempt; "" in older records.
	Reference string `json:",omitempty"`
}

// Grant lets a verified browser fetch its session once more, in case the answer with
// the cookie got lost.
type Grant struct {
	// Attempt is the id of the attempt that made the session.
	Attempt string
	// Session is the session as it was given first.
	Session *Session
	// Given counts how often the session was given again.
	Given int
	// Fresh is the public id of the session that was given last, until a route turns
	// it down.
	Fresh string `json:",omitempty"`
	// TurnedDown are the times of the last sessions that a route turned down, the
	// latest last, and Misfit is why it did with that one.
	TurnedDown []time.Time `json:",omitempty"`
	Misfit     string      `json:",omitempty"`
}

// Claim notes that a token has served an attempt and must serve no other.
type Claim struct{}

// Shared is what all nodes of a verifier account share; see shared.go.
type Shared struct {
	// Sum is a hash made with the index key. Nodes that have different keys find out by
	// it.
	Sum []byte
	// Keys are copies of the index key, each encrypted with a secret, by the id of the
	// secret.
	Keys map[string]EncryptedKey `json:",omitempty"`
	// All is a number that grows with each revocation of everything, Scopes are those of
	// one scope.
	All    uint64            `json:",omitempty"`
	Scopes map[string]uint64 `json:",omitempty"`
	// Unerased says that there may be sessions from before a revocation.
	Unerased bool `json:",omitempty"`
}

// EncryptedKey is an index key, encrypted with a secret.
type EncryptedKey struct {
	// Sum is the Shared.Sum of the key.
	Sum []byte
	Box []byte
}

func (s *Shared) clone() *Shared {
	return &Shared{s.Sum, maps.Clone(s.Keys), s.All, maps.Clone(s.Scopes), s.Unerased}
}

// equals tells whether the records say the same. Other may be nil.
func (s *Shared) equals(other *Shared) bool { return other != nil && reflect.DeepEqual(s, other) }
