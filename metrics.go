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
		InFlight: func() (int64, bool) { return ask(a.ctx, a.records, (*gate.Gate).InFlight, plus) },
		Sessions: func() (int64, bool) {
			oneOfEach := make(map[home]*records)
			for at, r := range a.records {
				oneOfEach[home{store: at.store}] = r
			}
			return ask(a.ctx, oneOfEach, (*gate.Gate).Sessions, plus)
		},
		BudgetUsed: func() (float64, bool) {
			return ask(a.ctx, a.records, (*gate.Gate).BudgetUsed, func(a, b float64) float64 { return max(a, b) })
		},
	}
}

func plus(a, b int64) int64 { return a + b }

// ask asks about records, and joins what is known of them.
func ask[N int64 | float64](ctx context.Context, all map[home]*records, question func(*gate.Gate, context.Context) (N, bool), join func(a, b N) N) (answer N, isKnown bool) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTime)
	defer cancel()
	for _, r := range all {
		if n, ok := question(r.gates[0], ctx); ok {
			answer, isKnown = join(answer, n), true
		}
	}
	return answer, isKnown
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
