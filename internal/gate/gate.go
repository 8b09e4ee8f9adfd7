// Package gate is the core of the module: it decides which requests pass, and
// serves the endpoints that turn a visitor without a verification into one with
// it. It knows net/http and nothing of Caddy.
//
// A request goes through three parts: Strip removes what only the gate may say,
// ServeEndpoint answers everything under the gate's own path, and Check decides
// on a request of a protected route.
//
//   - A request: visit.go (what is known of it, stripping), cookie.go, origin.go,
//     readings.go (the ways to read its path), returnpath.go, check.go.
//   - An answer: respond.go, code.go.
//   - An attempt: endpoints.go, presses.go (equal presses become one), start.go,
//     attempt.go (callback and result), session.go (what it ends in, sign-out).
//   - Whether a start is admitted: admit.go, with limits.go (what is counted),
//     account.go (what gates of one account share) and breaker.go.
//   - A verifier, and what it says: provider.go (its panics), and package provider.
//   - The cache's keys: index.go. The log: log.go, sample.go.
package gate

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/pages"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// errCache marks failures of the cache, as opposed to misses.
var errCache = errors.New("cache failed")

// touchesPerIdle is how finely the idle time is measured.
const touchesPerIdle = 60

// Config is what the endpoints and all routes of one gate share.
type Config struct {
	Verifier verifier.Verifier
	// Account is what all gates of the verifier's account share.
	Account *Account
	// Cache returns the opened cache. It may wait a little for one that is being
	// opened, and returns an error while there is none.
	Cache func(context.Context) (cache.Cache, error)
	Pages *pages.Pages
	Log   *zap.Logger

	// Origins are the addresses of the site as visitors see it, the main one
	// first. Without any the gate serves loopback hosts only.
	Origins []string
	// Path is where the endpoints are, without a final slash.
	Path string
	// Region is how a national number is read; Countries are those accepted.
	Region    string
	Countries []string
	// KnownNumber returns the number that the site knows of the visitor, or
	// "". Nil where the visitor types it.
	KnownNumber func(*http.Request) string

	// ClientIP returns the address that a request comes from, as the site's
	// proxies tell it.
	ClientIP func(*http.Request) string
	Limits   Limits
	// Secret is what the keys are derived from that numbers are found by.
	Secret string

	AttemptTTL, RefusedTTL, ResultWait time.Duration
	CookieName, CookieDomain           string
}

// Route is what routes that share their endpoints may differ in.
type Route struct {
	// MaxAge is how old a verification may be; 0: any age.
	MaxAge time.Duration
	// SessionTTL is how long a verification holds here, SessionIdle how long
	// without a request; 0: for ever.
	SessionTTL, SessionIdle time.Duration

	// endpoint says that it is no route of the site: its requests are no use of
	// a session.
	endpoint bool
}

// Gate is one gate: its endpoints and what its routes have in common. It keeps
// nothing about visitors itself; all that is in the cache.
type Gate struct {
	cfg     Config
	log     *zap.Logger
	account string // the verifier's
	index   *index
	numbers phone.Rules
	// cookieMark tells this gate's cookies from a prefix in Visit.stripped.
	cookieMark string
	origins    []*origin
	cross      *http.CrossOriginProtection

	// The longest of all routes: how long the cache keeps a session.
	sessionTTL, sessionIdle time.Duration
	// touchEvery is how often a session's use is noted; 0: never.
	touchEvery time.Duration
	routes     int

	presses presses
	samples sampler
	shut    shut
}

// New makes a gate. Origins must have passed address.ParseOrigin.
func New(cfg Config) (*Gate, error) {
	g := &Gate{cfg: cfg, log: cfg.Log, account: cfg.Verifier.Account(), cookieMark: "cookie " + cfg.CookieName, cross: http.NewCrossOriginProtection()}
	for _, s := range cfg.Origins {
		u, err := address.ParseOrigin(s)
		if err != nil {
			return nil, err
		}
		o := newOrigin(u.Scheme, u.Host, cfg.CookieName, strings.ToLower(cfg.CookieDomain))
		if err := g.cross.AddTrustedOrigin(o.url); err != nil {
			return nil, err
		}
		g.origins = append(g.origins, o)
	}
	g.numbers = phone.Rules{Region: cfg.Region, Countries: cfg.Countries, Understands: g.understands}
	cfg.Account.add(&g.cfg.Limits, cfg.AttemptTTL+cfg.ResultWait)
	var err error
	g.index, err = newIndex(cfg.Secret, g.account)
	return g, err
}

// AddRoute makes the gate keep sessions as long as any of its routes may want
// them. Call it before the gate serves.
func (g *Gate) AddRoute(route Route) {
	g.sessionTTL = max(g.sessionTTL, route.SessionTTL)
	if g.routes == 0 || (g.sessionIdle > 0 && route.SessionIdle > g.sessionIdle) || route.SessionIdle == 0 {
		g.sessionIdle = route.SessionIdle
	}
	if every := route.SessionIdle / touchesPerIdle; every > 0 && (g.touchEvery == 0 || every < g.touchEvery) {
		g.touchEvery = every
	}
	g.routes++
}

// endpointRoute is the most lenient route: the endpoints belong to all routes.
func (g *Gate) endpointRoute() Route {
	return Route{SessionTTL: g.sessionTTL, SessionIdle: g.sessionIdle, endpoint: true}
}

// get reads a record whose value has the type T. A miss is cache.ErrNotFound;
// every other error wraps errCache.
func get[T any](ctx context.Context, g *Gate, key cache.Key) (*T, *cache.Record, error) {
	c, err := g.cfg.Cache(ctx)
	if err != nil {
		return nil, nil, cacheError(err)
	}
	rec, err := c.Get(ctx, key)
	if err != nil {
		return nil, nil, cacheError(err)
	}
	value, ok := rec.Value.(*T)
	if !ok {
		return nil, nil, cacheError(errors.New("record of another type"))
	}
	return value, rec, nil
}

func (g *Gate) put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	c, err := g.cfg.Cache(ctx)
	if err != nil {
		return cacheError(err)
	}
	return cacheError(c.Put(ctx, key, rec))
}

func (g *Gate) replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	c, err := g.cfg.Cache(ctx)
	if err != nil {
		return cacheError(err)
	}
	return cacheError(c.Replace(ctx, key, old, rec))
}

func (g *Gate) find(ctx context.Context, tag cache.Tag) ([]cache.Ref, error) {
	c, err := g.cfg.Cache(ctx)
	if err != nil {
		return nil, cacheError(err)
	}
	refs, err := c.Find(ctx, tag)
	return refs, cacheError(err)
}

func (g *Gate) remove(ctx context.Context, ref cache.Ref) error {
	c, err := g.cfg.Cache(ctx)
	if err != nil {
		return cacheError(err)
	}
	return cacheError(c.Delete(ctx, ref))
}

// cacheError keeps the answers that a cache gives by design and marks every
// other error as a failure.
func cacheError(err error) error {
	if err == nil || errors.Is(err, cache.ErrNotFound) || errors.Is(err, cache.ErrConflict) || errors.Is(err, cache.ErrFull) {
		return err
	}
	return errors.Join(errCache, err)
}

// accepts tells whether numbers of that country may pass here.
func (g *Gate) accepts(region string) bool {
	return slices.Contains(g.cfg.Countries, region)
}
