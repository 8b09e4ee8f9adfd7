// Package numberverify is a Caddy module that puts phone-number verification in
// front of any site: http.handlers.number_verify and the Caddyfile directive
// number_verify.
//
//   - The handler: module.go, match.go (what it protects), reach.go (whether
//     visitors reach its endpoints).
//   - Options: options.go, limits.go, caddyfile.go (the directive).
//   - Verifiers and caches: guest.go. What handlers share: app.go. What Prometheus is
//     told of them: metrics.go. Events: events.go.
//
// Package internal/gate decides what happens to a request.
package numberverify

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/attempt"
	"github.com/numberverify/caddy-number-verify/internal/command"
	"github.com/numberverify/caddy-number-verify/internal/gate"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/metrics"
	"github.com/numberverify/caddy-number-verify/internal/pages"
	"github.com/numberverify/caddy-number-verify/internal/phone"

	// the built-in guest modules
	_ "github.com/numberverify/caddy-number-verify/cache/bolt"
	_ "github.com/numberverify/caddy-number-verify/cache/memory"
	_ "github.com/numberverify/caddy-number-verify/cache/redis"
	_ "github.com/numberverify/caddy-number-verify/verifier/dqe"
)

func init() {
	caddy.RegisterModule(&Handler{})
}

// Handler puts phone-number verification in front of a site. A visitor of a
// protected route types a mobile number, or the site already knows it; the
// browser goes to the mobile operator, which recognises the SIM over mobile
// data, and comes back; the gate fetches the outcome from the provider, keeps
// it for the visitor's session, and forwards only verified requests.
//
// A verified request carries the headers `X-Verified-Number` (E.164),
// `X-Verified-At` (RFC 3339, UTC) and `X-Verified-Operator`. These placeholders
// are set:
//
// Placeholder | Description
// ------------|------------
// `{http.number_verify.number}` | The verified number, E.164
// `{http.number_verify.masked}` | The same for people and logs, e.g. +33 6 •• •• •• 01
// `{http.number_verify.operator}` | The mobile operator
// `{http.number_verify.verified_at}` | When the number was verified, RFC 3339
// `{http.number_verify.session}` | A short public id of the session
// `{http.number_verify.code}` | With `pass_errors`: the code of the refusal
// `{http.number_verify.reference}` | With it: what the visitor can name to support, and the log names too
type Handler struct {
	// Which requests need a verification: matcher sets as in a route. They are
	// asked for the request as it arrived and for what rewrites made of it, and
	// for every other way in which servers are known to read its path, such as
	// decoded twice or with `..%2f` unresolved. All other requests pass, after
	// headers and cookies that only the gate may set have been removed. Default:
	// every request needs one.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	Options

	// How old a verification may be on this route; an older one has to be
	// repeated (step-up). Default: any age within `session_ttl`.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// Lets unverified requests pass, without the headers.
	Optional bool `json:"optional,omitempty"`

	// Returns the gate's refusals as errors to the site's error routes
	// (`handle_errors`), with `{http.number_verify.code}` and
	// `{http.number_verify.reference}` set. Redirects to the form and the answers
	// of the gate's own endpoints stay as they are.
	PassErrors bool `json:"pass_errors,omitempty"`

	// The visitor's number as the site already knows it: a placeholder such as
	// `{http.auth.user.phone}`, evaluated for each request. An earlier handler
	// must set it, for the gate's `path` too.
	// Default: the visitor types the number.
	Number string `json:"number,omitempty"`

	matchers caddyhttp.MatcherSets
	// byMethodAndPath says that all matchers use only method and path. Asking them
	// again then has no effect on the request; see doesMore.
	byMethodAndPath bool
	gate            *gate.Gate
	route           attempt.Terms
	headers         *headerNames
}

// headerNames are the names of the headers for the upstream. Without a prefix no
// headers are set.
type headerNames struct {
	prefix string
	names  gate.Headers
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.number_verify",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets up the handler. It opens no state and calls nobody.
func (h *Handler) Provision(ctx caddy.Context) error {
	options, err := h.resolve()
	if err != nil {
		return err
	}
	if err := h.loadMatchers(ctx); err != nil {
		return err
	}
	appModule, err := ctx.App(appName)
	if err != nil {
		return err
	}
	app := appModule.(*App)
	key, err := h.gateKey()
	if err != nil {
		return err
	}
	h.gate, err = app.gate(key, func() (*gate.Gate, error) { return h.newGate(ctx, app, options) })
	if err != nil {
		return err
	}
	h.route = attempt.Terms{
		MaxAge:      time.Duration(h.MaxAge),
		SessionTTL:  time.Duration(options.SessionTTL),
		SessionIdle: time.Duration(options.SessionIdle),
	}
	h.gate.AddRoute(h.route)
	h.headers = newHeaderNames(options.Headers)
	return nil
}

// gateKey returns a key that is equal for handlers that share their endpoints.
func (h *Handler) gateKey() (string, error) {
	shared := *h
	shared.Options = h.withDefaults() // a default written out is no difference
	shared.forgetRoute()
	key, err := json.Marshal(shared)
	return string(key), err
}

// forgetRoute clears the options in which handlers that share their endpoints may
// differ.
func (h *Handler) forgetRoute() {
	h.MatcherSetsRaw, h.MaxAge, h.Optional, h.PassErrors = nil, 0, false, false
	h.Headers, h.SessionTTL, h.SessionIdle = "", 0, 0
}

// newGate loads the guest modules and returns the gate that handlers share.
func (h *Handler) newGate(ctx caddy.Context, app *App, options Options) (*gate.Gate, error) {
	audit := ctx.Logger(auditLog{}).With(zap.String("verifier", verifiers.moduleName(h.VerifierRaw))) // loading forgets it
	v, err := h.loadVerifier(ctx, options.Countries)
	if err != nil {
		return nil, err
	}
	store, err := h.loadCache(ctx)
	if err != nil {
		return nil, err
	}
	if v.secret == "" { // it takes tokens from elsewhere
		if err := app.oneStore(v.account, store.name); err != nil {
			return nil, err
		}
	}
	newPages := func() (*pages.Pages, error) {
		return pages.New(pages.Options{
			Dir: options.Pages, Brand: options.Brand, Logo: options.Logo, Recipient: v.recipient,
			SupportURL: options.SupportURL, PrivacyURL: options.PrivacyURL, FallbackURL: options.FallbackURL,
		})
	}
	visible, err := newPages()
	if err != nil {
		return nil, err
	}
	secrets, err := indexSecrets(store, v)
	if err != nil {
		return nil, err
	}
	g, err := gate.New(gate.Config{
		Verifier: v.Verifier, Account: app.account(v.account),
		Cache: app.use(store.name, store.Opener), Store: store.name, Secrets: secrets, Pages: visible, Log: ctx.Logger(h), Audit: audit,
		Origins: options.PublicURL, Path: options.Path,
		Region: options.Region, Countries: options.Countries, KnownNumber: h.knownNumber(),
		AttemptTTL: time.Duration(options.AttemptTTL), RefusedTTL: time.Duration(options.RefusedTTL),
		ResultWait: time.Duration(options.ResultWait),
		ClientIP:   clientIP, Limits: options.Limits.quota(),
		CookieName: options.CookieName, CookieDomain: options.CookieDomain,
	})
	if err != nil {
		return nil, err
	}
	app.record(home{store.name, v.account, strings.Join(secrets, "\x00")}, g, v.module, store.module)
	app.parts = append(app.parts, command.Gate{
		Origins: options.PublicURL, Path: options.Path, VerifierName: verifiers.name + " " + v.module, Verifier: v.Verifier,
		CacheName: store.name, Cache: store.Opener, Pages: newPages,
	})
	return g, nil
}

// auditLog names the logger of the audit, which is that of no module, so that a log can
// include or exclude the audit alone.
type auditLog struct{}

// CaddyModule returns the Caddy module information.
func (auditLog) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.audit"}
}

// knownNumber returns the function that evaluates Number for a request, or nil. What
// the placeholders yield is not evaluated again.
func (h *Handler) knownNumber() func(*http.Request) string {
	if h.Number == "" {
		return nil
	}
	template := h.Number
	return func(r *http.Request) string {
		repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		if !ok {
			return ""
		}
		return strings.TrimSpace(repl.ReplaceAll(template, ""))
	}
}

// clientIP returns the visitor's address, behind the server's trusted_proxies.
func clientIP(r *http.Request) string {
	if ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		return ip
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

func newHeaderNames(prefix string) *headerNames {
	if prefix == headersOff {
		return &headerNames{}
	}
	return &headerNames{prefix: prefix, names: gate.Headers{
		Number:   textproto.CanonicalMIMEHeaderKey(prefix + "Number"),
		At:       textproto.CanonicalMIMEHeaderKey(prefix + "At"),
		Operator: textproto.CanonicalMIMEHeaderKey(prefix + "Operator"),
	}}
}

// visitVar is the name of the request's variable with its *gate.Visit.
const visitVar = "number_verify.visit"

// visitOf returns the visit of a request, which its first handler makes.
func visitOf(r *http.Request) *gate.Visit {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if visit, ok := vars[visitVar].(*gate.Visit); ok {
		return visit
	}
	method, u := r.Method, r.URL
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		method, u = original.Method, original.URL
	}
	visit := gate.NewVisit(method, u)
	if vars != nil {
		vars[visitVar] = visit
	}
	return visit
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	visit := visitOf(r)
	h.gate.Strip(r, visit, h.headers.prefix)
	if h.gate.IsEndpoint(visit) {
		if h.gate.IsCallback(visit) {
			// Its address contains credentials. The gate logs a line of its own.
			caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
		}
		h.gate.ServeEndpoint(w, r, visit)
		return nil
	}
	protected, err := h.protects(r, visit)
	if err != nil {
		h.gate.Decided(metrics.Refused)
		return err // fail closed
	}
	if !protected {
		h.gate.Decided(metrics.Unprotected)
		return next.ServeHTTP(w, r)
	}
	return h.guard(w, r, visit, next)
}

// guard lets a request of a protected route pass if it is verified, and answers any
// other.
func (h *Handler) guard(w http.ResponseWriter, r *http.Request, visit *gate.Visit, next caddyhttp.Handler) error {
	verdict := h.gate.Check(r, visit, h.route)
	h.gate.Decided(h.decision(&verdict))
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	switch {
	case verdict.Session != nil:
		visit.SetVary(w.Header())
		visit.SetPrivate(w.Header())
		h.announce(r, visit, repl, verdict.Session)
		return next.ServeHTTP(w, r)
	case h.Optional:
		visit.SetVary(w.Header())
		return next.ServeHTTP(w, r)
	case h.PassErrors && verdict.Location == "":
		h.gate.NoteRefusal(r, visit, verdict)
		verdict.SetHeaders(w.Header())
		if repl != nil {
			repl.Set("http.number_verify.code", string(verdict.Code))
			repl.Set("http.number_verify.reference", verdict.Reference)
		}
		return caddyhttp.Error(verdict.Status, errors.New(verdict.Detail()))
	default:
		h.gate.Refuse(w, r, visit, verdict)
		return nil
	}
}

// announce tells the upstream, by headers, and later handlers, by placeholders, who is
// verified.
func (h *Handler) announce(r *http.Request, visit *gate.Visit, repl *caddy.Replacer, session *ledger.Session) {
	if isFirst := visit.SetSession(session); isFirst && repl != nil {
		repl.Map(func(key string) (any, bool) { return placeholder(visit.Session(), key) })
	}
	if h.headers.prefix == "" {
		return
	}
	visit.SetHeaders(r.Header, &h.headers.names, session)
}

func placeholder(session *ledger.Session, key string) (any, bool) {
	name, ok := strings.CutPrefix(key, "http.number_verify.")
	if !ok {
		return nil, false
	}
	switch name {
	case "number":
		return session.Number, true
	case "masked":
		return phone.Mask(session.Number), true
	case "operator":
		return session.Operator, true
	case "verified_at":
		return session.At(), true
	case "session":
		return session.PublicID, true
	default:
		return nil, false
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
