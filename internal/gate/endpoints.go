package gate

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/pages"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// maxForm bounds a posted form, in bytes.
const maxForm = 16 << 10

// IsEndpoint tells whether the request, as the client sent it, is for the
// gate's endpoints.
func (g *Gate) IsEndpoint(v *Visit) bool { return under(v.url.Path, g.cfg.Path) }

// IsCallback tells whether the request is a callback, or is for the path below it
// that is reserved for providers with a callback of their own. Its address holds
// credentials and must stay out of logs.
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
	r = g.withClient(r)
	name, rest, _ := strings.Cut(strings.TrimPrefix(v.url.Path, g.cfg.Path+"/"), "/")
	if v.url.Path == g.cfg.Path {
		g.get(w, r, v, func() { g.redirect(w, withQuery(g.cfg.Path+"/", v.url.RawQuery)) })
		return
	}
	switch {
	case name == "" && rest == "" && v.url.Path == g.cfg.Path+"/":
		g.get(w, r, v, func() { g.form(w, r, v, o) })
	case name == "start" && v.url.Path == g.cfg.Path+"/start":
		g.post(w, r, v, func() { g.serveStart(w, r, v, o) })
	case name == "callback" && v.url.Path == g.cfg.Path+"/callback":
		g.get(w, r, v, func() { g.serveCallback(w, r, v, o) })
	case name == "wait" && isWaitID(rest):
		g.get(w, r, v, func() { g.wait(w, r, v, o, rest) })
	case name == "wait" && rest != "" && !strings.Contains(rest, "/"):
		g.get(w, r, v, func() { g.toProblem(w, r, AttemptUnknown, "") })
	case name == "problem" && isCode(rest):
		g.get(w, r, v, func() { g.problemPage(w, r, Code(rest), "/") })
	case name == "status" && v.url.Path == g.cfg.Path+"/status":
		g.get(w, r, v, func() { g.status(w, r, v, o) })
	case name == "sign-out" && v.url.Path == g.cfg.Path+"/sign-out":
		g.post(w, r, v, func() { g.serveSignOut(w, r, v, o) })
	default:
		g.nothingHere(w, r, v, http.StatusNotFound)
	}
}

func isCode(s string) bool { _, ok := codes[Code(s)]; return ok }

// isWaitID tells whether s could be an attempt's id.
func isWaitID(s string) bool { return len(s) == 22 && isBase64URL(s) }

func withQuery(path, query string) string {
	if query == "" {
		return path
	}
	return path + "?" + query
}

// get serves GET, and HEAD as GET without effect.
func (g *Gate) get(w http.ResponseWriter, r *http.Request, v *Visit, serve func()) {
	if !v.isSafe() {
		w.Header().Set("Allow", "GET, HEAD")
		g.nothingHere(w, r, v, http.StatusMethodNotAllowed)
		return
	}
	serve()
}

// post serves POST. A visitor who loads the address of a form's action, by the
// address bar or a reload, goes to the form.
func (g *Gate) post(w http.ResponseWriter, r *http.Request, v *Visit, serve func()) {
	switch {
	case v.method == http.MethodPost:
		serve()
	case v.isSafe() && v.isNavigation(r.Header):
		g.redirect(w, g.cfg.Path+"/")
	default:
		w.Header().Set("Allow", "POST")
		g.nothingHere(w, r, v, http.StatusMethodNotAllowed)
	}
}

// nothingHere answers where no endpoint does, with a page for a visitor.
func (g *Gate) nothingHere(w http.ResponseWriter, r *http.Request, v *Visit, status int) {
	if v.isNavigation(r.Header) {
		g.page(w, r, pages.Problem, status, pages.Data{Return: "/"})
		return
	}
	g.problemJSON(w, status, "")
}

// isEarly tells whether the request came as TLS early data, here or at a proxy in
// front, which anybody on the way can play again.
func isEarly(r *http.Request) bool {
	return (r.TLS != nil && !r.TLS.HandshakeComplete) || r.Header.Get("Early-Data") == "1"
}

// form serves the form: what happens, the number field or the known number, and
// one button. It calls nobody.
func (g *Gate) form(w http.ResponseWriter, r *http.Request, v *Visit, o *origin) {
	query := v.url.Query()
	back := returnPath(query.Get("return"), g.cfg.Path)
	route := g.endpointRoute()
	route.MaxAge = maxAge(query.Get("max_age"))
	session, err := g.validSession(r, v, o, route)
	if err != nil {
		g.problemPage(w, r, CacheUnavailable, back)
		return
	}
	data := pages.Data{Return: back}
	if session != nil && query.Get("resume") != "" {
		g.goOn(w, r, back)
		return
	}
	if session != nil {
		data.ContinueURL = back
	} else if v.method == http.MethodGet {
		done, code := g.regrant(w, r, v, o, route)
		if done {
			g.goOn(w, r, back)
			return
		}
		if code != "" {
			g.logRefusal(r, code, "")
			g.problemPage(w, r, code, back)
			return
		}
	}
	if code := g.knownNumber(r, &data); code != "" {
		g.logRefusal(r, code, "")
		g.problemPage(w, r, code, back)
		return
	}
	data.Code = string(g.refusal(r, v, o))
	g.renewBrowserCookie(w, v, o)
	g.page(w, r, pages.Form, http.StatusOK, data)
}

// goOn shows that the visitor is verified and goes on by itself. It is a page
// and no redirect: some phones drop cookies that a redirect sets.
func (g *Gate) goOn(w http.ResponseWriter, r *http.Request, back string) {
	g.page(w, r, pages.Wait, http.StatusOK, pages.Data{Return: back, Done: true, RefreshURL: back})
}

// maxAge reads the age that the gate put into the form's address.
func maxAge(s string) time.Duration {
	seconds, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// knownNumber fills in the number that the site knows, masked. It returns a
// code where the site should know it but does not, or not a usable one.
func (g *Gate) knownNumber(r *http.Request, data *pages.Data) Code {
	if g.cfg.KnownNumber == nil {
		return ""
	}
	known := g.cfg.KnownNumber(r)
	if known == "" {
		return NumberUnknown
	}
	n, code := g.parseNumber(known)
	if code != "" {
		return code
	}
	data.Known, data.Masked = true, phone.Mask(n.E164)
	return ""
}

// renewBrowserCookie sets the cookie that binds attempts to this browser. A
// browser keeps its value, so that attempts in parallel tabs hold.
func (g *Gate) renewBrowserCookie(w http.ResponseWriter, v *Visit, o *origin) {
	if v.method != http.MethodGet {
		return
	}
	id, ok := v.secretCookie(o.browser)
	if !ok {
		id = newID()
	}
	g.setBrowserCookie(w, o, id)
}

func (g *Gate) setBrowserCookie(w http.ResponseWriter, o *origin, id string) {
	c := o.browserCookie
	c.Value, c.MaxAge = id, int((24 * time.Hour).Seconds())
	http.SetCookie(w, &c)
}

// serveStart checks everything that costs nothing, then starts an attempt.
func (g *Gate) serveStart(w http.ResponseWriter, r *http.Request, v *Visit, o *origin) {
	if isEarly(r) {
		g.problemJSON(w, http.StatusTooEarly, "")
		return
	}
	fields, ok := g.ownForm(w, r)
	if !ok {
		return
	}
	back := returnPath(fields.Get("return"), g.cfg.Path)
	browser, ok := v.secretCookie(o.browser)
	if _, sessions := v.cookie(o.session); !ok || sessions > 1 {
		g.problemFor(w, r, CookiesRequired, back)
		return
	}
	n, code := g.startNumber(r, fields)
	if code != "" {
		g.startRefused(w, r, v, o, code, back, 0)
		return
	}
	press := g.start(r, starter{origin: o, browser: browser, number: n, back: back, client: g.clientOf(r)})
	if press.Code == "" && press.URL != "" {
		g.sendTo(w, r, press.URL)
		return
	}
	var retry time.Duration
	if !press.RetryAt.IsZero() {
		retry = time.Until(press.RetryAt)
	}
	g.startRefused(w, r, v, o, Code(press.Code), back, retry)
}

// startNumber is the number to verify: the known one, else the posted one.
func (g *Gate) startNumber(r *http.Request, fields url.Values) (phone.Number, Code) {
	if g.cfg.KnownNumber != nil {
		known := g.cfg.KnownNumber(r)
		if known == "" {
			return phone.Number{}, NumberUnknown
		}
		return g.parseNumber(known)
	}
	if len(fields["number"]) != 1 {
		return phone.Number{}, NumberInvalid
	}
	return g.parseNumber(fields.Get("number"))
}

// parseNumber reads a number that may be verified here.
func (g *Gate) parseNumber(input string) (phone.Number, Code) {
	n, err := phone.Parse(input, &g.numbers)
	switch {
	case err == nil:
		return n, ""
	case errors.Is(err, phone.ErrUnsupported):
		return phone.Number{}, NumberUnsupported
	default:
		return phone.Number{}, NumberInvalid
	}
}

// sendTo sends the visitor to the operator.
func (g *Gate) sendTo(w http.ResponseWriter, r *http.Request, location string) {
	if wantsJSON(r) {
		g.writeJSON(w, http.StatusOK, "application/json", map[string]string{"redirect_url": location})
		return
	}
	g.redirect(w, location)
}

// startRefused shows the form again with the reason. It does not repeat what was
// typed: no page holds a full number. Another start may pass after retry, where
// that is known.
func (g *Gate) startRefused(w http.ResponseWriter, r *http.Request, v *Visit, o *origin, code Code, back string, retry time.Duration) {
	g.logRefusal(r, code, "")
	if retry > 0 {
		setRetryAfter(w.Header(), retry)
	}
	if wantsJSON(r) {
		g.problemJSON(w, code.Status(), code)
		return
	}
	data := pages.Data{Code: string(code), Return: back, RetryAfter: retry}
	if g.knownNumber(r, &data) != "" {
		g.problemPage(w, r, code, back)
		return
	}
	g.renewBrowserCookie(w, v, o)
	g.page(w, r, pages.Form, code.Status(), data)
}

// ownForm reads what a page of this site has posted. Where it was another's, or
// cannot be read, it has answered.
func (g *Gate) ownForm(w http.ResponseWriter, r *http.Request) (fields url.Values, ok bool) {
	if err := g.cross.Check(r); err != nil {
		g.problemFor(w, r, CrossOrigin, "/")
		return nil, false
	}
	fields, status := postedFields(w, r)
	if status != 0 {
		g.problemJSON(w, status, "")
		return nil, false
	}
	return fields, true
}

// postedFields reads a form or a JSON object of strings. A status other than 0
// says why it could not.
func postedFields(w http.ResponseWriter, r *http.Request) (fields url.Values, status int) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Header.Get("Content-Type") == "":
		return url.Values{}, 0 // a known number needs no form
	case err != nil:
		return nil, http.StatusUnsupportedMediaType
	case mediaType == "application/json":
		fields, err = jsonFields(r.Body)
	case mediaType == "application/x-www-form-urlencoded":
		err = r.ParseForm()
		fields = r.PostForm
	case mediaType == "multipart/form-data":
		err = r.ParseMultipartForm(maxForm)
		fields = r.PostForm
	default:
		return nil, http.StatusUnsupportedMediaType
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, http.StatusRequestEntityTooLarge
	case err != nil:
		return nil, http.StatusBadRequest
	default:
		return fields, 0
	}
}

func jsonFields(body io.Reader) (url.Values, error) {
	decoder := json.NewDecoder(body)
	var object struct {
		Number string `json:"number"`
		Return string `json:"return"`
	}
	if err := decoder.Decode(&object); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return url.Values{"number": {object.Number}, "return": {object.Return}}, nil
}

// serveCallback takes the browser back in, except where that must not count.
func (g *Gate) serveCallback(w http.ResponseWriter, r *http.Request, v *Visit, o *origin) {
	if isEarly(r) {
		g.problemJSON(w, http.StatusTooEarly, "")
		return
	}
	if v.method == http.MethodHead {
		g.redirect(w, g.cfg.Path+"/")
		return
	}
	g.callback(w, r, v, o)
}

// waitPage shows that the result is still awaited, and renews itself.
func (g *Gate) waitPage(w http.ResponseWriter, r *http.Request, id string, a *ledger.Attempt) {
	g.page(w, r, pages.Wait, http.StatusOK, pages.Data{
		Return: returnPath(a.Return, g.cfg.Path), RefreshURL: g.waitURL(id), RefreshAfter: settleTime,
	})
}

// statusBody is the answer of GET /status.
type statusBody struct {
	Verified   bool   `json:"verified"`
	Code       Code   `json:"code,omitempty"`
	Number     string `json:"number,omitempty"`
	Operator   string `json:"operator,omitempty"`
	Method     string `json:"method,omitempty"`
	VerifiedAt string `json:"verified_at,omitempty"`
	ExpiresAt  string `json:"expires_at,omitempty"`
}

// status tells a page's script how things stand, without the full number.
func (g *Gate) status(w http.ResponseWriter, r *http.Request, v *Visit, o *origin) {
	session, err := g.validSession(r, v, o, g.endpointRoute())
	if err != nil {
		g.problemJSON(w, CacheUnavailable.Status(), CacheUnavailable)
		return
	}
	g.renewBrowserCookie(w, v, o)
	if session == nil {
		code := g.refusal(r, v, o)
		if code == "" {
			code = VerificationRequired
		}
		g.writeJSON(w, http.StatusOK, "application/json", statusBody{Code: code})
		return
	}
	g.writeJSON(w, http.StatusOK, "application/json", statusBody{
		Verified: true, Number: phone.Mask(session.Number), Operator: session.Operator,
		Method: cmp.Or(session.Method, string(verifier.Silent)), VerifiedAt: session.At(),
		ExpiresAt: session.VerifiedAt.Add(g.sessionTTL).UTC().Format(time.RFC3339),
	})
}

// serveSignOut ends the visitor's sessions.
func (g *Gate) serveSignOut(w http.ResponseWriter, r *http.Request, v *Visit, o *origin) {
	fields, ok := g.ownForm(w, r)
	if !ok {
		return
	}
	if err := g.signOut(w, r, v, o); err != nil {
		g.log.Error("sign-out failed", zap.String("code", string(CacheUnavailable)), zap.Error(err))
		g.problemFor(w, r, CacheUnavailable, "/")
		return
	}
	g.redirect(w, returnPath(fields.Get("return"), g.cfg.Path))
}
