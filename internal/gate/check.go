package gate

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// Verdict is what Check says of a request. The zero value lets nothing pass.
type Verdict struct {
	// Session is the verification that lets the request pass; nil where none
	// does.
	Session *ledger.Session
	// Code and Status are the refusal. Where Location is set the answer is a
	// redirect instead, and no refusal.
	Code     Code
	Status   int
	Location string

	origin *origin
}

// Check decides on a request of a protected route.
func (g *Gate) Check(r *http.Request, v *Visit, route Route) Verdict {
	o := g.origin(r)
	if o == nil {
		return g.misdirected(r, v)
	}
	session, err := g.validSession(r, v, o, route)
	if err != nil {
		// fail closed: what cannot be looked up does not pass
		return Verdict{Code: CacheUnavailable, Status: CacheUnavailable.Status(), origin: o}
	}
	if session != nil {
		return Verdict{Session: session, origin: o}
	}
	if g.cfg.KnownNumber != nil && g.cfg.KnownNumber(r) == "" {
		return Verdict{Code: NumberUnknown, Status: NumberUnknown.Status(), origin: o}
	}
	if !v.isNavigation(r.Header) {
		code := g.refusal(r, v, o)
		if code == "" {
			code = VerificationRequired
		}
		return Verdict{Code: code, Status: code.Status(), origin: o}
	}
	if !v.isSafe() {
		return Verdict{Code: VerificationRequired, Status: VerificationRequired.Status(), origin: o}
	}
	return Verdict{Location: g.formURL(v, requestReturn(v.url, g.cfg.Path), g.ageLimit(route)), Status: http.StatusSeeOther, origin: o}
}

// misdirected sends a page load to the main origin before any cookie is set on
// the other one, and refuses everything else.
func (g *Gate) misdirected(r *http.Request, v *Visit) Verdict {
	if len(g.origins) == 0 || !v.isSafe() || !v.isNavigation(r.Header) {
		return Verdict{Status: http.StatusMisdirectedRequest}
	}
	target := requestReturn(v.url, "\x00") // its own endpoints are fine here
	return Verdict{Location: g.origins[0].url + target, Status: http.StatusSeeOther}
}

// ageLimit is how old a verification may be on a route, where that is less than
// what the form knows; 0: no less.
func (g *Gate) ageLimit(route Route) time.Duration {
	if route.SessionTTL < g.sessionTTL && (route.MaxAge == 0 || route.SessionTTL < route.MaxAge) {
		return route.SessionTTL
	}
	return route.MaxAge
}

// formURL is the form's address. A route's limit of age goes along, so that the
// form does not offer to continue with a verification that is too old there; and
// that the request's session is unknown, which a parallel tab may just have
// replaced, so that the form can go on at once. Neither decides on anything.
func (g *Gate) formURL(v *Visit, back string, maxAge time.Duration) string {
	q := url.Values{"return": {back}}
	if maxAge > 0 {
		q.Set("max_age", strconv.Itoa(max(1, int(maxAge.Seconds()))))
	}
	if v.unknownSession {
		q.Set("resume", "1")
	}
	return g.cfg.Path + "/?" + q.Encode()
}

// Refuse writes the answer to a request that may not pass.
func (g *Gate) Refuse(w http.ResponseWriter, r *http.Request, v *Visit, verdict Verdict) {
	if verdict.Location != "" {
		g.redirect(w, verdict.Location)
		return
	}
	g.Refused(r, verdict)
	if verdict.Code == "" || verdict.origin == nil || !v.isNavigation(r.Header) {
		g.problemJSON(w, verdict.Status, verdict.Code)
		return
	}
	g.problemPage(w, r, verdict.Code, g.refererReturn(r, verdict.origin))
}

// Headers sets what a refusal needs where the site writes its body.
func (verdict Verdict) Headers(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Cookie")
	verdict.Code.headers(h)
}

// Detail is one English sentence for the error that a site's error routes get.
func (verdict Verdict) Detail() string {
	if detail := verdict.Code.Detail(); detail != "" {
		return detail
	}
	return http.StatusText(verdict.Status)
}

// refererReturn finds the page that a form was posted from.
func (g *Gate) refererReturn(r *http.Request, o *origin) string {
	u, err := url.Parse(r.Referer())
	if err != nil || !g.sameOrigin(u, o) {
		return "/"
	}
	return requestReturn(u, g.cfg.Path)
}

func (g *Gate) sameOrigin(u *url.URL, o *origin) bool {
	return u.Scheme == schemeOf(o) && address.Normal(u.Host, o.secure) == o.host
}

func schemeOf(o *origin) string {
	if o.secure {
		return "https"
	}
	return "http"
}

// validSession returns the session that lets r pass on route, nil where there
// is none. Its error means that the cache failed.
func (g *Gate) validSession(r *http.Request, v *Visit, o *origin, route Route) (*ledger.Session, error) {
	id, ok := v.secretCookie(o.session)
	if !ok {
		return nil, nil
	}
	key := g.sessionKey(o, id)
	session, rec, err := get[ledger.Session](r.Context(), g, key)
	if errors.Is(err, cache.ErrNotFound) {
		v.unknownSession = true
		return nil, nil
	}
	if err != nil {
		g.log.Error("session lookup failed", zap.String("code", string(CacheUnavailable)), zap.Error(err))
		return nil, err // fail closed
	}
	if !g.vouches(r, session) {
		return nil, nil
	}
	if g.cacheHasTimed(session, rec, route) {
		return session, nil
	}
	now := time.Now()
	if isTooOld(session, route, now) || (route.SessionIdle > 0 && now.Sub(rec.Touched) >= route.SessionIdle) {
		return nil, nil
	}
	if !route.endpoint {
		g.touch(r, key, rec, now)
	}
	return session, nil
}

// cacheHasTimed tells whether the route asks of time no more than that the record
// lives, which the cache has just checked: the clock is a good part of what a
// request costs.
func (g *Gate) cacheHasTimed(s *ledger.Session, rec *cache.Record, route Route) bool {
	return route.MaxAge == 0 && rec.Idle == 0 && route.SessionIdle == 0 && g.touchEvery == 0 &&
		!rec.Expires.After(s.VerifiedAt.Add(route.SessionTTL))
}

// satisfies tells whether a verification is enough for a route.
func (g *Gate) satisfies(r *http.Request, s *ledger.Session, route Route, now time.Time) bool {
	return g.vouches(r, s) && !isTooOld(s, route, now)
}

// vouches tells whether a verification is of the account, and of a number that
// it wants.
func (g *Gate) vouches(r *http.Request, s *ledger.Session) bool {
	switch {
	case s.Account != g.account, !g.accepts(s.Region):
		return false
	case g.cfg.KnownNumber == nil:
		return true
	default:
		return g.isKnown(r, s.Number)
	}
}

func isTooOld(s *ledger.Session, route Route, now time.Time) bool {
	age := now.Sub(s.VerifiedAt)
	return age >= route.SessionTTL || (route.MaxAge > 0 && age >= route.MaxAge)
}

// isKnown tells whether e164 is the number that the site knows of the visitor.
func (g *Gate) isKnown(r *http.Request, e164 string) bool {
	known := g.cfg.KnownNumber(r)
	if known == e164 {
		return known != ""
	}
	n, code := g.parseNumber(known)
	return code == "" && n.E164 == e164
}

// touch notes that the session was used, often enough for the shortest idle time
// and not at every request.
func (g *Gate) touch(r *http.Request, key cache.Key, rec *cache.Record, now time.Time) {
	every := g.touchEvery
	if rec.Idle > 0 && (every == 0 || rec.Idle/touchesPerIdle < every) {
		every = rec.Idle / touchesPerIdle
	}
	if every == 0 || now.Sub(rec.Touched) < every {
		return
	}
	fresh := &cache.Record{Value: rec.Value, Expires: rec.Expires, Idle: rec.Idle, Touched: now, Tags: rec.Tags}
	err := g.replace(r.Context(), key, rec, fresh)
	if err != nil && !errors.Is(err, cache.ErrConflict) {
		g.log.Warn("session not touched", zap.Error(err))
	}
}

// refusal returns why this browser's last attempt failed, while that is
// remembered. It only explains, so a failing cache explains nothing.
func (g *Gate) refusal(r *http.Request, v *Visit, o *origin) Code {
	browser, ok := v.secretCookie(o.browser)
	if !ok {
		return ""
	}
	refused, _, err := get[ledger.Refusal](r.Context(), g, g.refusalKey(o, browser))
	if err != nil {
		return ""
	}
	return Code(refused.Code)
}
