package attempt

import (
	"time"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// Step is what comes next for a visitor: one of the types below. Whoever answers a
// Step must refuse one that is not among them.
//
//sumtype:decl
type Step interface{ isStep() }

type (
	// ToOperator: the visitor goes to the operator.
	ToOperator struct{ URL string }

	// Refused: no attempt was begun; the visitor gets the form with the reason.
	Refused struct {
		Code refusal.Code
		// Reference is what the log calls the refusal; "" where nothing is logged yet.
		Reference string
		Return    string
		// RetryAt is when another start may pass; zero where that is not known.
		RetryAt time.Time
	}

	// Pending: the visitor waits for the result of the attempt of that id.
	Pending struct{ ID, Return string }

	// Verified: the visitor goes on to the return path.
	Verified struct {
		Return string
		// Issued is a new session, whose cookie must be set; nil where the visitor
		// has one.
		Issued *Issued
	}

	// Ended: the attempt failed. The visitor gets the form, which gives the reason
	// while that is remembered.
	Ended struct {
		Return string
		// UnknownSession is Found.Unknown of the visitor's session cookie.
		UnknownSession bool
	}

	// Problem: the visitor gets the page of that code.
	Problem struct {
		Code refusal.Code
		// ID is the attempt's; "" where there is none.
		ID string
	}

	// Gone: the visitor has hung up, so nobody reads an answer.
	Gone struct{}
)

func (ToOperator) isStep() {}
func (Refused) isStep()    {}
func (Pending) isStep()    {}
func (Verified) isStep()   {}
func (Ended) isStep()      {}
func (Problem) isStep()    {}
func (Gone) isStep()       {}

// Issued is a session and the value of its cookie.
type Issued struct {
	ID      string
	Session *ledger.Session
	// Ends is when the session ends at the latest.
	Ends time.Time
}
