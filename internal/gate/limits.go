package gate

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/phone"
)

// Limits bound what visitors can start. Starts are counted per verifier account:
// those that reach the provider, whatever it answers.
type Limits struct {
	// NumberEach is how many starts of one number from one client address pass
	// within NumberWindow, NumberAll how many of it from all.
	NumberEach, NumberAll int64
	NumberWindow          time.Duration
	// Client is how many starts pass from one client address within
	// ClientWindow.
	Client       int64
	ClientWindow time.Duration
	// Global is how many starts pass in all within GlobalWindow; 0: any number.
	Global       int64
	GlobalWindow time.Duration
	// Attempts is how many attempts may be in flight.
	Attempts int64
	// Sessions is how many sessions a cache of this process may hold before no
	// attempt is begun any more.
	Sessions int64
}

const (
	// clientAttempts and browserAttempts are how many of the attempts in flight
	// may be one client address's, and one browser's.
	clientAttempts  = 200
	browserAttempts = 5
	// wideFactor is how much more than a client a whole IPv6 /48 may start,
	// which one customer may have.
	wideFactor = 10
)

// limit is one that a start has to pass. What becomes of the attempt decides what
// is taken back.
type limit struct {
	name string
	cache.Limit
	// returned says that the start is taken back when the attempt is verified:
	// nobody can use up what is somebody else's by being whom he says.
	returned bool
	// inFlight says that it is taken back when the attempt ends, however.
	inFlight bool
}

// limits are those of one start.
func (g *Gate) limits(s starter) []limit {
	l := &g.cfg.Limits
	flight := g.cfg.AttemptTTL + g.cfg.ResultWait
	all := []limit{
		{name: "number from one client", Limit: g.limit("number from client", s.number.E164+" "+s.client.near, l.NumberEach, l.NumberWindow), returned: true},
		{name: "number", Limit: g.limit("number", s.number.E164, l.NumberAll, l.NumberWindow), returned: true},
		{name: "client", Limit: g.limit("client", s.client.near, l.Client, l.ClientWindow), returned: true},
		{name: "attempts", Limit: g.limit("attempts", "", l.Attempts, flight), inFlight: true},
		{name: "attempts of one client", Limit: g.limit("attempts of client", s.client.near, clientAttempts, flight), inFlight: true},
		{name: "attempts of one browser", Limit: g.limit("attempts of browser", s.browser, browserAttempts, flight), inFlight: true},
	}
	if s.client.wide != "" {
		all = append(all, limit{name: "client's network", Limit: g.limit("network", s.client.wide, wideFactor*l.Client, l.ClientWindow), returned: true})
	}
	if l.Global > 0 {
		all = append(all, limit{name: "global", Limit: g.limit("global", "", l.Global, l.GlobalWindow)})
	}
	return all
}

func (g *Gate) limit(what, value string, most int64, window time.Duration) cache.Limit {
	secret := hex.EncodeToString(g.index.sum("limit "+what, value))
	return cache.Limit{Key: cache.Key{Kind: cache.KindCount, Realm: g.account, Secret: secret}, Max: most, Window: window}
}

// admit counts a start against all limits, in one step, and notes in the attempt
// what its end takes back. Where a limit is reached it returns the code, and how
// long it takes until that one is free again.
func (g *Gate) admit(ctx context.Context, s starter, attempt *cache.Attempt) (counted []cache.Counted, code Code, retry time.Duration) {
	c, err := g.cfg.Cache(ctx)
	if err != nil {
		return nil, g.failed("start", cacheError(err)), 0
	}
	if sized, ok := c.(cache.Sized); ok && sized.Sessions() >= g.cfg.Limits.Sessions {
		return nil, g.failed("start", cache.ErrFull), 0
	}
	limits := g.limits(s)
	asked := make([]cache.Limit, len(limits))
	for i := range limits {
		asked[i] = limits[i].Limit
	}
	counted, err = c.Count(ctx, asked)
	var reached *cache.LimitError
	if errors.As(err, &reached) && reached.Limit < len(limits) {
		return nil, g.limited(ctx, limits[reached.Limit], s), reached.Retry
	}
	if err != nil {
		return nil, g.failed("start", cacheError(err)), 0
	}
	for i, event := range counted {
		switch {
		case limits[i].inFlight:
			attempt.InFlight = append(attempt.InFlight, event)
		case limits[i].returned:
			attempt.Counted = append(attempt.Counted, event)
		case event.Total == budgetWarning(limits[i].Max):
			g.log.Warn("80 % of the global limit of starts is used", zap.Int64("starts", event.Total), zap.Int64("limit", limits[i].Max))
		}
	}
	return counted, "", 0
}

// limited tells the visitor's code for a limit that is reached.
func (g *Gate) limited(ctx context.Context, l limit, s starter) Code {
	code := RateLimited
	if l.inFlight {
		code = Busy
	}
	g.log.Warn("start refused by a limit", zap.String("limit", l.name), zap.String("code", string(code)), clientField(ctx),
		zap.String("number", phone.Mask(s.number.E164)))
	return code
}

func budgetWarning(limit int64) int64 { return int64(math.Ceil(float64(limit) * 0.8)) }

// release takes back what an attempt has counted, now that it has ended.
func (g *Gate) release(ctx context.Context, a *cache.Attempt, isVerified bool) {
	counted := a.InFlight
	if isVerified {
		counted = append(counted[:len(counted):len(counted)], a.Counted...)
	}
	g.uncount(ctx, counted)
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

// client is where a request comes from, as far as limits are concerned.
type client struct {
	// near is the address, or the /64 of an IPv6 address, of which a customer
	// has at least one. wide is its /48; "" for IPv4.
	near, wide string
}

// clientOf reads the client's address. What is none counts as one.
func (g *Gate) clientOf(r *http.Request) client {
	addr, err := netip.ParseAddr(g.cfg.ClientIP(r))
	if err != nil {
		return client{near: "unknown"}
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return client{near: addr.String()}
	}
	return client{near: netip.PrefixFrom(addr, 64).Masked().String(), wide: netip.PrefixFrom(addr, 48).Masked().String()}
}

// callerOf names a client to the breaker, and in the attempt, without its address:
// all of an IPv6 /48 is one, since one customer may have it.
func (g *Gate) callerOf(c client) string {
	return hex.EncodeToString(g.index.sum("client", cmp.Or(c.wide, c.near)))
}
