package gate

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/attempt"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/pages"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/internal/quota"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// form serves the form: what will happen, the number field or the known number, and
// one button. It does not call the provider.
func (x *exchange) form() {
	query := x.visit.url.Query()
	back := returnPath(query.Get("return"), x.cfg.Path)
	terms := x.desk.Lenient()
	terms.MaxAge = maxAge(query.Get("max_age"))
	found, err := x.desk.Peek(x.r.Context(), &x.visitor, terms)
	if err != nil {
		x.problemPage(x.w, x.r, refusal.CacheUnavailable, back)
		return
	}
	recent, err := x.desk.Recent(x.r.Context(), &x.visitor)
	if err != nil {
		x.problemPage(x.w, x.r, x.journal.Failed(x.r.Context(), "session", err), back)
		return
	}
	if recent.Stopped != nil {
		recent.Stopped.Return = back
		x.answer(*recent.Stopped)
		return
	}
	data := pages.Data{Return: back}
	switch {
	case found.Session != nil && query.Get("resume") != "":
		x.goOn(back)
		return
	case found.Session != nil && !recent.TurnedDown:
		data.ContinueURL = back
	case found.Session == nil && x.visit.method == http.MethodGet && x.givenAgain(terms, back):
		return
	}
	if code := x.fillKnown(&data); code != "" {
		x.refuseHere(code, back)
		return
	}
	last := x.desk.Refusal(x.r.Context(), &x.visitor)
	data.Code, data.Reference = last.Code, last.Reference
	x.renewBrowserCookie()
	x.page(x.w, x.r, pages.Form, http.StatusOK, data)
}

// givenAgain answers a browser that has lost the session of a recent success. It
// returns false, without an answer, for any other.
func (x *exchange) givenAgain(terms attempt.Terms, back string) bool {
	issued, code := x.desk.GiveAgain(x.r.Context(), &x.visitor, terms)
	switch {
	case issued != nil:
		x.setSessionCookie(issued)
		x.goOn(back)
		return true
	case code != "":
		x.refuseHere(code, back)
		return true
	default:
		return false
	}
}

// stopped answers a browser that goes in circles.
func (x *exchange) stopped(stopped attempt.Stopped) {
	code, retry := stopped.Code, time.Until(stopped.RetryAt)
	x.about(journal.WithAttempt(x.r.Context(), stopped.ID))
	x.noteRefusal(code)
	if wantsJSON(x.r) {
		x.problemJSONRetry(x.w, x.r, code.Status(), code, retry)
		return
	}
	x.page(x.w, x.r, pages.Problem, code.Status(), pages.Data{
		Code: string(code), Return: stopped.Return, RetryAfter: retry, TurnedDown: code != refusal.CookiesRequired,
	})
}

// refuseHere shows the page of a problem in place of the form.
func (x *exchange) refuseHere(code refusal.Code, back string) {
	x.noteRefusal(code)
	x.problemPage(x.w, x.r, code, back)
}

// goOn serves a page that says that the visitor is verified, and goes on by itself. It
// is no redirect, since some phones drop cookies that a redirect sets.
func (x *exchange) goOn(back string) {
	x.page(x.w, x.r, pages.Wait, http.StatusOK, pages.Data{Return: back, Done: true, RefreshURL: back})
}

// maxAge reads the age limit in the form's address; 0 where there is none.
func maxAge(s string) time.Duration {
	seconds, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// fillKnown fills in the masked number if the site knows numbers. It returns a code if
// the site then knows none, or one that cannot be used.
func (x *exchange) fillKnown(data *pages.Data) refusal.Code {
	if x.cfg.KnownNumber == nil {
		return ""
	}
	if x.visitor.Number == "" {
		return refusal.NumberUnknown
	}
	n, code := x.desk.ParseNumber(x.visitor.Number)
	if code != "" {
		return code
	}
	data.Known, data.Masked = true, phone.Mask(n.E164)
	return ""
}

// renewBrowserCookie sets the cookie that binds attempts to this browser. An existing
// value stays, so that attempts in parallel tabs go on.
func (x *exchange) renewBrowserCookie() {
	if x.visit.method != http.MethodGet {
		return
	}
	id := x.visitor.Browser
	if id == "" {
		id = ledger.NewID()
	}
	x.setBrowserCookie(id)
}

func (x *exchange) setBrowserCookie(id string) {
	c := x.origin.browserCookie
	c.Value, c.MaxAge = id, int((24 * time.Hour).Seconds())
	http.SetCookie(x.w, &c)
}

// start serves a press of the start button: it starts an attempt after all checks that
// cost nothing.
func (x *exchange) start() {
	if x.isEarly() {
		x.problemJSON(x.w, x.r, http.StatusTooEarly, "")
		return
	}
	fields, ok := x.ownFields()
	if !ok {
		return
	}
	back := returnPath(fields.Get("return"), x.cfg.Path)
	if _, sessions := x.visit.cookie(x.origin.sessionCookie.Name); x.visitor.Browser == "" || sessions > 1 {
		x.refuse(refusal.CookiesRequired, back)
		return
	}
	n, code := x.startNumber(fields)
	if code != "" {
		x.answer(attempt.Refused{Code: code, Return: back})
		return
	}
	x.answer(x.desk.Start(x.r.Context(), &attempt.Order{
		Visitor: &x.visitor, Number: n, Return: back,
		CallbackURL: x.origin.url + x.cfg.Path + "/callback", Client: quota.ClientOf(x.cfg.ClientIP(x.r)),
		Texts: x.texts[language(x.r)],
	}))
}

// startNumber returns the number to verify: the known one, or else the posted one.
func (x *exchange) startNumber(fields url.Values) (phone.Number, refusal.Code) {
	switch {
	case x.cfg.KnownNumber != nil && x.visitor.Number == "":
		return phone.Number{}, refusal.NumberUnknown
	case x.cfg.KnownNumber != nil:
		return x.desk.ParseNumber(x.visitor.Number)
	case len(fields["number"]) != 1:
		return phone.Number{}, refusal.NumberInvalid
	default:
		return x.desk.ParseNumber(fields.Get("number"))
	}
}

// startRefused shows the form again with the reason. It does not repeat the typed
// number, since no page holds a full one.
func (x *exchange) startRefused(refused attempt.Refused) {
	code, retry := refused.Code, time.Until(refused.RetryAt)
	if refused.Reference != "" {
		x.about(journal.WithReference(x.r.Context(), refused.Reference))
	}
	x.noteRefusal(code)
	if retry <= 0 { // also where RetryAt is zero
		retry = code.Retry()
	}
	if wantsJSON(x.r) {
		x.problemJSONRetry(x.w, x.r, code.Status(), code, retry)
		return
	}
	data := pages.Data{Code: string(code), Return: refused.Return, RetryAfter: retry}
	if x.fillKnown(&data) != "" {
		x.problemPage(x.w, x.r, code, refused.Return)
		return
	}
	x.renewBrowserCookie()
	x.page(x.w, x.r, pages.Form, code.Status(), data)
}
