package attempt

import (
	"time"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// Step is what comes next for a visitor: one of the types below. Who answers it
// refuses where it is none that he knows.
//
//sumtype:decl
type Step interface{ isStep() }

type (
	// ToOperator sends the visitor to the operator.
	ToOperator struct{ URL string }

	// Refused says that no attempt was begun.
	Refused struct {
		Code refusal.Code
		// RetryAt is when another start may pass; zero where that is not known.
		RetryAt time.Time
	}

	// Pending says that the result is awaited.
	Pending struct{ ID, Return string }

	// Verified takes the visitor to where he wanted to go.
	Verified struct {
		Return string
		// Issued is a new session, whose cookie he needs; nil where he has one.
		Issued *Issued
	}

	// Ended takes the visitor to the form, which tells a refusal that is still
	// remembered.
	Ended struct {
		Return string
		// UnknownSession: see Found.
		UnknownSession bool
	}

	// Problem tells the visitor of a problem.
	Problem struct {
		Code refusal.Code
		// ID is the attempt's; "" where there is none.
		ID string
	}

	// Gone says that the visitor has hung up: there is nobody to answer.
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
