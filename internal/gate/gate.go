// Package gate is the HTTP side of the module: it decides which requests pass, and
// serves the endpoints that turn a visitor without a verification into one with
// it. It knows net/http and nothing of Caddy; what becomes of an attempt is the
// business of package attempt.
//
// A request goes through three parts: Strip removes what only the gate may say,
// ServeEndpoint answers everything under the gate's own path, and Check decides
// on a request of a protected route.
//
//   - A request: visit.go (what is known of it, stripping), cookie.go, origin.go,
//     readings.go (the ways to read its path), returnpath.go, check.go.
//   - The endpoints: endpoints.go, form.go, fields.go (what is posted), step.go
//     (what comes next).
//   - An answer: respond.go.
package gate

import (
	"context"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/attempt"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/pages"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/internal/quota"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// Config is what the endpoints and all routes of one gate share.
type Config struct {
	Verifier verifier.Verifier
	// Account is what all gates of the verifier's account share.
	Account *Account
	// Cache returns the opened cache. It may wait a little for one that is being
	// opened, and returns an error while there is none.
	Cache func(context.Context) (cache.Cache, error)
	// Secret is the secret from which the keys of the index are derived.
	Secret string
	Pages  *pages.Pages
	Log    *zap.Logger

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
	Limits   quota.Limits

	AttemptTTL, RefusedTTL, ResultWait time.Duration
	CookieName, CookieDomain           string
}

// Account is what all gates of a verifier account share.
type Account struct {
	name    string
	breaker *provider.Breaker
	windows quota.Windows
}

// NewAccount returns the account of that name, without gates.
func NewAccount(name string, log *zap.Logger) *Account {
	return &Account{name: name, breaker: provider.NewBreaker(journal.New(log))}
}

// Gate is one gate: its endpoints and what its routes have in common.
type Gate struct {
	cfg     Config
	desk    *attempt.Desk
	journal *journal.Journal
	// cookieMark tells this gate's cookies from a prefix in Visit.stripped.
	cookieMark string
	origins    []*origin
	cross      *http.CrossOriginProtection
}

// New makes a gate. Origins must have passed address.ParseOrigin. No gate of the
// account may serve yet.
func New(cfg Config) (*Gate, error) {
	g := &Gate{cfg: cfg, journal: journal.New(cfg.Log), cookieMark: "cookie " + cfg.CookieName, cross: http.NewCrossOriginProtection()}
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
	var err error
	g.desk, err = newDesk(cfg, g.journal)
	return g, err
}

// newDesk puts together what handles the attempts of a gate.
func newDesk(cfg Config, j *journal.Journal) (*attempt.Desk, error) {
	account := cfg.Account
	records, err := ledger.New(ledger.Config{Account: account.name, Secret: cfg.Secret, Cache: cfg.Cache, Panicked: j.CachePanicked})
	if err != nil {
		return nil, err
	}
	return attempt.New(attempt.Config{
		Ledger:   records,
		Provider: provider.New(cfg.Verifier, account.breaker, records, j),
		Quota:    quota.New(cfg.Limits, &account.windows, cfg.AttemptTTL+cfg.ResultWait, records, j),
		Journal:  j,
		Account:  account.name, Region: cfg.Region, Countries: cfg.Countries, KnowsNumbers: cfg.KnownNumber != nil,
		AttemptTTL: cfg.AttemptTTL, RefusedTTL: cfg.RefusedTTL, ResultWait: cfg.ResultWait,
	}), nil
}

// AddRoute tells the gate of a route. Call it before the gate serves.
func (g *Gate) AddRoute(terms attempt.Terms) { g.desk.AddRoute(terms) }

// CheckSecret says so where another node of the account has another secret.
func (g *Gate) CheckSecret(ctx context.Context) { g.desk.CheckSecret(ctx) }

// visitor is who makes the request, at an origin of the site.
func (g *Gate) visitor(r *http.Request, v *Visit, o *origin) attempt.Visitor {
	visitor := attempt.Visitor{Realm: o.realm}
	visitor.Browser, _ = v.secretCookie(o.browser)
	visitor.Session, _ = v.secretCookie(o.session)
	if g.cfg.KnownNumber != nil {
		visitor.Number = g.cfg.KnownNumber(r)
	}
	return visitor
}

// sessionTTL is how long the outcome of a verification is kept at most.
func (g *Gate) sessionTTL() time.Duration { return g.desk.Lenient().SessionTTL }
