package gate

import (
	"net/http"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/attempt"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// answer answers with what comes next for the visitor. After a callback that is always
// a redirect, so that no token stays in an address bar.
func (x *exchange) answer(step attempt.Step) {
	switch next := step.(type) {
	case attempt.ToOperator:
		x.sendTo(next.URL)
	case attempt.Refused:
		x.startRefused(next)
	case attempt.Stopped:
		x.stopped(next)
	case attempt.Verified:
		if next.Issued != nil {
			x.setSessionCookie(next.Issued)
		}
		x.redirect(x.w, returnPath(next.Return, x.cfg.Path))
	case attempt.Pending:
		x.redirect(x.w, x.waitURL(next.ID))
	case attempt.Ended:
		x.redirect(x.w, x.formURL(returnPath(next.Return, x.cfg.Path), 0, next.UnknownSession))
	case attempt.Problem:
		x.sendToProblem(next)
	case attempt.Gone: // nobody reads an answer
	default:
		x.redirect(x.w, x.problemURL(refusal.AttemptUnknown)) // fail closed
	}
}

// sendToProblem sends the visitor to the page of a problem.
func (x *exchange) sendToProblem(next attempt.Problem) {
	if next.ID != "" {
		x.about(journal.WithAttempt(x.r.Context(), next.ID))
	}
	x.noteRefusal(next.Code)
	x.redirect(x.w, x.problemURL(next.Code)+"?reference="+journal.Reference(x.r.Context()))
}

// sendTo sends the visitor to the operator.
func (x *exchange) sendTo(location string) {
	if wantsJSON(x.r) {
		x.writeJSON(x.w, http.StatusOK, "application/json", map[string]string{"redirect_url": location})
		return
	}
	x.redirect(x.w, location)
}

func (x *exchange) setSessionCookie(issued *attempt.Issued) {
	c := x.origin.sessionCookie
	c.Value = issued.ID
	c.MaxAge = max(1, int(time.Until(issued.Ends).Seconds()))
	http.SetCookie(x.w, &c)
}
