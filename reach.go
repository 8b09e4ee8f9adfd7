package numberverify

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"

	"github.com/numberverify/caddy-number-verify/internal/gate"
)

// checkReach refuses a configuration in which visitors of a site cannot reach the
// endpoints of its gate: all its handlers stand in routes, such as those of handle,
// whose path matchers leave the endpoints out. A gate is not complained of where
// that cannot be told.
func checkReach(app *caddyhttp.App) error {
	s := make(survey)
	for name, server := range app.Servers {
		s.walk(name, server.Routes, nil)
	}
	for _, r := range s {
		if r.isHidden && !r.byVisitors {
			return r.complaint()
		}
	}
	return nil
}

// survey is what is known of gates by site.
type survey map[place]*reached

// place is a gate on a site, which is a server and the hosts that the routes on the
// way are for: several sites may share one gate.
type place struct {
	gate *gate.Gate
	site string
}

// hosts are those that a route is for.
func hosts(route caddyhttp.Route) string {
	var all []string
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			if m, ok := matcher.(*caddyhttp.MatchHost); ok {
				all = append(all, *m...)
			}
		}
	}
	return strings.Join(all, ",")
}

// reached is what is known of a gate's endpoints.
type reached struct {
	path                 string
	byVisitors, isHidden bool
	// hiddenBy are the patterns of the path matcher that hides them, where it has
	// any.
	hiddenBy []string
}

func (r *reached) complaint() error {
	text := fmt.Sprintf("number_verify: no visitor can reach the gate's own pages under %s: the directive is in a handle or route whose matcher leaves them out", r.path)
	if len(r.hiddenBy) == 0 {
		return errors.New(text + "; give it a 'path' that the matcher matches")
	}
	within := strings.TrimRight(r.hiddenBy[0], "*/") + "/.number-verify"
	return fmt.Errorf("%s (path %s); give it a path within, like 'path %s'", text, strings.Join(r.hiddenBy, " "), within)
}

// walk notes of each gate in routes of a site whether its endpoints pass the path
// matchers outside, and those on the way to it. The matchers behind a rewrite are
// left aside: they are asked for what it makes of the path.
func (s survey) walk(site string, routes caddyhttp.RouteList, outside []caddyhttp.MatcherSets) {
	isRewritten := false
	for _, route := range routes {
		inside, here := outside, site+" "+hosts(route)
		if !isRewritten && len(route.MatcherSets) > 0 {
			inside = append(inside[:len(inside):len(inside)], route.MatcherSets)
		}
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *Handler:
				s.note(here, h, inside)
			case *caddyhttp.Subroute:
				s.walk(here, h.Routes, inside)
			case *rewrite.Rewrite:
				isRewritten = true
			}
		}
	}
}

func (s survey) note(site string, h *Handler, matchers []caddyhttp.MatcherSets) {
	at, path := place{h.gate, site}, h.withDefaults().Path
	if s[at] == nil {
		s[at] = &reached{path: path}
	}
	for _, sets := range matchers {
		if hides(sets, path+"/") || hides(sets, path+"/callback") {
			s[at].isHidden, s[at].hiddenBy = true, patterns(sets)
			return
		}
	}
	s[at].byVisitors = true
}

// hides tells whether no set can match a request for that path, whatever else the
// request holds.
func hides(sets caddyhttp.MatcherSets, path string) bool {
	r := (&http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, Header: make(http.Header)})
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, nil)
	for _, set := range sets {
		if !leavesOut(set, r) {
			return false
		}
	}
	return len(sets) > 0
}

// leavesOut tells whether a matcher of the set, all of which have to match, goes by
// the path alone and does not match it.
func leavesOut(set caddyhttp.MatcherSet, r *http.Request) bool {
	for _, matcher := range set {
		m, ok := matcher.(caddyhttp.RequestMatcherWithError)
		if !ok || !goesByPath(matcher) {
			continue
		}
		if matches, err := m.MatchWithError(r); !matches && err == nil {
			return true
		}
	}
	return false
}

func goesByPath(matcher any) bool {
	switch m := matcher.(type) {
	case *caddyhttp.MatchPath:
		return onlyLooks(caddyhttp.MatcherSet{m})
	case *caddyhttp.MatchPathRE:
		return true
	case *caddyhttp.MatchNot:
		for _, set := range m.MatcherSets {
			for _, matcher := range set {
				if !goesByPath(matcher) {
					return false
				}
			}
		}
		return true
	default:
		return false
	}
}

// patterns are those of the path matchers in sets.
func patterns(sets caddyhttp.MatcherSets) []string {
	var all []string
	for _, set := range sets {
		for _, matcher := range set {
			if m, ok := matcher.(*caddyhttp.MatchPath); ok {
				all = append(all, *m...)
			}
		}
	}
	return all
}
