package numberverify

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"

	"github.com/numberverify/caddy-number-verify/internal/gate"
)

// checkReach refuses a configuration in which visitors of a site cannot reach the
// endpoints of its gate, because all of the gate's handlers are in routes (of handle,
// for example) whose path matchers leave the endpoints out. If that cannot be told, the
// configuration passes.
func checkReach(app *caddyhttp.App) error {
	s := make(survey)
	for name, server := range app.Servers {
		s.walk(site{server: name}, server.Routes, server.NamedRoutes, nil)
	}
	for at, r := range s {
		if r.isHidden && !s.reaches(at) {
			return r.complaint(at.site)
		}
	}
	return nil
}

// survey is what is known of the endpoints of each gate on each site. Several sites may
// share a gate.
type survey map[place]*reached

// place is a gate on a site.
type place struct {
	gate *gate.Gate
	site site
}

// site is a server, and the hosts of the routes that lead to a handler. For each such
// route, from the outermost, there is a blank and its hosts.
type site struct{ server, hosts string }

// includes tells whether other is s or part of it.
func (s site) includes(other site) bool {
	return s.server == other.server && strings.HasPrefix(other.hosts+" ", s.hosts+" ")
}

// reached is what is known of a gate's endpoints.
type reached struct {
	path                string
	isReached, isHidden bool
	// hiddenBy are the patterns of the path matcher that hides them, if it has any.
	hiddenBy []string
}

// reaches tells whether visitors can reach the endpoints on that site, or on one that
// includes it.
func (s survey) reaches(at place) bool {
	for other, r := range s {
		if r.isReached && other.gate == at.gate && other.site.includes(at.site) {
			return true
		}
	}
	return false
}

func (r *reached) complaint(at site) error {
	text := "number_verify"
	if at.hosts != "" {
		text += " on" + at.hosts
	}
	text += fmt.Sprintf(": no visitor can reach the gate's own pages under %s: the directive is in a handle or route whose matcher leaves them out", r.path)
	if len(r.hiddenBy) == 0 {
		return errors.New(text + "; give it a 'path' that the matcher matches")
	}
	text += fmt.Sprintf(" (path %s)", strings.Join(r.hiddenBy, " "))
	for _, pattern := range r.hiddenBy {
		if folder, ok := strings.CutSuffix(pattern, "/*"); ok && !strings.Contains(folder, "*") {
			return fmt.Errorf("%s; give it a path within, like 'path %s/.number-verify'", text, folder)
		}
	}
	return errors.New(text + "; add '/.number-verify/*' to the matcher")
}

// walk notes for each gate in routes whether its endpoints pass the path matchers before
// it: those of outside, and those of the routes on the way. It ignores matchers after a
// rewrite, since they match another path, and tells whether there was a rewrite.
func (s survey) walk(at site, routes caddyhttp.RouteList, named map[string]*caddyhttp.Route, outside []caddyhttp.MatcherSets) (isRewritten bool) {
	for _, route := range routes {
		inside, here := outside, at
		if names := hosts(route); names != "" {
			here.hosts += " " + names
		}
		if !isRewritten && len(route.MatcherSets) > 0 {
			inside = append(inside[:len(inside):len(inside)], route.MatcherSets)
		}
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *Handler:
				s.note(place{h.gate, here}, h.withDefaults().Path, inside)
			case *caddyhttp.Subroute:
				isRewritten = s.walk(here, h.Routes, named, inside) || isRewritten
			case *caddyhttp.Invoke:
				if invoked := named[h.Name]; invoked != nil {
					others := maps.Clone(named)
					delete(others, h.Name) // a route may invoke itself
					isRewritten = s.walk(here, caddyhttp.RouteList{*invoked}, others, inside) || isRewritten
				}
			case *rewrite.Rewrite:
				isRewritten = true
			}
		}
	}
	return isRewritten
}

// hosts returns the hosts that a route is for, separated by commas.
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

// note notes whether the matchers before a handler let through its endpoints under path.
func (s survey) note(at place, path string, matchers []caddyhttp.MatcherSets) {
	known := s[at]
	if known == nil {
		known = &reached{path: path}
		s[at] = known
	}
	for _, sets := range matchers {
		// both, since a matcher may match the form alone
		if hides(sets, path+"/") || hides(sets, path+"/callback") {
			known.isHidden, known.hiddenBy = true, patterns(sets)
			return
		}
	}
	known.isReached = true
}

// hides tells whether no set can match a request for that path, whatever the rest of
// the request is.
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

// leavesOut tells whether a matcher of the set looks only at the path and does not match
// it. All matchers of a set have to match.
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

// goesByPath tells whether a matcher looks only at the path of a request.
func goesByPath(matcher any) bool {
	switch m := matcher.(type) {
	case *caddyhttp.MatchPath:
		return !doesMore(caddyhttp.MatcherSet{m})
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

// patterns returns the patterns of the path matchers in sets.
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
