package numberverify

import (
	"context"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/gate"
	"github.com/numberverify/caddy-number-verify/internal/metrics"
)

// scrapeTime is how long a cache may take to answer for a metric.
const scrapeTime = time.Second

// home is where records are: gates of one account and cache share them.
type home struct{ store, account, secret string }

// state returns what Prometheus is told of this configuration. Its gates must be
// complete.
func (a *App) state() *metrics.State {
	return &metrics.State{
		Breaker: func() (worst int) {
			for _, account := range a.accounts {
				worst = max(worst, account.BreakerState())
			}
			return worst
		},
		InFlight: func() (int64, bool) { return a.sum(a.records, (*gate.Gate).InFlight) },
		Sessions: func() (int64, bool) {
			oneOfEach := make(map[home]*records)
			for at, r := range a.records {
				oneOfEach[home{store: at.store}] = r
			}
			return a.sum(oneOfEach, (*gate.Gate).Sessions)
		},
	}
}

// sum adds up what is known of the records.
func (a *App) sum(all map[home]*records, ask func(*gate.Gate, context.Context) (int64, bool)) (sum int64, isKnown bool) {
	ctx, cancel := context.WithTimeout(a.ctx, scrapeTime)
	defer cancel()
	for _, r := range all {
		if n, ok := ask(r.gates[0], ctx); ok {
			sum, isKnown = sum+n, true
		}
	}
	return sum, isKnown
}

// decision returns what the handler decides on a request that it protects.
func (h *Handler) decision(verdict *gate.Verdict) metrics.Decision {
	switch {
	case verdict.Session != nil:
		return metrics.Verified
	case h.Optional:
		return metrics.Optional
	case verdict.Location != "":
		return metrics.Redirected
	default:
		return metrics.Refused
	}
}
