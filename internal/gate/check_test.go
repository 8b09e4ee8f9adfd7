package gate

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/attempt"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// otherGates are gates of the same cookies on the same cache.
var otherGates = map[string]func(*Config){
	"another account":         func(cfg *Config) { cfg.Account = NewAccount("another", zap.NewNop()) },
	"other countries":         func(cfg *Config) { cfg.Region, cfg.Countries = "BE", []string{"BE"} },
	"a number that is known":  func(cfg *Config) { cfg.KnownNumber = func(*http.Request) string { return anyNumber(2) } },
	"a number that is not":    func(cfg *Config) { cfg.KnownNumber = func(*http.Request) string { return "" } },
	"cookies of another name": func(cfg *Config) { cfg.CookieName = "number-verify-2" },
}

// verified is the session cookie of a browser that was just verified.
func (s *stage) verified(g *Gate, browser string) *http.Cookie {
	s.t.Helper()
	press(g, "192.0.2.1", browser, anyNumber(1))
	cookies := visit(g, s.back(), browser).Result().Cookies()
	if len(cookies) != 1 || cookies[0].Name != "number-verify" {
		s.t.Fatalf("not verified: %v", cookies)
	}
	return cookies[0]
}

// isOpen tells whether a page of a route is open to whoever has a session cookie.
func isOpen(g *Gate, session *http.Cookie, name string, route attempt.Terms) bool {
	r := at(http.MethodGet, "/account/")
	r.AddCookie(&http.Cookie{Name: name, Value: session.Value})
	v := NewVisit(r.Method, r.URL)
	g.Strip(r, v, "X-Verified-")
	return g.Check(r, v, route).Session != nil
}

func TestSessionThatAnotherGateGaveForLessDoesNotPass(t *testing.T) {
	for name, change := range otherGates {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				one, other := s.gate(defaultLimits), s.gateWith(change)
				session := s.verified(one, ledger.NewID())
				if !isOpen(one, session, session.Name, attempt.Terms{SessionTTL: time.Hour}) {
					t.Error("the gate that gave it is closed")
				}
				if isOpen(other, session, other.cfg.CookieName, attempt.Terms{SessionTTL: time.Hour}) {
					t.Error("the other is open")
				}
			})
		})
	}
}

// Which account was billed is also what says whose word a verification is.
func TestAttemptOfOneAccountIsNotFinishedAtAnother(t *testing.T) {
	const unknown = "/.number-verify/problem/attempt_unknown"
	onStage(t, func(t *testing.T, s *stage) {
		one, other, browser := s.gate(defaultLimits), s.gateWith(otherGates["another account"]), ledger.NewID()
		press(one, "192.0.2.1", browser, anyNumber(1))
		if to := visit(other, s.back(), browser).Header().Get("Location"); !strings.HasPrefix(to, unknown+"?") || s.results.Load() != 0 {
			t.Errorf("the callback leads to %s", to)
		}
		s.pending.Store(true)
		wait := visit(one, s.back(), browser).Header().Get("Location")
		if !strings.Contains(wait, "/wait/") {
			t.Fatalf("the callback at its own gate leads to %s", wait)
		}
		s.pending.Store(false)
		pause(t.Context(), 5*time.Second)
		if w := visit(other, at(http.MethodGet, wait), browser); !strings.HasPrefix(w.Header().Get("Location"), unknown+"?") || len(w.Result().Cookies()) != 0 {
			t.Errorf("the wait page leads to %q", w.Header().Get("Location"))
		}
		if to := visit(one, at(http.MethodGet, wait), browser).Header().Get("Location"); to != "/account/" {
			t.Errorf("the wait page of its own gate leads to %q", to)
		}
	})
}

// The record lives as long as the most lenient route needs it.
func TestSessionThatWasIdleTooLongForOneRouteDoesNotPassIt(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g := s.gate(defaultLimits)
		strict, lenient := attempt.Terms{SessionTTL: time.Hour, SessionIdle: 5 * time.Minute}, attempt.Terms{SessionTTL: time.Hour}
		g.AddRoute(strict)
		session := s.verified(g, ledger.NewID())
		pause(t.Context(), 4*time.Minute)
		if !isOpen(g, session, session.Name, strict) {
			t.Error("it is idle too early")
		}
		pause(t.Context(), 5*time.Minute)
		if isOpen(g, session, session.Name, strict) {
			t.Error("it passes")
		}
		if !isOpen(g, session, session.Name, lenient) {
			t.Error("the lenient route is closed too")
		}
	})
}

// Without a public_url the gate cannot know its addresses, and a stranger chooses Host.
func TestGateWithoutAnOriginServesLoopbackAlone(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g := s.gateWith(func(cfg *Config) { cfg.Origins = nil })
		browser := ledger.NewID()
		for _, host := range []string{"evil.example", "localhost.evil.example", "192.0.2.1:8080", "localhost@evil.example", ""} {
			for _, r := range []*http.Request{startRequest("192.0.2.1", anyNumber(1), "/account/"), at(http.MethodGet, "/.number-verify/")} {
				r.Host = host
				if w := visit(g, r, browser); w.Code != http.StatusMisdirectedRequest || len(w.Result().Cookies()) != 0 {
					t.Errorf("%s at %q answers %d with cookies %v", r.URL.Path, host, w.Code, w.Result().Cookies())
				}
			}
		}
		if n := s.starts.Load(); n != 0 {
			t.Errorf("%d starts reached the provider", n)
		}
		if !passes(g, "192.0.2.1", anyNumber(1)) {
			t.Error("localhost is not served")
		}
	})
}
