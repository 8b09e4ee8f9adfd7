package gate

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/attempt"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// arrive is the answer of a route to a browser, which may have a session cookie.
func arrive(g *Gate, browser string, session *http.Cookie, route attempt.Terms) *httptest.ResponseRecorder {
	r, w := at(http.MethodGet, "/account/"), httptest.NewRecorder()
	r.Header.Set("Accept", "text/html")
	r.AddCookie(&http.Cookie{Name: "number-verify-browser", Value: browser})
	if session != nil {
		r.AddCookie(&http.Cookie{Name: g.cfg.CookieName, Value: session.Value})
	}
	v := NewVisit(r.Method, r.URL)
	g.Strip(r, v, "X-Verified-")
	if verdict := g.Check(r, v, route); verdict.Session == nil {
		g.Refuse(w, r, v, verdict)
	}
	return w
}

// form is the answer of the form at an address to a browser with a session cookie.
func form(g *Gate, address, browser string, session *http.Cookie) *httptest.ResponseRecorder {
	r := at(http.MethodGet, address)
	r.AddCookie(session)
	return visit(g, r, browser)
}

// stepUp is a route that wants a verification of the last seconds.
var stepUp = attempt.Terms{SessionTTL: time.Hour, MaxAge: 5 * time.Second}

// rounds has a browser be verified, and come back too late for the route, again and
// again.
func (s *stage) rounds(g *Gate, browser string, n int, late time.Duration) {
	s.t.Helper()
	for range n {
		session := s.verified(g, browser)
		pause(s.t.Context(), late)
		if w := arrive(g, browser, session, stepUp); w.Code != http.StatusSeeOther {
			s.t.Fatalf("the route answers %d", w.Code)
		}
	}
}

func TestBrowserThatWasStoppedMayStartAgainAfterAMinute(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gate(defaultLimits), ledger.NewID()
		press(g, "192.0.2.1", browser, anyNumber(2))
		underWay := s.back()
		s.rounds(g, browser, 3, 6*time.Second)
		if got := press(g, "192.0.2.1", browser, anyNumber(1)); got != "provider_misconfigured" {
			t.Errorf("a press gets %s", got)
		}
		if w := visit(g, at(http.MethodGet, "/.number-verify/"), browser); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "54" {
			t.Errorf("the form answers %d, Retry-After %s", w.Code, w.Header().Get("Retry-After"))
		}
		// what was begun before is not lost, and begins nothing anew
		if w := visit(g, underWay, browser); len(w.Result().Cookies()) != 1 {
			t.Errorf("the attempt under way leads to %q", w.Header().Get("Location"))
		}
		pause(t.Context(), 59*time.Second)
		if got := press(g, "192.0.2.1", browser, anyNumber(1)); got != "provider_misconfigured" {
			t.Errorf("a press in the last second gets %s", got)
		}
		pause(t.Context(), 2*time.Second)
		if w := visit(g, at(http.MethodGet, "/.number-verify/"), browser); w.Code != http.StatusOK {
			t.Errorf("the form answers %d", w.Code)
		}
		s.rounds(g, browser, 2, 6*time.Second) // counted from nothing
		if got := press(g, "192.0.2.1", browser, anyNumber(1)); !strings.HasPrefix(got, "https://operator.example/") {
			t.Errorf("a press gets %s", got)
		}
	})
}

func TestVisitorWhomARouteAsksTwiceAMinuteIsNotStopped(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g := s.gate(defaultLimits)
		s.rounds(g, ledger.NewID(), 10, 31*time.Second)
		if n := s.logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 0 {
			t.Errorf("%d errors in the log", n)
		}
	})
}

func TestVerificationOfACountryThatTheRouteDoesNotAcceptCountsAsTurnedDown(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		one, other, browser := s.gate(defaultLimits), s.gateWith(otherGates["other countries"]), ledger.NewID()
		for range 3 {
			arrive(other, browser, s.verified(one, browser), attempt.Terms{SessionTTL: time.Hour})
		}
		for _, g := range []*Gate{one, other} {
			if w := visit(g, at(http.MethodGet, "/.number-verify/"), browser); w.Code != http.StatusServiceUnavailable {
				t.Errorf("the form answers %d", w.Code)
			}
		}
		if s.logs.FilterField(zap.String("cause", "country not accepted")).Len() != 1 {
			t.Error("the log does not say so")
		}
	})
}

// Browsers drop a cookie when its time is over. That is no fault of theirs.
func TestCookieThatHasExpiredOnTheWayIsNotTakenForADroppedOne(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		short, browser := attempt.Terms{SessionTTL: 5 * time.Second}, ledger.NewID()
		g, err := New(s.gate(defaultLimits).cfg) // without its lenient route
		if err != nil {
			t.Fatal(err)
		}
		g.AddRoute(short)
		for range 3 {
			s.verified(g, browser)
			pause(t.Context(), 6*time.Second)
			arrive(g, browser, nil, short)
		}
		if got := press(g, "192.0.2.1", browser, anyNumber(1)); got != "provider_misconfigured" {
			t.Errorf("a press gets %s", got)
		}
		if s.logs.FilterField(zap.String("cause", "too old")).Len() != 1 {
			t.Error("the log does not say so")
		}
	})
}

// A session that a route has turned down is of no use to go on with: the way leads back
// to the form.
func TestFormOffersNoSessionThatTheRouteTurnsDown(t *testing.T) {
	const held = `class="held"`
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gate(defaultLimits), ledger.NewID()
		rarely := attempt.Terms{SessionTTL: time.Hour, SessionIdle: 5 * time.Minute}
		g.AddRoute(rarely)
		session := s.verified(g, browser)
		if w := form(g, "/.number-verify/", browser, session); !strings.Contains(w.Body.String(), held) {
			t.Error("the form does not offer to go on")
		}
		pause(t.Context(), 2*time.Second)
		hurried := attempt.Terms{SessionTTL: time.Hour, MaxAge: time.Second / 2} // rounded up in the address
		to := arrive(g, browser, session, hurried).Header().Get("Location")
		if w := form(g, "/.number-verify/", browser, session); strings.Contains(w.Body.String(), held) {
			t.Errorf("%s offers to go on to the route that has just turned it down", to)
		}
		pause(t.Context(), 6*time.Minute) // nothing of the minute after the success is left
		to = arrive(g, browser, session, rarely).Header().Get("Location")
		if w := form(g, to, browser, session); w.Code != http.StatusOK || strings.Contains(w.Body.String(), held) {
			t.Errorf("%s offers to go on with a session that was idle for too long", to)
		}
		again := s.verified(g, browser) // in another tab
		if w := form(g, to, browser, again); !strings.Contains(w.Body.String(), held) {
			t.Errorf("%s does not offer to go on with a fresh session", to)
		}
	})
}

func TestStartOfWhichNobodyKnowsWhetherItGoesInCirclesIsRefused(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gate(defaultLimits), ledger.NewID()
		s.broken = &brokenCache{Cache: s.store, get: func(key cache.Key) error {
			if key.Kind == cache.KindGrant {
				return errors.New("no answer in time")
			}
			return nil
		}}
		if got := press(g, "192.0.2.1", browser, anyNumber(1)); got != "cache_unavailable" || s.starts.Load() != 0 {
			t.Errorf("a press gets %s, and %d starts reach the provider", got, s.starts.Load())
		}
	})
}

func TestVisitorFeelsNothingIfWhatARouteTurnsDownCannotBeNoted(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gate(defaultLimits), ledger.NewID()
		session := s.verified(g, browser)
		pause(t.Context(), 6*time.Second)
		s.broken = &brokenCache{Cache: s.store, replace: func(cache.Key) error { return errors.New("no answer in time") }}
		if w := arrive(g, browser, session, stepUp); w.Code != http.StatusSeeOther {
			t.Errorf("the route answers %d", w.Code)
		}
		if s.logs.FilterMessage("turned down session not noted").Len() != 1 {
			t.Error("the log does not say so")
		}
	})
}

// A route that wants a verification of a few seconds ago is used for longer than that, and
// asks again, as it should.
func TestImpatientVisitorOfAStepUpIsNotTakenForOneWhoGoesInCircles(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gate(defaultLimits), ledger.NewID()
		route := attempt.Terms{SessionTTL: time.Hour, MaxAge: 15 * time.Second}
		for range 4 {
			session := s.verified(g, browser)
			pause(t.Context(), 16*time.Second)
			arrive(g, browser, session, route)
		}
		if answer := press(g, "192.0.2.1", browser, anyNumber(1)); !strings.HasPrefix(answer, "https://operator.example/") {
			t.Errorf("the next press is answered %s", answer)
		}
	})
}
