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
	h.byMethodAndPath = slices.IndexFunc(h.matchers, doesMore) < 0
	return nil
}

// doesMore tells whether a matcher of the set may do more than look at a request's
// method and path, such as read or set placeholders.
func doesMore(set caddyhttp.MatcherSet) bool {
	for _, matcher := range set {
		switch m := matcher.(type) {
		case *caddyhttp.MatchMethod:
		case *caddyhttp.MatchPath:
			if strings.Contains(strings.Join(*m, " "), "{") {
				return true
			}
		case *caddyhttp.MatchNot:
			if slices.ContainsFunc(m.MatcherSets, doesMore) {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// protects tells whether a request needs a verification: whether the matchers match it
// in any way in which Caddy or the site may read it. Caddy's own reading comes first.
// Only with it do matchers have other effects on the request, such as captured groups.
func (h *Handler) protects(r *http.Request, visit *gate.Visit) (bool, error) {
	if matches, err := h.matchers.AnyMatchWithError(r); matches || err != nil {
		return matches, err
	}
	method, arrived := visit.Arrived()
	if method != r.Method || *arrived != *r.URL { // rewritten
		if matches, err := h.matchesAs(r, method, arrived); matches || err != nil {
			return matches, err
		}
	}
	if r.Method == http.MethodConnect { // a WebSocket of HTTP/2 or 3, which reverse_proxy sends as GET
		for _, u := range []*url.URL{arrived, r.URL} {
			if matches, err := h.matchesAs(r, http.MethodGet, u); matches || err != nil {
				return matches, err
			}
		}
	}
	return h.matchesOtherwise(r)
}

// matchesAs tells whether the matchers match r with another method and address, in
// any reading of its path.
func (h *Handler) matchesAs(r *http.Request, method string, u *url.URL) (bool, error) {
	other := h.copyOf(r)
	other.Method, other.URL = method, u
	if matches, err := h.matchers.AnyMatchWithError(other); matches || err != nil {
		return matches, err
	}
	return h.matchesOtherwise(other)
}

// matchesOtherwise tells whether the matchers match r in a reading of its path that is
// not Caddy's own.
func (h *Handler) matchesOtherwise(r *http.Request) (bool, error) {
	readings, ok := gate.Readings(r.URL)
	if !ok {
		return true, nil // fail closed
	}
	if len(readings) == 0 {
		return false, nil
	}
	other, read := h.copyOf(r), *r.URL
	read.RawPath, other.URL = "", &read
	for _, path := range readings {
		if read.Path = gate.ForMatcher(path); read.Path == r.URL.Path {
			continue
		}
		if matches, err := h.matchers.AnyMatchWithError(other); matches || err != nil {
			return matches, err
		}
	}
	return false, nil
}

// copyOf returns a copy of r for the matchers. It has its own variables and
// placeholders, so that matchers cannot change those of r, and no body, which they
// would use up.
func (h *Handler) copyOf(r *http.Request) *http.Request {
	if h.byMethodAndPath {
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
		placeholders.Map(repl.Get) // placeholders that do not come from the request itself
	}
	return other
}
