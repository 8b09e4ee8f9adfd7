package gate

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/attempt"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/pages"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// exchange is a request to an endpoint and its answer.
type exchange struct {
	*Gate
	w       http.ResponseWriter
	r       *http.Request
	visit   *Visit
	origin  *origin
	visitor attempt.Visitor
}

// IsEndpoint tells whether the request is for the gate's endpoints, by the address
// that the client sent.
func (g *Gate) IsEndpoint(v *Visit) bool { return under(v.url.Path, g.cfg.Path) }

// IsCallback tells whether the request is a callback, including one of a provider
// with its own callback path. Its address contains credentials and must stay out of
// logs.
func (g *Gate) IsCallback(v *Visit) bool { return under(v.url.Path, g.cfg.Path+"/callback") }

// ServeEndpoint answers a request for which IsEndpoint holds.
func (g *Gate) ServeEndpoint(w http.ResponseWriter, r *http.Request, v *Visit) {
	if g.IsCallback(v) {
		w.Header().Set("Referrer-Policy", "no-referrer")
	}
	o := g.origin(r)
	if o == nil {
		g.Refuse(w, r, v, g.misdirected(r, v))
		return
	}
	r = r.WithContext(journal.WithRealm(journal.WithClient(r.Context(), g.cfg.ClientIP(r)), o.realm))
	x := &exchange{Gate: g, w: w, r: r, visit: v, origin: o, visitor: g.visitor(r, v, o)}
	// without cookies too, and even if the visitor hangs up: such a callback burns
	x.visitor.Realm = g.desk.Ledger.Realm(context.WithoutCancel(r.Context()), o.realm)
	x.serve(strings.TrimPrefix(v.url.Path, g.cfg.Path))
}

// serve answers the request for the endpoint at path, which is relative to the gate's.
//
// The paths below /callback/ are reserved for providers that need a callback path of
// their own. If two providers shared one, one could answer for the other (RFC 9700,
// section 4.4).
func (x *exchange) serve(path string) {
	id, isWait := strings.CutPrefix(path, "/wait/")
	code, isProblem := strings.CutPrefix(path, "/problem/")
	switch {
	case path == "":
		x.get(func() { x.redirect(x.w, withQuery(x.cfg.Path+"/", x.visit.url.RawQuery)) })
	case path == "/":
		x.get(x.form)
	case path == "/start":
		x.post(x.start)
	case path == "/callback":
		x.get(x.callback)
	case isWait && ledger.IsAttemptID(id):
		x.get(func() { x.wait(id) })
	case isWait && id != "" && !strings.Contains(id, "/"):
		x.get(func() { x.answer(attempt.Problem{Code: refusal.AttemptUnknown}) })
	case isProblem && refusal.Code(code).IsKnown():
		x.get(func() { x.problem(refusal.Code(code)) })
	case path == "/status":
		x.get(x.status)
	case path == "/sign-out":
		x.post(x.signOut)
	default:
		x.nothingHere(http.StatusNotFound)
	}
}

// problem serves the page of a code, with the reference of the refusal that led here.
func (x *exchange) problem(code refusal.Code) {
	if reference := x.visit.url.Query().Get("reference"); ledger.IsReference(reference) {
		x.about(journal.WithReference(x.r.Context(), reference))
	}
	x.problemPage(x.w, x.r, code, "/")
}

// about notes what the rest of the exchange is about.
func (x *exchange) about(ctx context.Context) { x.r = x.r.WithContext(ctx) }

func withQuery(path, query string) string {
	if query == "" {
		return path
	}
	return path + "?" + query
}

// get serves GET and HEAD. Serve must have no effect for HEAD.
func (x *exchange) get(serve func()) {
	if !x.visit.isSafe() {
		x.w.Header().Set("Allow", "GET, HEAD")
		x.nothingHere(http.StatusMethodNotAllowed)
		return
	}
	serve()
}

// post serves POST. A visitor who loads the address in the browser goes to the form.
func (x *exchange) post(serve func()) {
	switch {
	case x.visit.method == http.MethodPost:
		serve()
	case x.visit.isSafe() && x.visit.isNavigation(x.r.Header):
		x.redirect(x.w, x.cfg.Path+"/")
	default:
		x.w.Header().Set("Allow", "POST")
		x.nothingHere(http.StatusMethodNotAllowed)
	}
}

// nothingHere answers a request that no endpoint serves, with a page or problem+json.
func (x *exchange) nothingHere(status int) {
	if x.visit.isNavigation(x.r.Header) {
		x.page(x.w, x.r, pages.Problem, status, pages.Data{Return: "/"})
		return
	}
	x.problemJSON(x.w, x.r, status, "")
}

// isEarly tells whether the request was sent as TLS early data, to this server or to a
// proxy in front. Anybody on the way can send such a request again.
func (x *exchange) isEarly() bool {
	return (x.r.TLS != nil && !x.r.TLS.HandshakeComplete) || x.r.Header.Get("Early-Data") == "1"
}

// refuse answers a refusal with problem+json or a page, as the client accepts it.
func (x *exchange) refuse(code refusal.Code, back string) {
	x.noteRefusal(code)
	if wantsJSON(x.r) {
		x.problemJSON(x.w, x.r, code.Status(), code)
		return
	}
	x.problemPage(x.w, x.r, code, back)
}

func (x *exchange) noteRefusal(code refusal.Code) { x.journal.Refused(x.r.Context(), code) }

// callback takes the visitor who comes back from the operator to what comes next. A
// request that somebody else may have repeated, or HEAD, has no effect.
func (x *exchange) callback() {
	switch {
	case x.isEarly():
		x.problemJSON(x.w, x.r, http.StatusTooEarly, "")
	case x.visit.method == http.MethodHead:
		x.redirect(x.w, x.cfg.Path+"/")
	default:
		x.answer(x.desk.ComeBack(x.r.Context(), &x.visitor, x.visit.url.RawQuery))
	}
}

// wait serves the page of an attempt that waits for its result. The page reloads
// itself.
func (x *exchange) wait(id string) {
	look := x.desk.Wait
	if x.visit.method == http.MethodHead {
		look = x.desk.Look
	}
	step := look(x.r.Context(), &x.visitor, id)
	if pending, ok := step.(attempt.Pending); ok {
		x.page(x.w, x.r, pages.Wait, http.StatusOK, pages.Data{
			Return: returnPath(pending.Return, x.cfg.Path), RefreshURL: x.waitURL(id), RefreshAfter: attempt.SettleTime,
			Reference: ledger.Reference(id),
		})
		return
	}
	x.answer(step)
}

// statusBody is the answer of GET /status.
type statusBody struct {
	Verified   bool         `json:"verified"`
	Code       refusal.Code `json:"code,omitempty"`
	Reference  string       `json:"reference,omitempty"` // of a refusal that is remembered
	Number     string       `json:"number,omitempty"`
	Operator   string       `json:"operator,omitempty"`
	Method     string       `json:"method,omitempty"`
	VerifiedAt string       `json:"verified_at,omitempty"`
	ExpiresAt  string       `json:"expires_at,omitempty"`
}

// status tells a script of the site whether the visitor is verified, without the full
// number.
func (x *exchange) status() {
	found, err := x.desk.Peek(x.r.Context(), &x.visitor, x.desk.Lenient())
	if err != nil {
		x.problemJSON(x.w, x.r, refusal.CacheUnavailable.Status(), refusal.CacheUnavailable)
		return
	}
	x.renewBrowserCookie()
	session := found.Session
	if session == nil {
		last := x.desk.Refusal(x.r.Context(), &x.visitor)
		code := cmp.Or(refusal.Code(last.Code), refusal.VerificationRequired)
		x.writeJSON(x.w, http.StatusOK, "application/json", statusBody{Code: code, Reference: last.Reference})
		return
	}
	x.writeJSON(x.w, http.StatusOK, "application/json", statusBody{
		Verified: true, Number: phone.Mask(session.Number), Operator: session.Operator,
		Method: string(session.How()), VerifiedAt: session.At(),
		ExpiresAt: x.desk.Ends(session).UTC().Format(time.RFC3339),
	})
}

// signOut ends the visitor's sessions.
func (x *exchange) signOut() {
	fields, ok := x.ownFields()
	if !ok {
		return
	}
	ownEnded, err := x.desk.SignOut(x.r.Context(), &x.visitor, x.visit.secretCookies(x.origin.sessionCookie.Name))
	if err != nil {
		x.journal.SignOutFailed(x.r.Context(), err)
		x.refuse(refusal.CacheUnavailable, "/")
		return
	}
	if x.visitor.Browser != "" {
		x.setBrowserCookie(ledger.NewID())
	}
	if ownEnded { // never clear the cookie of an unverified request
		c := x.origin.sessionCookie
		c.MaxAge = -1
		http.SetCookie(x.w, &c)
	}
	x.redirect(x.w, returnPath(fields.Get("return"), x.cfg.Path))
}
