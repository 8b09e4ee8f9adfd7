package numberverify

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/numberverify/caddy-number-verify/internal/gate"
)

// loadMatchers sets up the matchers.
func (h *Handler) loadMatchers(ctx caddy.Context) error {
	if len(h.MatcherSetsRaw) == 0 {
		return nil
	}
	loaded, err := ctx.LoadModule(h, "MatcherSetsRaw")
	if err != nil {
		return fmt.Errorf("loading match: %w", err)
	}
	if err := h.matchers.FromInterface(loaded); err != nil {
		return err
	}
	h.onlyLooking = !slices.ContainsFunc(h.matchers, func(set caddyhttp.MatcherSet) bool { return !onlyLooks(set) })
	return nil
}

// onlyLooks tells whether the matchers of a set look at a request's method and path
// and do nothing else, neither read nor set placeholders.
func onlyLooks(set caddyhttp.MatcherSet) bool {
	return !slices.ContainsFunc(set, func(matcher any) bool {
		switch m := matcher.(type) {
		case *caddyhttp.MatchPath:
			return strings.Contains(strings.Join(*m, " "), "{")
		case *caddyhttp.MatchMethod:
			return false
		case *caddyhttp.MatchNot:
			return slices.ContainsFunc(m.MatcherSets, func(set caddyhttp.MatcherSet) bool { return !onlyLooks(set) })
		default:
			return true
		}
	})
}

// protects tells whether a request needs a verification: whether the matchers
// match it in any way in which the site, or Caddy before it, may read it. Caddy's
// own reading comes first, and it alone leaves behind what matchers do beside
// matching, such as captured groups.
func (h *Handler) protects(r *http.Request, visit *gate.Visit) (bool, error) {
	if matches, err := h.matchers.AnyMatchWithError(r); matches || err != nil {
		return matches, err
	}
	method, arrived := visit.Arrived()
	if method != r.Method || *arrived != *r.URL { // rewritten
		if matches, err := h.matchesReadings(r, method, arrived, true); matches || err != nil {
			return matches, err
		}
	}
	return h.matchesReadings(r, r.Method, r.URL, false)
}

// matchesReadings tells whether the matchers match r, with another method and
// address, in any other reading of the path; in Caddy's own too where that was not
// asked for yet.
func (h *Handler) matchesReadings(r *http.Request, method string, u *url.URL, ownToo bool) (bool, error) {
	readings, ok := gate.Readings(u)
	if !ok {
		return true, nil // fail closed
	}
	if len(readings) == 0 && !ownToo {
		return false, nil
	}
	other := h.copyOf(r)
	other.Method = method
	if ownToo {
		other.URL = u
		if matches, err := h.matchers.AnyMatchWithError(other); matches || err != nil {
			return matches, err
		}
	}
	read := *u
	read.RawPath, other.URL = "", &read
	for _, path := range readings {
		if read.Path = path; path == u.Path {
			continue // Caddy's own
		}
		if matches, err := h.matchers.AnyMatchWithError(other); matches || err != nil {
			return matches, err
		}
	}
	return false, nil
}

// copyOf returns a copy of r for the matchers. They get variables and placeholders
// of its own, so that r keeps what it has; and no body, which they would use up.
func (h *Handler) copyOf(r *http.Request) *http.Request {
	if h.onlyLooking {
		return r.WithContext(r.Context())
	}
	ctx := r.Context()
	if vars, ok := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, maps.Clone(vars))
	}
	other := r.WithContext(ctx)
	other.Body = http.NoBody
	placeholders := caddyhttp.NewTestReplacer(other)
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		placeholders.Map(repl.Get) // those that are not of the request itself
	}
	return other
}
