package journal

import (
	"context"
	"math"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/phone"
)

// The audit has one line for the end of each attempt, and one for each act of somebody
// who runs the site. docs/audit.md describes its fields.

// verified is the outcome of an attempt that made a session.
const verified = "verified"

// Audit has the journal write the audit to log. Hash returns the keyed hash of a number.
// Call it before the journal is used.
func (j *Journal) Audit(log *zap.Logger, hash func(e164 string) string) {
	j.audit, j.hash = remembered.of(log), hash
}

// auditEnd writes the line of an attempt that has just ended.
func (j *Journal) auditEnd(ctx context.Context, a *ledger.Attempt, outcome, session string) {
	if j.audit == nil {
		return
	}
	fields := append(about(ctx), zap.String("outcome", outcome))
	if outcome != verified {
		fields = append(fields, zap.String("code", outcome))
	}
	j.audit.Info("attempt ended", slices.Concat(append(fields, number(a.Number)), present("number_hash", j.hash(a.Number)), legs(a, time.Now()),
		present("country", a.Region), present("operator", a.Operator), present("method", string(a.Method)),
		present("session", session), present("realm", requestOf(ctx).realm), present("texts", a.Texts))...)
}

// legs returns the time of each leg of an attempt. The leg in which it ended goes to the
// end. One that was not reached is left out, and one that an older record does not know.
func legs(a *ledger.Attempt, end time.Time) (fields []zap.Field) {
	leg := func(name string, from, to time.Time) {
		if !from.IsZero() && !to.IsZero() {
			fields = append(fields, zap.Float64(name, math.Round(max(0, to.Sub(from).Seconds())*1000)/1000))
		}
	}
	sent, returned := a.SentAt, a.ReturnedAt
	if a.AskUntil.IsZero() { // the provider has begun nothing
		sent = end
	}
	if returned.IsZero() {
		returned = end
	}
	leg("to_operator", a.StartedAt, sent)
	leg("at_operator", a.SentAt, returned)
	leg("result", a.ReturnedAt, end)
	leg("total", a.StartedAt, end)
	return fields
}

// Act is what somebody did who runs the site. One of Number (E.164), Session (a public
// id) and Realm (a host, or *.domain) says to what; none of them is to everything.
type Act struct {
	Number, Session, Realm string
	// Sessions is how many were ended or found; less than 0 where that is not known.
	Sessions int64
	// Failed says that the cache failed, so that a part may not have been done.
	Failed bool
}

// Revoked notes that sessions were ended by somebody who runs the site.
func (j *Journal) Revoked(ctx context.Context, a Act) {
	j.emitRevoked(a)
	if j.audit != nil {
		j.audit.Info("sessions revoked", append(j.fieldsOf(ctx, a), zap.String("act", "revoke"))...)
	}
}

// Searched notes that somebody who runs the site has asked for sessions.
func (j *Journal) Searched(ctx context.Context, a Act) {
	if j.audit != nil {
		j.audit.Info("sessions searched", append(j.fieldsOf(ctx, a), zap.String("act", "find"))...)
	}
}

// scope says what kind of thing the act was done to.
func (a Act) scope() string {
	switch {
	case a.Number != "":
		return "number"
	case a.Session != "":
		return "session"
	case a.Realm != "":
		return "realm"
	default:
		return "all"
	}
}

// what returns what the act was done to, as far as it may be told. A session that was not
// found may be anything that somebody has typed, such as a number without its plus.
func (a Act) what() string {
	switch {
	case a.Number != "":
		return phone.Mask(a.Number)
	case a.Session != "" && a.Sessions > 0:
		return a.Session
	default:
		return a.Realm
	}
}

func (j *Journal) fieldsOf(ctx context.Context, a Act) []zap.Field {
	fields := slices.Concat(about(ctx), []zap.Field{zap.String("scope", a.scope())}, present("what", a.what()))
	if a.Number != "" {
		fields = append(fields, present("number_hash", j.hash(a.Number))...)
	}
	if a.Sessions >= 0 {
		fields = append(fields, zap.Int64("sessions", a.Sessions))
	}
	if a.Failed {
		fields = append(fields, zap.Bool("failed", true))
	}
	return fields
}
