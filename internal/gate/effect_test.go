package gate

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// at is a request to one of the gate's endpoints.
func at(method, path string) *http.Request {
	return httptest.NewRequest(method, "http://localhost"+path, nil)
}

// back is the callback of the last attempt that was started.
func (s *stage) back() *http.Request {
	return at(http.MethodGet, "/.number-verify/callback?state="+s.nonce.Load().(string))
}

// Whoever stands between visitor and site can send early data again.
func TestEarlyDataThatAnybodyCanRepeatStartsAndFinishesNothing(t *testing.T) {
	for name, early := range map[string]func(*http.Request){
		"to this server":      func(r *http.Request) { r.TLS = new(tls.ConnectionState) },
		"to a proxy in front": func(r *http.Request) { r.Header.Set("Early-Data", "1") },
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				g, browser := s.gate(defaultLimits), ledger.NewID()
				start := startRequest("192.0.2.1", anyNumber(1), "/account/")
				early(start)
				if w := visit(g, start, browser); w.Code != http.StatusTooEarly || s.starts.Load() != 0 {
					t.Errorf("a start answers %d, and %d reach the provider", w.Code, s.starts.Load())
				}
				press(g, "192.0.2.1", browser, anyNumber(1))
				callback := s.back()
				early(callback)
				if w := visit(g, callback, browser); w.Code != http.StatusTooEarly || s.results.Load() != 0 {
					t.Errorf("a callback answers %d, and %d results are asked for", w.Code, s.results.Load())
				}
				if w := visit(g, s.back(), browser); w.Header().Get("Location") != "/account/" {
					t.Errorf("the visitor's own, after it, leads to %q", w.Header().Get("Location"))
				}
			})
		})
	}
}

// A link that is only looked at must take nothing from the visitor.
func TestHEADOfTheFormAndOfTheWaitPageTakesNothingFromTheVisitor(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gate(defaultLimits), ledger.NewID()
		s.pending.Store(true)
		press(g, "192.0.2.1", browser, anyNumber(1))
		wait := visit(g, s.back(), browser).Header().Get("Location")
		if !strings.Contains(wait, "/wait/") {
			t.Fatalf("the callback leads to %q", wait)
		}
		s.pending.Store(false)
		pause(t.Context(), 5*time.Second)
		asked := s.results.Load()
		if w := visit(g, at(http.MethodHead, wait), browser); w.Code != http.StatusOK || len(w.Result().Cookies()) != 0 || s.results.Load() != asked {
			t.Errorf("HEAD of the wait page: %d, cookies %v, %d results asked for", w.Code, w.Result().Cookies(), s.results.Load()-asked)
		}
		if w := visit(g, at(http.MethodGet, wait), browser); w.Header().Get("Location") != "/account/" || len(w.Result().Cookies()) != 1 {
			t.Errorf("the wait page leads to %q", w.Header().Get("Location"))
		}
		// the session's cookie has got lost
		if w := visit(g, at(http.MethodHead, "/.number-verify/"), browser); len(w.Result().Cookies()) != 0 {
			t.Errorf("HEAD of the form sets %v", w.Result().Cookies())
		}
		given := visit(g, at(http.MethodGet, "/.number-verify/"), browser)
		if cookies := given.Result().Cookies(); len(cookies) != 1 || cookies[0].Name != "number-verify" {
			t.Errorf("the form, after it, answers %d and sets %v", given.Code, cookies)
		}
	})
}
