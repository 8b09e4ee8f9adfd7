package adversary

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// separators are all that RFC 9110 allows in a field's name but letters and
// digits. Servers that make variables of names fold some of them, or all.
const separators = "-_.!#$%&'*+^`|~"

// spelledNames are the gate's names with every pair of separators in place of
// the hyphens, in changing letter cases: some end as the gate's own do, the
// others each in their own way.
func spelledNames() []string {
	var all []string
	cases := []func(string) string{strings.ToLower, strings.ToUpper, func(s string) string { return s }, func(s string) string { return strings.ToUpper(s[:3]) + strings.ToLower(s[3:]) }}
	for i, first := range separators {
		for j, second := range separators {
			n := len(all)
			for _, end := range []string{fmt.Sprintf("N%dx%d", i, j), []string{"Number", "At", "Operator"}[j%3]} {
				all = append(all, cases[(n+n/len(separators))%len(cases)](fmt.Sprintf("X%cVerified%c%s", first, second, end)))
			}
		}
	}
	return all
}

// folding is a way to bring names past a gate to a server that folds them.
type folding struct {
	name string
	make func(names []string) stage.Request
}

// with a value of its own each: an answer tells by it which name was read.
func fieldsOf(names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = name + ": " + forged + " " + name
	}
	return all
}

var foldings = []folding{
	{"as headers", func(names []string) stage.Request {
		return stage.Request{Method: "GET", Fields: fieldsOf(names)}
	}},
	{"each of them twice", func(names []string) stage.Request {
		return stage.Request{Method: "GET", Fields: slices.Concat(fieldsOf(names), fieldsOf(names))}
	}},
	{"named in Connection", func(names []string) stage.Request {
		return stage.Request{Method: "GET", Fields: []string{"Connection: keep-alive, " + strings.Join(names, ", ")}}
	}},
	{"named in Connection and sent", func(names []string) stage.Request {
		return stage.Request{Method: "GET", Fields: append(fieldsOf(names), "Connection: "+strings.Join(names, ", ")+", keep-alive")}
	}},
	{"as trailers", func(names []string) stage.Request {
		return stage.Request{Method: "POST", Body: "a", Trailers: fieldsOf(names)}
	}},
	{"as headers of a form", func(names []string) stage.Request {
		return stage.Request{Method: "POST", Body: "a", Fields: append(fieldsOf(names), "Content-Type: application/x-www-form-urlencoded")}
	}},
}

// expectingAll tells Caddy to expect all names that it would drop itself, where
// it can be told.
func expectingAll() []string {
	var underscores, dots strings.Builder
	for _, name := range spelledNames() {
		if strings.Contains(name, "*") {
			continue
		}
		if strings.Contains(name, "_") {
			underscores.WriteString(" " + name)
		}
		if strings.Contains(name, ".") {
			dots.WriteString(" " + name)
		}
	}
	return []string{"expected_underscore_headers" + underscores.String(), "expected_dot_headers" + dots.String()}
}

// perRequest is how many names one request brings: Python reads 100 headers.
const perRequest = 40

// Whatever a server takes for the gate's word is the gate's word.
func TestHeadersThatServersOfOtherMakesFoldInTheirOwnWay(t *testing.T) {
	for about, options := range map[string][]string{"as Caddy is": nil, "as Caddy is told to expect them": expectingAll()} {
		s := newSite(t, withAccount, options...)
		visitor := s.VisitorAt(t, s.Origin(stage.HTTP11))
		visitor.ArriveFrom(visitor.Callback("/account/", stage.TypedNumber))
		for _, server := range servers(t) {
			t.Run(about+"/"+server.name, func(t *testing.T) {
				h := &hearing{t, &line{site: s}, server, visitor}
				defer h.line.close()
				own := h.ofVisitor(stage.Request{Method: "GET"})
				if !slices.Contains(slices.Collect(maps.Values(own)), stage.VisitorsNumber) || len(own) < 3 {
					t.Fatalf("of the gate it hears %q", own)
				}
				for _, f := range foldings {
					t.Run(f.name, func(t *testing.T) {
						h := &hearing{t, h.line, server, visitor}
						for names := range slices.Chunk(spelledNames(), perRequest) {
							h.stranger(f.make(names))
							h.verified(f.make(names), own)
						}
					})
				}
			})
		}
		count("Headers in all spellings, at servers of other makes", len(foldings)*len(spelledNames()))
	}
}

// hearing is the question to a server what it heard.
type hearing struct {
	t *testing.T
	*line
	server  *server
	visitor *stage.Visitor
}

// hear sends the request, with a cookie that is not the gate's, and returns what
// the server says.
func (h *hearing) hear(r stage.Request, cookies string) said {
	h.t.Helper()
	answer, err := h.send(h.server, r.With("Cookie: theme=dark"+cookies))
	a, ok := whatSaid(answer)
	if err != nil || !ok {
		h.t.Fatalf("%s %s: %v %d %q", r.Method, r.Path, err, answer.StatusCode, answer.Body)
	}
	for name, value := range h.visitor.Cookies("/") {
		if strings.Contains(a.Cookies, value) {
			h.t.Errorf("it is sent the cookie %s", name)
		}
	}
	if !strings.Contains(a.Cookies, "dark") {
		h.t.Errorf("of all cookies it is sent %q", a.Cookies)
	}
	return a
}

func (h *hearing) stranger(r stage.Request) {
	h.t.Helper()
	r.Path = "/public"
	if heard := h.hear(r, "").Headers; len(heard) > 0 {
		h.t.Errorf("of a stranger it hears %q", heard)
	}
}

// verified checks that the server hears of the visitor what it hears without
// forgery.
func (h *hearing) verified(r stage.Request, own map[string]string) {
	h.t.Helper()
	if heard := h.ofVisitor(r); !maps.Equal(heard, own) {
		h.t.Errorf("of the visitor it hears %q", heard)
	}
}

func (h *hearing) ofVisitor(r stage.Request) map[string]string {
	h.t.Helper()
	r.Path = "/account/"
	return h.hear(r, strings.Replace(h.visitor.CookieField(), "Cookie: ", "; ", 1)).Headers
}

// Where there is no gate, each server reads some of these names as the gate's:
// what gets through would be noticed.
func TestHeadersInAllSpellingsAreNoticedWithoutAGate(t *testing.T) {
	s := newSite(t, toServer, expectingAll()...)
	l := &line{site: s}
	defer l.close()
	least := map[string]int{"lighttpd with CGI": 240, "php -S": 12, "wsgiref": 5, "Flask": 10, "Node": 1, "Go": 1}
	for _, server := range servers(t) {
		t.Run(server.name, func(t *testing.T) {
			heard := 0
			for names := range slices.Chunk(spelledNames(), perRequest) {
				answer, err := l.send(server, stage.Request{Path: "/public", Fields: fieldsOf(names)})
				if err != nil || answer.StatusCode != http.StatusOK {
					t.Fatalf("%v %d %q", err, answer.StatusCode, answer.Body)
				}
				a, _ := whatSaid(answer)
				heard += len(a.Headers)
			}
			if least[server.name] == 0 || heard < least[server.name] {
				t.Errorf("of %d names it hears %d as the gate's", len(spelledNames()), heard)
			}
		})
	}
}
