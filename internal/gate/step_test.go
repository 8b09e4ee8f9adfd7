package gate

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/numberverify/caddy-number-verify/internal/attempt"
)

// A step that was forgotten, or an attempt of a later version, must not let anybody in.
func TestStepThatNobodyKnowsIsAProblem(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		w := httptest.NewRecorder()
		r := at(http.MethodGet, "/.number-verify/callback")
		x := &exchange{Gate: s.gate(defaultLimits), w: w, r: r, visit: NewVisit(r.Method, r.URL)}
		x.answer(struct{ attempt.Step }{})
		if to := w.Header().Get("Location"); to != "/.number-verify/problem/attempt_unknown" || len(w.Result().Cookies()) != 0 {
			t.Errorf("leads to %q", to)
		}
	})
}
