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

// checkReach refuses a configuration in which visitors cannot reach the endpoints
// of a gate: all its handlers stand in routes, such as those of handle, whose path
// matchers leave the endpoints out. A gate is not complained of where that cannot
// be told.
func checkReach(app *caddyhttp.App) error {
	reach := make(map[*gate.Gate]*reached)
	for _, server := range app.Servers {
		walk(server.Routes, nil, reach)
	}
	for _, r := range reach {
		if r.isHidden && !r.byVisitors {
			return r.complaint()
		}
	}
	return nil
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

// walk notes of each gate in routes whether its endpoints pass the path matchers
// outside, and those on the way to it. The matchers behind a rewrite are left
// aside: they are asked for what it makes of the path.
func walk(routes caddyhttp.RouteList, outside []caddyhttp.MatcherSets, reach map[*gate.Gate]*reached) {
	isRewritten := false
	for _, route := range routes {
		inside := outside
		if !isRewritten && len(route.MatcherSets) > 0 {
			inside = append(inside[:len(inside):len(inside)], route.MatcherSets)
		}
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *Handler:
				h.noteReach(inside, reach)
			case *caddyhttp.Subroute:
				walk(h.Routes, inside, reach)
			case *rewrite.Rewrite, rewrite.Rewrite:
				isRewritten = true
			}
		}
	}
}

func (h *Handler) noteReach(matchers []caddyhttp.MatcherSets, reach map[*gate.Gate]*reached) {
	path := h.withDefaults().Path
	if reach[h.gate] == nil {
		reach[h.gate] = &reached{path: path}
	}
	for _, sets := range matchers {
		if hides(sets, path+"/") || hides(sets, path+"/callback") {
			reach[h.gate].isHidden, reach[h.gate].hiddenBy = true, patterns(sets)
			return
		}
	}
	reach[h.gate].byVisitors = true
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
