// Package quota counts starts against limits, in the cache, so that counts outlive
// a reload and are shared where it is: quota.go counts, measure.go says what is
// counted by, client.go where a start comes from, share.go what one network may
// use of the budget, and windows.go what the gates of one account share.
package quota

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// Quota is the limits of one gate.
type Quota struct {
	limits  Limits
	windows *Windows
	ledger  *ledger.Ledger
	journal *journal.Journal
	shut    shut
}

// New returns the quota of a gate whose attempts may be under way for flight.
// Windows are those of its account, none of whose gates serves yet.
func New(limits Limits, windows *Windows, flight time.Duration, l *ledger.Ledger, j *journal.Journal) *Quota {
	q := &Quota{limits: limits, windows: windows, ledger: l, journal: j}
	windows.add(&q.limits, flight)
	return q
}

// Start is what a start is counted by.
type Start struct {
	Number  string // E.164
	Browser string // the value of the browser cookie
	Client  Client
}

// Counted is a start that no limit refuses.
type Counted struct {
	// All is what it counts by; of it InFlight is taken back when the attempt
	// ends, Returned where it ends verified.
	All, InFlight, Returned []cache.Counted
}

// Reached says that a limit refuses a start. It is no error of anything.
type Reached struct {
	Code refusal.Code
	// RetryAt is when another start may pass; zero where that is not known.
	RetryAt time.Time
}

// Count counts a start against all limits, in one step. Where one is reached it
// counts nothing.
func (q *Quota) Count(ctx context.Context, s Start) (*Counted, *Reached) {
	sessions, err := q.ledger.Sessions(ctx)
	if err != nil {
		return nil, q.failed(err)
	}
	if sessions >= q.limits.Sessions {
		return nil, q.reached(ctx, s, "sessions", refusal.Busy)
	}
	if q.shut.has(s.Client.network) {
		return nil, q.overShare(ctx, s)
	}
	limits := q.limitsOf(s)
	asked := make([]cache.Limit, len(limits))
	for i := range limits {
		asked[i] = limits[i].Limit
	}
	counted, err := q.ledger.Count(ctx, asked)
	switch {
	case err != nil:
		return nil, q.refused(ctx, s, limits, err)
	case q.isOverShare(limits, counted):
		q.Uncount(ctx, counted)
		q.shut.add(s.Client.network)
		return nil, q.overShare(ctx, s)
	default:
		return q.sorted(limits, counted), nil
	}
}

// refused tells which limit has refused a start, if it was one.
func (q *Quota) refused(ctx context.Context, s Start, limits []limit, err error) *Reached {
	var reached *cache.LimitError
	switch {
	case errors.As(err, &reached):
		code := refusal.RateLimited
		if limits[reached.Limit].inFlight {
			code = refusal.Busy
		}
		told := q.reached(ctx, s, limits[reached.Limit].name, code)
		told.RetryAt = time.Now().Add(reached.Retry)
		return told
	case errors.Is(err, cache.ErrFull):
		return q.reached(ctx, s, "counters", refusal.Busy)
	default:
		return q.failed(err)
	}
}

func (q *Quota) failed(err error) *Reached { return &Reached{Code: q.journal.Failed("start", err)} }

func (q *Quota) reached(ctx context.Context, s Start, limit string, code refusal.Code) *Reached {
	q.journal.LimitReached(ctx, limit, s.Number, code)
	return &Reached{Code: code}
}

// overShare refuses a start whose network has used up its share.
func (q *Quota) overShare(ctx context.Context, s Start) *Reached {
	told := q.reached(ctx, s, "network", refusal.RateLimited)
	told.RetryAt = time.Now().Add(shareRetry)
	return told
}

// sorted sorts what a start counts by, and says so where the budget runs low.
func (q *Quota) sorted(limits []limit, events []cache.Counted) *Counted {
	counted := &Counted{All: events}
	for i, event := range events {
		switch l := limits[i]; {
		case l.inFlight:
			counted.InFlight = append(counted.InFlight, event)
		case l.returned:
			counted.Returned = append(counted.Returned, event)
		default:
			q.watchBudgets(l.Window, event.Total)
		}
	}
	return counted
}

// watchBudgets says so when starts reach 80 % of a budget of the account.
func (q *Quota) watchBudgets(window time.Duration, starts int64) {
	for _, budget := range q.windows.budgets {
		if budget.Window == window && starts == budgetWarning(budget.Max) {
			q.journal.BudgetLow(starts, budget.Max)
		}
	}
}

func budgetWarning(limit int64) int64 { return int64(math.Ceil(float64(limit) * 0.8)) }

// Release takes back what an attempt has counted, now that it has ended.
func (q *Quota) Release(ctx context.Context, a *ledger.Attempt, isVerified bool) {
	counted := a.InFlight
	if isVerified && q.refunds(ctx, a.Number) {
		counted = append(counted[:len(counted):len(counted)], a.Counted...)
	}
	q.Uncount(ctx, counted)
}

// refunds tells whether a start of a number may be taken back once more.
func (q *Quota) refunds(ctx context.Context, number string) bool {
	_, err := q.ledger.Count(ctx, []cache.Limit{{Key: q.ledger.CountKey("refunds", number), Max: refunds.Max, Window: refunds.Window}})
	var reached *cache.LimitError
	if err != nil && !errors.As(err, &reached) {
		q.journal.NotDone("refund not counted, so not given", err)
	}
	return err == nil
}

// Uncount takes back events. They leave by themselves where that fails.
func (q *Quota) Uncount(ctx context.Context, counted []cache.Counted) {
	if len(counted) == 0 {
		return
	}
	if err := q.ledger.Uncount(ctx, counted); err != nil {
		q.journal.NotDone("counts not taken back", err)
	}
}
