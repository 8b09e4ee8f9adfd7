// Package quota counts starts against limits. The counts are in the cache, so that
// they outlive a reload, and nodes that share the cache share them.
//
//   - quota.go counts, by the measures of measure.go and the limits of limits.go.
//   - client.go says where a start comes from, share.go what part of the budget
//     one network may use.
//   - windows.go is what the gates of one account share.
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

// Quota counts the starts of one gate.
type Quota struct {
	limits  Limits
	windows *Windows
	ledger  *ledger.Ledger
	journal *journal.Journal
	shut    shut
}

// New returns the quota of a gate. Flight is how long its attempts may be under way.
// Windows are those of its account, none of whose gates may serve yet.
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

// Counted is a start that no limit refused, and what it added to the counts.
type Counted struct {
	All []cache.Counted
	// InFlight is the part of All that is taken back when the attempt ends,
	// Returned the part that is taken back only if it ends verified.
	InFlight, Returned []cache.Counted
}

// Reached says that a start was refused: mostly because a limit is reached.
type Reached struct {
	Code refusal.Code
	// RetryAt is when another start may pass; zero where that is not known.
	RetryAt time.Time
}

// Count counts a start against all limits in one step. If one is reached, nothing is
// counted.
func (q *Quota) Count(ctx context.Context, s Start) (*Counted, *Reached) {
	sessions, err := q.ledger.Held(ctx)
	if err != nil {
		return nil, q.failed(ctx, err)
	}
	if sessions >= q.limits.Sessions {
		return nil, q.reached(ctx, s, "sessions", refusal.Busy)
	}
	if q.shut.has(s.Client.network) {
		return nil, q.overShare(ctx, s)
	}
	bounds := q.bounds(s)
	limits := make([]cache.Limit, len(bounds))
	for i := range bounds {
		limits[i] = bounds[i].Limit
	}
	counted, err := q.ledger.Count(ctx, limits)
	switch {
	case err != nil:
		return nil, q.refused(ctx, s, bounds, err)
	case q.isOverShare(bounds, counted):
		q.Uncount(ctx, counted)
		q.shut.add(s.Client.network)
		return nil, q.overShare(ctx, s)
	default:
		return q.sorted(bounds, counted), nil
	}
}

// refused returns the refusal for an error of counting.
func (q *Quota) refused(ctx context.Context, s Start, bounds []bound, err error) *Reached {
	var full *cache.LimitError
	switch {
	case errors.As(err, &full):
		code := refusal.RateLimited
		if bounds[full.Limit].inFlight {
			code = refusal.Busy
		}
		reached := q.reached(ctx, s, bounds[full.Limit].name, code)
		reached.RetryAt = time.Now().Add(full.Retry)
		return reached
	case errors.Is(err, cache.ErrFull):
		return q.reached(ctx, s, "counters", refusal.Busy)
	default:
		return q.failed(ctx, err)
	}
}

func (q *Quota) failed(ctx context.Context, err error) *Reached {
	return &Reached{Code: q.journal.StartFailed(ctx, err)}
}

// reached logs which limit refused a start, and returns the refusal.
func (q *Quota) reached(ctx context.Context, s Start, limit string, code refusal.Code) *Reached {
	q.journal.LimitReached(ctx, limit, s.Number, code)
	return &Reached{Code: code}
}

// overShare refuses a start whose network has used up its share.
func (q *Quota) overShare(ctx context.Context, s Start) *Reached {
	reached := q.reached(ctx, s, "network", refusal.RateLimited)
	reached.RetryAt = time.Now().Add(shareRetry)
	return reached
}

// sorted sorts the counts of a start by when they are taken back, and warns when the
// budget runs low.
func (q *Quota) sorted(bounds []bound, events []cache.Counted) *Counted {
	counted := &Counted{All: events}
	for i, event := range events {
		switch b := bounds[i]; {
		case b.inFlight:
			counted.InFlight = append(counted.InFlight, event)
		case b.returned:
			counted.Returned = append(counted.Returned, event)
		default:
			q.watchBudgets(b.Window, event.Total)
		}
	}
	return counted
}

// InFlight returns how many attempts of the account are under way, on all nodes, as the
// limit counts them. It is not known where the cache cannot tell.
func (q *Quota) InFlight(ctx context.Context) (n int64, isKnown bool, err error) {
	if err := q.ledger.Ready(ctx); err != nil {
		return 0, false, err
	}
	return q.ledger.Total(ctx, cache.Limit{Key: q.ledger.CountKey(attemptsName, ""), Window: q.windows.flight})
}

// BudgetUsed returns how much of the account's budget is used, on all nodes: of several
// budgets, of the one of which most is used. It is not known where there is none, or
// where the cache cannot tell.
func (q *Quota) BudgetUsed(ctx context.Context) (ratio float64, isKnown bool, err error) {
	key := q.ledger.CountKey(globalName, "")
	for _, budget := range q.windows.budgets {
		starts, ok, err := q.ledger.Total(ctx, cache.Limit{Key: key, Window: budget.Window})
		if !ok || err != nil {
			return 0, false, err
		}
		ratio, isKnown = max(ratio, float64(starts)/float64(budget.Max)), true
	}
	return ratio, isKnown, nil
}

// watchBudgets warns when starts reach 80 % of a budget of the account.
func (q *Quota) watchBudgets(window time.Duration, starts int64) {
	for _, budget := range q.windows.budgets {
		if budget.Window == window && starts == budgetWarning(budget.Max) {
			q.journal.BudgetLow(starts, budget.Max)
		}
	}
}

func budgetWarning(limit int64) int64 { return int64(math.Ceil(float64(limit) * 0.8)) }

// Release takes back the counts of an attempt that has ended.
func (q *Quota) Release(ctx context.Context, a *ledger.Attempt, isVerified bool) {
	counted := a.InFlight
	if isVerified && q.countRefund(ctx, a.Number) {
		counted = append(counted[:len(counted):len(counted)], a.Counted...)
	}
	q.Uncount(ctx, counted)
}

// countRefund counts that a start of a number is taken back, and tells whether it may
// be.
func (q *Quota) countRefund(ctx context.Context, number string) (ok bool) {
	_, err := q.ledger.Count(ctx, []cache.Limit{{Key: q.ledger.CountKey("refunds", number), Max: maxRefunds.Max, Window: maxRefunds.Window}})
	var full *cache.LimitError
	if err != nil && !errors.As(err, &full) {
		q.journal.NotDone(ctx, "refund not counted, so not given", err)
	}
	return err == nil
}

// Uncount takes counts back. If that fails, they still end with their windows.
func (q *Quota) Uncount(ctx context.Context, counted []cache.Counted) {
	if len(counted) == 0 {
		return
	}
	if err := q.ledger.Uncount(ctx, counted); err != nil {
		q.journal.NotDone(ctx, "counts not taken back", err)
	}
}
