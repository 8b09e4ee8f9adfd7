package gate

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/attempt"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// Verdict is what Check decides on a request. The zero value refuses.
type Verdict struct {
	// Session is the session that lets the request pass, or nil.
	Session *ledger.Session
	// Code and Status are those of the refusal. If Location is set, the answer is a
	// redirect and no refusal.
	Code     refusal.Code
	Status   int
	Location string
	// Reference is what the visitor can name to support; "" without a code.
	Reference string

	origin *origin
	// misfit is why the visitor's session does not let the request pass; "" where
	// that plays no part.
	misfit attempt.Misfit
}

func refuse(code refusal.Code) Verdict {
	return Verdict{Code: code, Status: code.Status(), Reference: ledger.NewReference()}
}

// Check decides on a request of a protected route.
func (g *Gate) Check(r *http.Request, v *Visit, route attempt.Terms) Verdict {
	o := g.origin(r)
	if o == nil {
		return g.misdirected(r, v)
	}
	visitor := g.visitor(r, v, o)
	if visitor.Browser != "" || visitor.Session != "" { // for anybody else nothing is looked up
		visitor.Realm = g.desk.Ledger.Realm(r.Context(), o.realm)
	}
	found, err := g.desk.UseSession(r.Context(), &visitor, route)
	var verdict Verdict
	switch {
	case err != nil:
		verdict = refuse(refusal.CacheUnavailable) // fail closed
		g.journal.LookupFailed(g.context(r, verdict), err)
	case found.Session != nil:
		verdict = Verdict{Session: found.Session}
	case g.cfg.KnownNumber != nil && visitor.Number == "":
		verdict = refuse(refusal.NumberUnknown)
	default:
		verdict = g.turnAway(r, v, &visitor, route, found.Misfit)
		verdict.misfit = found.Misfit
	}
	verdict.origin = o
	return verdict
}

// turnAway decides what a visitor gets in place of a route that turns his session down.
func (g *Gate) turnAway(r *http.Request, v *Visit, visitor *attempt.Visitor, route attempt.Terms, why attempt.Misfit) Verdict {
	switch {
	case !v.isNavigation(r.Header):
		return g.refuseScript(r, visitor)
	case !v.isSafe():
		return refuse(refusal.VerificationRequired)
	default:
		location := g.formURL(requestReturn(v.url, g.cfg.Path), g.ageLimit(route, why), why == attempt.Unknown)
		return Verdict{Location: location, Status: http.StatusSeeOther}
	}
}

// refuseScript refuses a request that cannot be sent to the form, with the visitor's last
// refusal while that is remembered.
func (g *Gate) refuseScript(r *http.Request, visitor *attempt.Visitor) Verdict {
	verdict := refuse(refusal.VerificationRequired)
	if last := g.desk.Refusal(r.Context(), visitor); last.Code != "" {
		verdict = refuse(refusal.Code(last.Code))
		verdict.Reference = cmp.Or(last.Reference, verdict.Reference)
	}
	return verdict
}

// misdirected decides on a request for a host that is none of the origins: a page load
// goes to the main origin, before any cookie is set; anything else is refused.
func (g *Gate) misdirected(r *http.Request, v *Visit) Verdict {
	if len(g.origins) == 0 || !v.isSafe() || !v.isNavigation(r.Header) {
		return Verdict{Status: http.StatusMisdirectedRequest}
	}
	return Verdict{Location: g.origins[0].url + requestAddress(v.url), Status: http.StatusSeeOther}
}

// ageLimit returns the age limit of a route if it is stricter than that of the form;
// otherwise 0. A session that was idle for too long is at least as old.
func (g *Gate) ageLimit(route attempt.Terms, why attempt.Misfit) time.Duration {
	limit := route.MaxAge
	if route.SessionTTL < g.sessionTTL() && (limit == 0 || route.SessionTTL < limit) {
		limit = route.SessionTTL
	}
	if why == attempt.TooIdle && (limit == 0 || route.SessionIdle < limit) {
		limit = route.SessionIdle
	}
	return limit
}

// formURL returns the form's address. It carries the route's age limit, so that the
// form does not offer to continue with a session that is too old there. It also says
// whether the request's session is unknown: a parallel tab may just have replaced it,
// and then the form goes on at once. Neither decides whether a request passes.
func (g *Gate) formURL(back string, maxAge time.Duration, unknownSession bool) string {
	q := url.Values{"return": {back}}
	if maxAge > 0 {
		q.Set("max_age", strconv.Itoa(max(1, int(maxAge.Seconds()))))
	}
	if unknownSession {
		q.Set("resume", "1")
	}
	return g.cfg.Path + "/?" + q.Encode()
}

// Refuse writes the answer to a request that may not pass.
func (g *Gate) Refuse(w http.ResponseWriter, r *http.Request, v *Visit, verdict Verdict) {
	g.NoteRefusal(r, v, verdict)
	if verdict.Location != "" {
		g.redirect(w, verdict.Location)
		return
	}
	r = r.WithContext(g.context(r, verdict))
	if verdict.Code == "" || verdict.origin == nil || !v.isNavigation(r.Header) {
		g.problemJSON(w, r, verdict.Status, verdict.Code)
		return
	}
	g.problemPage(w, r, verdict.Code, g.refererReturn(r, verdict.origin))
}

// NoteRefusal notes that verdict turns a request away. Refuse calls it by itself.
func (g *Gate) NoteRefusal(r *http.Request, v *Visit, verdict Verdict) {
	ctx := g.context(r, verdict)
	if verdict.misfit != "" {
		visitor := g.visitor(r, v, verdict.origin)
		visitor.Realm = g.desk.Ledger.Realm(ctx, verdict.origin.realm)
		g.desk.TurnDown(ctx, &visitor, verdict.misfit)
	}
	if verdict.Code.IsMistake() {
		g.journal.Refused(ctx, verdict.Code)
	}
}

// context returns the context for what is logged and shown of a refusal.
func (g *Gate) context(r *http.Request, verdict Verdict) context.Context {
	return journal.WithReference(journal.WithClient(r.Context(), g.cfg.ClientIP(r)), verdict.Reference)
}

// SetHeaders sets the headers of a refusal whose body the site writes.
func (verdict Verdict) SetHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Cookie")
	setRefusal(h, verdict.Code, verdict.Code.Retry())
}

// Detail returns one English sentence for the error that a site's error routes get.
func (verdict Verdict) Detail() string {
	if detail := verdict.Code.Detail(); detail != "" {
		return detail
	}
	return http.StatusText(verdict.Status)
}

// refererReturn returns the return path of the page that a form was posted from.
func (g *Gate) refererReturn(r *http.Request, o *origin) string {
	u, err := url.Parse(r.Referer())
	if err != nil || !o.contains(u) {
		return "/"
	}
	return requestReturn(u, g.cfg.Path)
}
