package gate

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// The memory is for what happened to visitors. While the cache fails nobody can tell an
// invented attempt from a real one.
func TestStrangerWithInventedAttemptsPushesNoneOutOfTheMemory(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gate(defaultLimits), ledger.NewID()
		press(g, "192.0.2.1", browser, anyNumber(1))
		reference := ledger.Reference(ledger.AttemptID(s.nonce.Load().(string)))
		remembered := len(journal.Recall(reference))
		for _, broken := range []error{nil, errors.New("no answer")} {
			s.broken = &brokenCache{Cache: s.store, get: func(k cache.Key) error {
				if k.Kind == cache.KindAttempt {
					return broken
				}
				return nil
			}}
			for i := range 2100 {
				visit(g, at(http.MethodGet, fmt.Sprintf("/.number-verify/wait/%022d", i)), ledger.NewID())
			}
			if n := len(journal.Recall(reference)); remembered == 0 || n != remembered {
				t.Errorf("with the cache's error %v %d of %d lines are remembered", broken, n, remembered)
			}
		}
	})
}

// Somebody else's browser burns the attempt while the provider is still being asked to
// begin it, which then fails.
func TestAttemptThatIsBurnedDuringItsStartEndsOnceInTheAudit(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gateWith(func(c *Config) { c.Limits = defaultLimits; c.Audit = s.log }), ledger.NewID()
		s.took, s.err = 3*time.Second, &verifier.Error{Call: "start", Err: errors.New("no answer")}
		pressed := make(chan string)
		go func() { pressed <- press(g, "192.0.2.1", browser, anyNumber(1)) }()
		pause(t.Context(), time.Second)
		burned := visit(g, s.back(), ledger.NewID()).Header().Get("Location")
		if code := <-pressed; code != "provider_unavailable" || !strings.Contains(burned, "browser_mismatch") {
			t.Errorf("the press ends with %q, the callback at %q", code, burned)
		}
		var outcomes []any
		for _, line := range s.logs.FilterMessage("attempt ended").All() {
			outcomes = append(outcomes, line.ContextMap()["outcome"])
		}
		if fmt.Sprint(outcomes) != "[browser_mismatch]" {
			t.Errorf("the attempt has ended with %v", outcomes)
		}
	})
}
