package gate

import (
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/pages"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// challenge is the scheme of WWW-Authenticate.
const challenge = "NumberVerify"

// secureHeaders sets the headers of every answer of the gate.
func (g *Gate) secureHeaders(h http.Header, nonce string) {
	h.Set("Content-Security-Policy", g.cfg.Pages.Policy(nonce))
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Cookie")
	h.Set("X-Content-Type-Options", "nosniff")
	if h.Get("Referrer-Policy") != "no-referrer" {
		h.Set("Referrer-Policy", "same-origin")
	}
}

// setRefusal sets the headers of a refusal. The visitor may try again after retry,
// unless it is 0.
func setRefusal(h http.Header, code refusal.Code, retry time.Duration) {
	if code.Status() == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", challenge)
	}
	if retry > 0 {
		// rounded up, so that nobody tries too early
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(retry.Seconds())))))
	}
}

// redirect answers 303. It does not use http.Redirect, which cleans the path and could
// make a safe one unsafe.
func (g *Gate) redirect(w http.ResponseWriter, location string) {
	g.secureHeaders(w.Header(), "")
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// problem is a refusal in the form of RFC 9457.
type problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail,omitempty"`
	Code      refusal.Code `json:"code,omitempty"`
	VerifyURL string       `json:"verify_url,omitempty"`
	Reference string       `json:"reference,omitempty"`
}

func (g *Gate) problemJSON(w http.ResponseWriter, r *http.Request, status int, code refusal.Code) {
	g.problemJSONRetry(w, r, status, code, code.Retry())
}

func (g *Gate) problemJSONRetry(w http.ResponseWriter, r *http.Request, status int, code refusal.Code, retry time.Duration) {
	p := problem{Type: "about:blank", Title: http.StatusText(status), Status: status}
	if code.IsKnown() {
		p = problem{
			Type: g.problemURL(code), Title: code.Title(), Status: status,
			Detail: code.Detail(), Code: code, VerifyURL: g.cfg.Path + "/",
			Reference: journal.Reference(r.Context()),
		}
		setRefusal(w.Header(), code, retry)
	}
	g.writeJSON(w, status, "application/problem+json", p)
}

func (g *Gate) writeJSON(w http.ResponseWriter, status int, contentType string, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		g.journal.AnswerNotEncoded(err)
		status, encoded = http.StatusInternalServerError, nil
	}
	g.secureHeaders(w.Header(), "")
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(encoded, '\n')) // the client may be gone
}

// page writes a page. Data needs what the page shows; the rest is filled in here.
func (g *Gate) page(w http.ResponseWriter, r *http.Request, name pages.Name, status int, data pages.Data) {
	data.Lang = language(r)
	data.Texts = g.texts[data.Lang]
	data.Nonce = ledger.NewID()
	data.Base = g.cfg.Path
	data.Status = status
	data.SessionTTL = g.sessionTTL()
	if data.Code != "" && data.Reference == "" {
		data.Reference = journal.Reference(r.Context())
	}
	if code := refusal.Code(data.Code); status >= http.StatusBadRequest && code != "" {
		data.RetryAfter = cmp.Or(data.RetryAfter, code.Retry())
		setRefusal(w.Header(), code, data.RetryAfter)
	}
	body, err := g.cfg.Pages.Render(name, data)
	if err != nil {
		g.journal.PageNotRendered(string(name), err)
		g.problemJSON(w, r, http.StatusInternalServerError, "")
		return
	}
	g.secureHeaders(w.Header(), data.Nonce)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

// language returns the language of a visitor's pages.
func language(r *http.Request) string {
	return pages.Language(strings.Join(r.Header["Accept-Language"], ","))
}

// problemPage explains a refusal to a person.
func (g *Gate) problemPage(w http.ResponseWriter, r *http.Request, code refusal.Code, back string) {
	g.page(w, r, pages.Problem, code.Status(), pages.Data{Code: string(code), Return: back})
}

func (g *Gate) problemURL(code refusal.Code) string { return g.cfg.Path + "/problem/" + string(code) }

func (g *Gate) waitURL(id string) string { return g.cfg.Path + "/wait/" + id }

// wantsJSON tells a program from a browser that loads a page.
func wantsJSON(r *http.Request) bool {
	for _, accept := range r.Header["Accept"] {
		accept = strings.ToLower(accept)
		if strings.Contains(accept, "application/json") || strings.Contains(accept, "application/problem+json") {
			return true
		}
	}
	return false
}
