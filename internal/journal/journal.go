// Package journal tells what happens to requests, attempts and sessions, with one method
// for each thing that happens: to the log, the audit, the counters, spans, and handlers of
// events. None of them is told a full number or address, a secret, or text that a remote
// side sent.
//
//   - journal.go has the methods, audit.go the audit, events.go what handlers are told.
//   - request.go is what the lines of one request have in common.
//   - sample.go limits lines that anybody can cause, memory.go remembers lines by their
//     reference.
package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/numberverify/caddy-number-verify/internal/events"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/metrics"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/internal/tracing"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// Journal writes to the log and the audit, counts for Prometheus, and emits events.
type Journal struct {
	log *zap.Logger
	// audit is nil where nothing is audited; see Audit.
	audit *zap.Logger
	hash  func(e164 string) string
	// unlogged is for lines that are only remembered.
	unlogged *zap.Logger
	metrics  *metrics.Metrics
	events   *events.Hub
	samples  sampler
}

// New returns a journal that writes to log, counts in the metrics of the process, and
// emits to its hub.
func New(log *zap.Logger) *Journal {
	return &Journal{
		log: remembered.of(log), unlogged: remembered.of(zap.NewNop()),
		metrics: metrics.Process, events: &events.Process,
	}
}

// Decided notes what was decided on a request. Every request comes here, and nothing
// is logged.
func (j *Journal) Decided(d metrics.Decision) { j.metrics.Decided(d) }

// AttemptStarted notes that the visitor is sent to the operator.
func (j *Journal) AttemptStarted(ctx context.Context, a *ledger.Attempt) {
	tracing.Note(ctx, tracing.Facts{Operator: a.Operator, Reference: Reference(ctx)})
	j.log.Info("attempt started", append(about(ctx), number(a.Number), zap.String("operator", a.Operator))...)
}

// AttemptBurned notes that the attempt was burned: its callback came from another
// browser, or not from the provider.
func (j *Journal) AttemptBurned(ctx context.Context, a *ledger.Attempt, why string) {
	j.metrics.AttemptRefused(ctx, refusal.BrowserMismatch, a.Operator)
	j.log.Warn("attempt burned", append(about(ctx), code(refusal.BrowserMismatch), number(a.Number), zap.String("why", why))...)
	j.attemptEnded(ctx, a, string(refusal.BrowserMismatch), "")
}

// NotVerified notes that the attempt ended with a refusal.
func (j *Journal) NotVerified(ctx context.Context, a *ledger.Attempt, c refusal.Code) {
	j.metrics.AttemptRefused(ctx, c, a.Operator)
	j.metrics.Took(ctx, a.StartedAt)
	j.log.Info("not verified", append(about(ctx), code(c), number(a.Number), zap.String("operator", a.Operator))...)
	j.attemptEnded(ctx, a, string(c), "")
}

// Verified notes that the attempt ended with a session.
func (j *Journal) Verified(ctx context.Context, a *ledger.Attempt, s *ledger.Session) {
	j.metrics.AttemptVerified(ctx, a.Operator)
	j.metrics.Took(ctx, a.StartedAt)
	j.log.Info("verified", append(about(ctx), zap.String("session", s.PublicID), number(s.Number),
		zap.String("operator", s.Operator), zap.Duration("took", a.ProvenAt.Sub(a.ReturnedAt)))...)
	j.attemptEnded(ctx, a, verified, s.PublicID)
}

// attemptEnded notes what all ends of attempts have in common. Outcome is verified or a
// code, session a public id or "".
func (j *Journal) attemptEnded(ctx context.Context, a *ledger.Attempt, outcome, session string) {
	facts := tracing.Facts{Operator: a.Operator}
	if outcome != verified {
		facts.Code = refusal.Code(outcome)
	}
	tracing.Note(ctx, facts)
	j.emitEnd(ctx, a, outcome, session)
	j.auditEnd(ctx, a, outcome, session)
}

// SessionGivenAgain notes that a browser had lost its session's cookie and got a
// new one.
func (j *Journal) SessionGivenAgain(ctx context.Context, s *ledger.Session) {
	j.log.Info("session given once more", append(about(ctx), zap.String("session", s.PublicID))...)
}

// GoesInCircles notes that a browser was given sessions again and again, within a
// minute, and that a route turned each of them down. Somebody has to mend the
// configuration.
func (j *Journal) GoesInCircles(ctx context.Context, s *ledger.Session, cause, hint string) {
	j.log.Error("verified again and again, and turned down", append(about(ctx), code(refusal.ProviderMisconfigured),
		number(s.Number), zap.String("cause", cause), zap.String("hint", hint))...)
}

// StartStopped notes that a browser that goes in circles was not verified again.
func (j *Journal) StartStopped(ctx context.Context, c refusal.Code) {
	j.metrics.AttemptRefused(ctx, c, "")
}

// SignedOut notes how many sessions of a browser were ended. PublicID is that of the
// session whose cookie the request carried, or "".
func (j *Journal) SignedOut(ctx context.Context, sessions int, publicID string) {
	fields := append(about(ctx), zap.Int("sessions", sessions))
	j.log.Info("signed out", append(fields, present("session", publicID)...)...)
}

// SignOutFailed notes that some of the browser's sessions may still be valid.
func (j *Journal) SignOutFailed(ctx context.Context, err error) {
	j.log.Error("sign-out failed", append(aboutRefusal(ctx), code(refusal.CacheUnavailable), zap.Error(err))...)
}

// Refused notes that a visitor was refused because of a mistake of their own; it
// logs no other refusal, since those are logged where they arise.
func (j *Journal) Refused(ctx context.Context, c refusal.Code) {
	if c.IsMistake() {
		j.log.Debug("visitor refused", append(aboutRefusal(ctx), code(c))...)
	}
}

// LimitReached notes that a limit refused a start. Anybody can cause this as often
// as they like, so only samples are logged.
func (j *Journal) LimitReached(ctx context.Context, limit, e164 string, c refusal.Code) {
	j.metrics.AttemptRefused(ctx, c, "")
	log, leftOut := j.sampled(limit)
	log.Warn("start refused by a limit", append(aboutRefusal(ctx), zap.String("limit", limit), code(c), number(e164), zap.Int64("left_out", leftOut))...)
}

// BudgetLow notes that most starts of the global limit are used.
func (j *Journal) BudgetLow(starts, limit int64) {
	j.log.Warn("80 % of the global limit of starts is used", zap.Int64("starts", starts), zap.Int64("limit", limit))
}

// CallsSuspended notes that the provider is not called for a while. Circuit is the
// state of the circuit breaker.
func (j *Journal) CallsSuspended(cause string, circuit fmt.Stringer) {
	j.log.Error("calls to the provider suspended", zap.String("cause", cause), zap.Stringer("state", circuit))
}

// CallsResumed notes that the provider is called again, or tried with one call.
func (j *Journal) CallsResumed(cause string, circuit fmt.Stringer) {
	j.log.Warn("calls to the provider resumed", zap.String("cause", cause), zap.Stringer("state", circuit))
}

// StartNotCalled notes that a start was refused because the provider is not called.
func (j *Journal) StartNotCalled(ctx context.Context, err error) refusal.Code {
	c := j.NotCalled(ctx, "start", err)
	j.metrics.AttemptRefused(ctx, c, "")
	return c
}

// NotCalled notes why the provider was not called, and returns the visitor's code.
// While calls are suspended anybody can cause this, so only samples are logged.
func (j *Journal) NotCalled(ctx context.Context, step string, err error) refusal.Code {
	c := refusal.Of(err)
	log, leftOut := j.sampled("provider not called")
	log.Info("provider not called", append(aboutRefusal(ctx), zap.String("step", step), code(c), zap.Error(err), zap.Int64("left_out", leftOut))...)
	return c
}

// StartFailed notes that a start failed; see Failed.
func (j *Journal) StartFailed(ctx context.Context, err error) refusal.Code {
	c, operator := j.Failed(ctx, "start", err), operatorOf(err)
	j.metrics.AttemptRefused(ctx, c, operator)
	tracing.Note(ctx, tracing.Facts{Code: c, Operator: operator})
	return c
}

// AttemptFailed notes that the attempt ended at its start; see Failed.
func (j *Journal) AttemptFailed(ctx context.Context, a *ledger.Attempt, err error) refusal.Code {
	c := j.StartFailed(ctx, err)
	ended := *a
	ended.Operator = operatorOf(err)
	j.attemptEnded(ctx, &ended, string(c), "")
	return c
}

// operatorOf returns the operator that an error names, or "".
func operatorOf(err error) string {
	if told, _ := errors.AsType[*verifier.Error](err); told != nil {
		return told.Operator
	}
	return ""
}

// Failed notes that a step failed, which somebody may have to act on, and returns
// the visitor's code.
func (j *Journal) Failed(ctx context.Context, step string, err error) refusal.Code {
	c := refusal.Of(err)
	fields := append(aboutRefusal(ctx), zap.String("step", step), code(c), zap.Error(err))
	told, _ := errors.AsType[*verifier.Error](err)
	if told != nil {
		fields = slices.Concat(fields, present("error_id", told.ID), present("operator", told.Operator), present("hint", told.Hint))
	}
	j.log.Log(severity(c, told, err), "verification failed", fields...)
	return c
}

// sampled returns the logger for the next line of a name, of which only samples are
// logged, and how many were left out since the last.
func (j *Journal) sampled(name string) (log *zap.Logger, leftOut int64) {
	leftOut, ok := j.samples.take(name)
	if !ok {
		return j.unlogged, 0
	}
	return j.log, leftOut
}

// severity returns an error's level where something must be repaired, and that of a
// warning where only many such failures matter.
func severity(c refusal.Code, told *verifier.Error, err error) zapcore.Level {
	switch {
	case errors.Is(err, context.Canceled):
		return zapcore.DebugLevel // the visitor went away
	case c.NeedsRepair():
		return zapcore.ErrorLevel
	case c == refusal.OperatorUnavailable, c == refusal.Busy, told != nil && told.Hint != "":
		return zapcore.WarnLevel
	default:
		return zapcore.InfoLevel
	}
}

// LookupFailed notes that the cache could not say whether there is a session.
func (j *Journal) LookupFailed(ctx context.Context, err error) {
	j.log.Error("session lookup failed", append(aboutRefusal(ctx), code(refusal.CacheUnavailable), zap.Error(err))...)
}

// NotDone notes that something could not be stored or removed, which the visitor
// does not feel.
func (j *Journal) NotDone(ctx context.Context, message string, err error) {
	j.log.Warn(message, append(about(ctx), zap.Error(err))...)
}

// AnswerNotEncoded notes that an answer could not be written as JSON.
func (j *Journal) AnswerNotEncoded(err error) { j.log.Error("answer not encoded", zap.Error(err)) }

// PageNotRendered notes that a page's template failed.
func (j *Journal) PageNotRendered(page string, err error) {
	j.log.Error("page not rendered", zap.String("page", page), zap.Error(err))
}

// ProviderCalled notes a call to the provider that was made, and its error. Who acts on
// the error logs it.
func (j *Journal) ProviderCalled(ctx context.Context, call string, took time.Duration, err error) {
	j.metrics.ProviderCalled(ctx, call, took, err)
}

// CacheFailed notes the method in which the cache failed. Who acts on the error logs it.
func (j *Journal) CacheFailed(method string) { j.metrics.CacheFailed(method) }

// VerifierPanicked notes the step in which the verifier panicked and the type of the
// panic's value. Its text may hold a secret.
func (j *Journal) VerifierPanicked(step string, p any) {
	j.log.Error("verifier panicked", zap.String("step", step), code(refusal.ProviderUnavailable),
		zap.String("type", fmt.Sprintf("%T", p)), zap.Stack("stack"))
}

// CachePanicked notes the method in which the cache panicked; see VerifierPanicked.
func (j *Journal) CachePanicked(method string, p any) {
	j.metrics.CacheFailed(method)
	j.log.Error("cache panicked", zap.String("step", method), code(refusal.CacheUnavailable),
		zap.String("type", fmt.Sprintf("%T", p)), zap.Stack("stack"))
}

// NotErased notes, at most once a minute, that sessions which were revoked could not be
// erased.
func (j *Journal) NotErased(err error) {
	if leftOut, ok := j.samples.takeEvery(time.Minute, "not erased"); ok {
		j.log.Warn("revoked sessions not erased", zap.Error(err), zap.Int64("left_out", leftOut))
	}
}

// OtherSecret notes, at most once a minute, that another node of the account has another
// secret, and so another index key.
func (j *Journal) OtherSecret() {
	if _, ok := j.samples.takeEvery(time.Minute, "other secret"); ok {
		j.log.Error("cache is used with another secret as well", zap.String("hint", "all nodes of this verifier account need the same client_secret, or the same secret of the cache; until then one does not find or count what the other stores. Expected once where the secret was just changed"))
	}
}

func number(e164 string) zap.Field { return zap.String("number", phone.Mask(e164)) }

func code(c refusal.Code) zap.Field { return zap.String("code", string(c)) }
