package attempt

import (
	"context"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/internal/tracing"
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

	// Stopped: no attempt was begun, since routes turned down what the visitor's
	// browser was given, again and again. With CookiesRequired it is the browser
	// that must change, else the configuration. After RetryAt the visitor may
	// start.
	Stopped struct {
		Code refusal.Code
		// ID is that of the browser's last attempt.
		ID, Return string
		RetryAt    time.Time
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
		// UnknownSession says that the visitor's cookie names a session that is
		// Unknown.
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
func (Stopped) isStep()    {}
func (Pending) isStep()    {}
func (Verified) isStep()   {}
func (Ended) isStep()      {}
func (Problem) isStep()    {}
func (Gone) isStep()       {}

// endSpan ends the span of what led to a step; ctx is that of its attempt, if there is one.
// The problem of a visitor who has gone is none.
func endSpan(ctx context.Context, span tracing.Span, step Step) {
	if _, ok := step.(Problem); ok && ctx.Err() != nil {
		step = Gone{}
	}
	facts := tracing.Facts{Reference: journal.Reference(ctx)}
	switch next := step.(type) {
	case ToOperator: // its facts were noted
		span.End("to_operator", tracing.Facts{})
	case Refused:
		span.End("refused", tracing.Facts{Code: next.Code, Reference: next.Reference})
	case Stopped:
		span.End("stopped", tracing.Facts{Code: next.Code, Reference: ledger.Reference(next.ID)})
	case Pending:
		span.End("pending", facts)
	case Verified:
		span.End("verified", facts)
	case Ended: // the code was noted when the attempt ended
		span.End("ended", facts)
	case Problem:
		facts.Code = next.Code
		span.End("problem", facts)
	case Gone:
		span.End("gone", facts)
	default: // a panic is on its way to net/http
		span.End("panic", facts)
	}
}

// Issued is a session and the value of its cookie.
type Issued struct {
	ID      string
	Session *ledger.Session
	// Ends is when the session ends at the latest.
	Ends time.Time
}
