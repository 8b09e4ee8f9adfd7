package gate

import (
	"context"
	"errors"
	"math"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/phone"
)

// admission is a start that no limit refuses, and the breaker lets through.
type admission struct {
	// called is to be told of the provider's calls, the first time counts.
	called func(error)
	// counted is what the start counts by; of it inFlight is taken back when
	// the attempt ends, returned where it ends verified.
	counted, inFlight, returned []cache.Counted
}

// roomWait is how long a start waits for others' calls to end where too many are
// under way: a burst is to pass as its limits say.
const roomWait = 2 * time.Second

// admit lets a start through, counted against all limits in one step, or returns
// the press that is refused. What is refused has stored nothing.
func (g *Gate) admit(ctx context.Context, s starter) (*admission, *ledger.Press) {
	breaker, by := g.cfg.Account.breaker, caller{s.number.E164, g.callerOf(s.client)}
	ctx, cancel := context.WithTimeout(ctx, roomWait)
	defer cancel()
	// first of all: not even counters may be made by what is not called
	if err := whenRoom(ctx, func() error { return breaker.Refuses(by) }); err != nil {
		return nil, g.notCalled(err)
	}
	admitted, refused := g.count(context.WithoutCancel(ctx), s)
	if refused != nil {
		return nil, refused
	}
	// only now: what a limit refuses must not take up calls
	err := whenRoom(ctx, func() (err error) {
		admitted.called, err = breaker.Start(by)
		return err
	})
	if err != nil {
		g.uncount(context.WithoutCancel(ctx), admitted.counted)
		return nil, g.notCalled(err)
	}
	return admitted, nil
}

// whenRoom asks again, until ctx ends, while too many calls are under way.
func whenRoom(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if !errors.Is(err, errCrowded) || !pause(ctx, pressPoll) {
			return err
		}
	}
}

// withdraw undoes an admission whose provider was not called.
func (g *Gate) withdraw(ctx context.Context, a *admission) {
	a.called(errNotCalled)
	g.uncount(ctx, a.counted)
}

// notCalled is the press of a start for which the provider may not be called.
func (g *Gate) notCalled(err error) *ledger.Press {
	return &ledger.Press{Code: string(g.notAllowed("start", err)), RetryAt: suspendedUntil(err)}
}

// count counts a start against all limits, in one step. Where one is reached it
// returns the press that is refused, and until when.
func (g *Gate) count(ctx context.Context, s starter) (*admission, *ledger.Press) {
	c, err := g.cfg.Cache(ctx)
	if err != nil {
		return nil, pressOf(g.failed("start", cacheError(err)))
	}
	if sized, ok := c.(cache.Sized); ok && sized.Sessions() >= g.cfg.Limits.Sessions {
		return nil, pressOf(g.limited(ctx, "sessions", s, Busy))
	}
	if g.shut.has(s.client.network) {
		return nil, g.overShare(ctx, s)
	}
	limits := g.limits(s)
	asked := make([]cache.Limit, len(limits))
	for i := range limits {
		asked[i] = limits[i].Limit
	}
	counted, err := c.Count(ctx, asked)
	var reached *cache.LimitError
	switch {
	case err == nil && g.isOverShare(limits, counted):
		g.uncount(ctx, counted)
		g.shut.add(s.client.network)
		return nil, g.overShare(ctx, s)
	case err == nil:
		return g.admission(limits, counted), nil
	case errors.As(err, &reached) && reached.Limit < len(limits):
		code := RateLimited
		if limits[reached.Limit].inFlight {
			code = Busy
		}
		return nil, &ledger.Press{Code: string(g.limited(ctx, limits[reached.Limit].name, s, code)), RetryAt: time.Now().Add(reached.Retry)}
	case errors.Is(err, cache.ErrFull):
		return nil, pressOf(g.limited(ctx, "counters", s, Busy))
	default:
		return nil, pressOf(g.failed("start", cacheError(err)))
	}
}

// overShare is the press of a start whose network has used up its share.
func (g *Gate) overShare(ctx context.Context, s starter) *ledger.Press {
	return &ledger.Press{Code: string(g.limited(ctx, "network", s, RateLimited)), RetryAt: time.Now().Add(shareRetry)}
}

// admission sorts what a start counts by, and says so where the budget runs low.
func (g *Gate) admission(limits []limit, counted []cache.Counted) *admission {
	admitted := &admission{counted: counted}
	for i, event := range counted {
		switch l := limits[i]; {
		case l.inFlight:
			admitted.inFlight = append(admitted.inFlight, event)
		case l.returned:
			admitted.returned = append(admitted.returned, event)
		default:
			g.watchBudgets(l.Window, event.Total)
		}
	}
	return admitted
}

// watchBudgets says so when starts reach 80 % of a budget of the account.
func (g *Gate) watchBudgets(window time.Duration, starts int64) {
	for _, budget := range g.cfg.Account.budgets {
		if budget.Window == window && starts == budgetWarning(budget.Max) {
			g.log.Warn("80 % of the global limit of starts is used", zap.Int64("starts", starts), zap.Int64("limit", budget.Max))
		}
	}
}

// limited logs a start that is refused by a limit, and returns its code. Anybody
// can cause it, as often as he likes, so it is logged in samples.
func (g *Gate) limited(ctx context.Context, name string, s starter, code Code) Code {
	if leftOut, ok := g.samples.take(name); ok {
		g.log.Warn("start refused by a limit", zap.String("limit", name), zap.String("code", string(code)), clientField(ctx),
			zap.String("number", phone.Mask(s.number.E164)), zap.Int64("left_out", leftOut))
	}
	return code
}

func budgetWarning(limit int64) int64 { return int64(math.Ceil(float64(limit) * 0.8)) }

// release takes back what an attempt has counted, now that it has ended.
func (g *Gate) release(ctx context.Context, a *ledger.Attempt, isVerified bool) {
	counted := a.InFlight
	if isVerified && g.refunds(ctx, a.Number) {
		counted = append(counted[:len(counted):len(counted)], a.Counted...)
	}
	g.uncount(ctx, counted)
}

// refunds tells whether a start of a number may be taken back once more.
func (g *Gate) refunds(ctx context.Context, number string) bool {
	c, err := g.cfg.Cache(ctx)
	if err == nil {
		_, err = c.Count(ctx, []cache.Limit{{Key: g.countKey("refunds", number), Max: refunds.Max, Window: refunds.Window}})
	}
	var reached *cache.LimitError
	if err != nil && !errors.As(err, &reached) {
		g.log.Warn("refund not counted, so not given", zap.Error(err))
	}
	return err == nil
}

// uncount takes back events. They leave by themselves where that fails.
func (g *Gate) uncount(ctx context.Context, counted []cache.Counted) {
	if len(counted) == 0 {
		return
	}
	c, err := g.cfg.Cache(ctx)
	if err == nil {
		err = c.Uncount(ctx, counted)
	}
	if err != nil {
		g.log.Warn("counts not taken back", zap.Error(err))
	}
}
