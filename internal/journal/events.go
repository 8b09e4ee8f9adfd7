package journal

import (
	"context"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// The names of events. docs/events.md describes their data.
const (
	eventVerified = "number_verify.verified"
	eventRefused  = "number_verify.refused"
	eventBurned   = "number_verify.burned"
	eventRevoked  = "number_verify.revoked"
)

// Events are the names of all events.
var Events = []string{eventVerified, eventRefused, eventBurned, eventRevoked}

// emit hands an event to handlers of others. Nobody waits for them.
func (j *Journal) emit(name string, data func() map[string]any) {
	if !j.events.Emit(name, data) {
		j.EventsDropped(1, "handlers are slower than events come")
	}
}

// EventsDropped notes that no handler is given so many events. While handlers are too slow
// visitors cause this as often as they like, so only samples are logged.
func (j *Journal) EventsDropped(n int, why string) {
	j.metrics.EventsDropped(n)
	log, leftOut := j.sampled("events dropped")
	log.Warn("events dropped", zap.Int("events", n), zap.String("why", why), zap.Int64("left_out", leftOut))
}

// emitEnd emits the event of an attempt that has just ended.
func (j *Journal) emitEnd(ctx context.Context, a *ledger.Attempt, outcome, session string) {
	name := eventRefused
	switch outcome {
	case verified:
		name = eventVerified
	case string(refusal.BrowserMismatch):
		name = eventBurned
	}
	j.emit(name, func() map[string]any {
		r := requestOf(ctx)
		data := map[string]any{
			"attempt": r.attempt, "reference": Reference(ctx), "outcome": outcome, "number": phone.Mask(a.Number),
			"country": a.Region, "operator": a.Operator, "method": string(a.Method), "client": r.client, "realm": r.realm,
		}
		if session != "" {
			data["session"] = session
		}
		return data
	})
}

// emitRevoked emits the event of a revocation.
func (j *Journal) emitRevoked(a Act) {
	j.emit(eventRevoked, func() map[string]any {
		data := map[string]any{"scope": a.scope()}
		if what := a.what(); what != "" {
			data[a.scope()] = what
		}
		if a.Sessions >= 0 {
			data["sessions"] = a.Sessions
		}
		if a.Failed {
			data["failed"] = true
		}
		return data
	})
}
