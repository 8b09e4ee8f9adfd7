package gate

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/pages"
)

// challenge is the scheme of WWW-Authenticate.
const challenge = "NumberVerify"

// secureHeaders go with every answer of the gate. form-action also binds the
// redirects that follow a post, so it admits operators, whose pages may be on
// plain http.
func (g *Gate) secureHeaders(h http.Header, nonce string) {
	style := "'none'"
	if nonce != "" {
		style = "'nonce-" + nonce + "'"
	}
	images := "'self'"
	if src := g.cfg.Pages.ImageSource(); src != "" {
		images += " " + src
	}
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+style+"; img-src "+images+
		"; form-action 'self' https: http:; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Cookie")
	h.Set("X-Content-Type-Options", "nosniff")
	if h.Get("Referrer-Policy") != "no-referrer" {
		h.Set("Referrer-Policy", "same-origin")
	}
}

// redirect answers 303. It writes location as it is: http.Redirect would clean
// the path, and could make of a safe one an unsafe one.
func (g *Gate) redirect(w http.ResponseWriter, location string) {
	g.secureHeaders(w.Header(), "")
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// problem is a refusal as RFC 9457 has it.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Code      Code   `json:"code,omitempty"`
	VerifyURL string `json:"verify_url,omitempty"`
}

func (g *Gate) problemJSON(w http.ResponseWriter, status int, code Code) {
	p := problem{Type: "about:blank", Title: http.StatusText(status), Status: status}
	if info, ok := codes[code]; ok {
		p = problem{
			Type: g.problemURL(code), Title: info.title, Status: status,
			Detail: info.detail, Code: code, VerifyURL: g.cfg.Path + "/",
		}
	}
	code.headers(w.Header())
	g.writeJSON(w, status, "application/problem+json", p)
}

func (g *Gate) writeJSON(w http.ResponseWriter, status int, contentType string, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		g.log.Error("answer not encoded", zap.Error(err))
		status, encoded = http.StatusInternalServerError, nil
	}
	g.secureHeaders(w.Header(), "")
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(encoded, '\n')) // the client may be gone
}

// page writes a page. Its data's code decides on the headers.
func (g *Gate) page(w http.ResponseWriter, r *http.Request, name pages.Name, status int, data pages.Data) {
	data.Lang = pages.Language(strings.Join(r.Header["Accept-Language"], ","))
	data.Nonce = newID()
	data.Base = g.cfg.Path
	data.Status = status
	data.SessionTTL = g.sessionTTL
	if status >= http.StatusBadRequest && data.Code != "" {
		data.RetryAfter = cmp.Or(data.RetryAfter, Code(data.Code).retryAfter())
		Code(data.Code).headers(w.Header())
	}
	body, err := g.cfg.Pages.Render(name, data)
	if err != nil {
		g.log.Error("page not rendered", zap.String("page", string(name)), zap.Error(err))
		g.problemJSON(w, http.StatusInternalServerError, "")
		return
	}
	g.secureHeaders(w.Header(), data.Nonce)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

// problemPage explains a refusal to a person.
func (g *Gate) problemPage(w http.ResponseWriter, r *http.Request, code Code, back string) {
	g.page(w, r, pages.Problem, code.Status(), pages.Data{Code: string(code), Return: back})
}

// toProblem sends a visitor to the page of a problem; see logRefusal.
func (g *Gate) toProblem(w http.ResponseWriter, r *http.Request, code Code, id string) {
	g.logRefusal(r, code, id)
	g.redirect(w, g.problemURL(code))
}

func (g *Gate) problemURL(code Code) string { return g.cfg.Path + "/problem/" + string(code) }

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

// problemFor answers in the client's language: JSON or a page.
func (g *Gate) problemFor(w http.ResponseWriter, r *http.Request, code Code, back string) {
	g.logRefusal(r, code, "")
	if wantsJSON(r) {
		g.problemJSON(w, code.Status(), code)
		return
	}
	g.problemPage(w, r, code, back)
}
