// Package gate is the HTTP side of the module: it decides which requests pass, and
// serves the endpoints by which visitors get verified. It knows net/http but not
// Caddy; package attempt decides what becomes of an attempt.
//
// Strip removes what only the gate may say, ServeEndpoint answers all requests under
// the gate's own path, and Check decides on a request of a protected route.
//
//   - A request: visit.go (what is known of it, and what is removed from it),
//     cookie.go, origin.go, readings.go (the ways to read its path),
//     returnpath.go, check.go.
//   - The endpoints: endpoints.go, form.go, fields.go (posted fields), step.go (what
//     comes next in an attempt).
//   - An answer: respond.go.
package gate

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/attempt"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/metrics"
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
	// Store names the cache. Gates of one account and store share what they know of it.
	Store string
	// Secrets encrypt the index key, the current one first.
	Secrets []string
	Pages   *pages.Pages
	Log     *zap.Logger
	// Audit is where the audit is written; nil: nowhere.
	Audit *zap.Logger

	// Origins are the addresses of the site as visitors see it, the main one
	// first. Without any the gate serves loopback hosts only.
	Origins []string
	// Path is where the endpoints are, without a final slash.
	Path string
	// Region is the country whose national numbers may be typed, Countries are
	// those whose numbers are accepted.
	Region    string
	Countries []string
	// KnownNumber returns the visitor's number as the site knows it, or "". It is
	// nil where visitors type their numbers.
	KnownNumber func(*http.Request) string
	// ClientIP returns the visitor's address, behind the proxies that the site
	// trusts.
	ClientIP func(*http.Request) string
	Limits   quota.Limits

	AttemptTTL, RefusedTTL, ResultWait time.Duration
	CookieName, CookieDomain           string
}

// Gate is one gate, with its endpoints. All its routes share it.
type Gate struct {
	cfg     Config
	desk    *attempt.Desk
	journal *journal.Journal
	// cookieMark notes in Visit.stripped that this gate's cookies were removed.
	cookieMark string
	origins    []*origin
	cross      *http.CrossOriginProtection
	// texts are the versions of the form's text, by language.
	texts map[string]string
}

// New returns a gate. No gate of its account may serve yet.
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

// newDesk returns what handles the attempts of a gate.
func newDesk(cfg Config, j *journal.Journal) (*attempt.Desk, error) {
	account := cfg.Account
	records, err := account.ledger(cfg, j)
	if err != nil {
		return nil, err
	}
	if cfg.Audit != nil {
		j.Audit(cfg.Audit, records.NumberHash)
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

// AddRoute adds a route. Call it before the gate serves.
func (g *Gate) AddRoute(terms attempt.Terms) {
	g.desk.AddRoute(terms)
	g.texts = g.cfg.Pages.Versions(g.sessionTTL())
}

// Scopes returns the scopes of the gate's realms, by which they are revoked: hosts, or
// *.domain. There are none where the gate serves any loopback host.
func (g *Gate) Scopes() []string {
	var scopes []string
	for _, o := range g.origins {
		scopes = append(scopes, ledger.Scope(o.realm))
	}
	return scopes
}

// ScopesOf returns the scopes that a realm names here: a host, or a cookie domain with
// or without *.
func (g *Gate) ScopesOf(realm string) []string {
	scopes := g.Scopes()
	if len(g.origins) == 0 && address.IsLoopback(realm) {
		scopes = []string{ledger.Scope(newOrigin("http", realm, g.cfg.CookieName, g.cfg.CookieDomain).realm)}
	}
	return slices.DeleteFunc(scopes, func(scope string) bool { return scope != realm && scope != "*."+realm })
}

// Decided notes what the handler decides on a request.
func (g *Gate) Decided(d metrics.Decision) { g.journal.Decided(d) }

// InFlight returns how many attempts of the gate's account are under way, if that is
// known. An error of the cache is noted, and nothing is known.
func (g *Gate) InFlight(ctx context.Context) (n int64, isKnown bool) {
	n, isKnown, err := g.desk.Quota.InFlight(ctx)
	return n, isKnown && err == nil
}

// Sessions returns how many sessions the cache has, if that is known; see InFlight.
func (g *Gate) Sessions(ctx context.Context) (n int64, isKnown bool) {
	n, err := g.desk.Ledger.Sessions(ctx)
	return n, err == nil
}

// BudgetUsed returns how much of the budget of the gate's account is used, 1 being all of
// it, if that is known; see InFlight.
func (g *Gate) BudgetUsed(ctx context.Context) (ratio float64, isKnown bool) {
	ratio, isKnown, err := g.desk.Quota.BudgetUsed(ctx)
	return ratio, isKnown && err == nil
}

// visitor returns who makes a request to an origin, without the realm.
func (g *Gate) visitor(r *http.Request, v *Visit, o *origin) attempt.Visitor {
	visitor := attempt.Visitor{Browser: v.secretCookie(o.browserCookie.Name), Session: v.secretCookie(o.sessionCookie.Name)}
	if g.cfg.KnownNumber != nil {
		visitor.Number = g.cfg.KnownNumber(r)
	}
	return visitor
}

// sessionTTL returns how long a verification is kept at most.
func (g *Gate) sessionTTL() time.Duration { return g.desk.Lenient().SessionTTL }
