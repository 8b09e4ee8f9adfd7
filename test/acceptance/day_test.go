package acceptance_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	numberverify "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// administer posts to the admin API of the Caddy in this process.
func administer(t *testing.T, act, body string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/number-verify/"+act, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	if err := (numberverify.Admin{}).Routes()[0].Handler.ServeHTTP(answer, r); err != nil {
		t.Fatal(err)
	}
	return answer.Body.String()
}

// A day of traffic: visitors of every kind, from many addresses, then an administrator. No
// number, address, token, nonce or cookie may be in anything that is kept or sent on. The
// log with the audit, and the pages, are searched after every test.
func TestDayOfTrafficLeavesNoNumberInMetricsEventsSpansAndAnswersOfTheAdminAPI(t *testing.T) {
	w := onTraced(t, simulator.Options{})
	h := hear(t, nil)
	w.LoadWith(listening("all")+"\n"+stage.FromAnywhere, `http://SITE {
		tracing {
			span request
		}
		number_verify /account* {
			public_url http://SITE
			result_wait 3s
			limits {
				number 1000 1h 1000
			}
			VERIFIER
		}
		metrics /metrics {
			disable_openmetrics
		}
		reverse_proxy UPSTREAM
	}`)
	const rounds = 3
	visit := func(number int) {
		for round := range rounds {
			v := w.From(fmt.Sprintf("203.0.113.%d", 1+10*number+round))
			v.Verify("/account/", fmt.Sprintf("06 39 98 00 %02d", number))
			v.Fetch("/account/data")
			v.Status()
			if round == 1 {
				v.SignOut()
			}
		}
	}
	var day sync.WaitGroup
	numbers := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13} // of number 10 the operator sends nobody back
	for _, number := range numbers {
		day.Go(func() { visit(number) })
	}
	day.Wait()
	visit(12) // a provider that fails, and is not called for a while
	visit(14)
	found := administer(t, "find", `{"number":"+33639980001"}`)
	if !strings.Contains(found, `"session":"`) {
		t.Errorf("found: %s", found)
	}
	told := found + administer(t, "revoke", `{"number":"+33639980001"}`) + administer(t, "revoke", `{"all":true}`) +
		administer(t, "revoke", `{"number":"+3363998000"}`) + administer(t, "revoke", `{"session":"+33639980001"}`)
	metrics := w.Visitor().Open("/metrics").Body
	if !strings.Contains(metrics, `outcome="number_mismatch"`) {
		t.Error("these are not the gate's metrics")
	}
	spans(w) // stops Caddy, and searches them
	events, err := json.Marshal(h.data)
	if err != nil || len(h.all()) < len(numbers)*rounds {
		t.Errorf("%d events, %v", len(h.all()), err)
	}
	if n := len(auditLines(t, w.Log(), "attempt ended")); n < len(numbers)*rounds {
		t.Errorf("the audit has %d ends", n)
	}
	for name, text := range map[string]string{"metrics": metrics, "events": string(events),
		"answers of the admin API": strings.ReplaceAll(told, "like +33639980001", "")} {
		for secret, around := range w.Secrets.In([]byte(text)) {
			t.Errorf("%s hold the secret %q: …%s…", name, secret, around)
		}
		if strings.Contains(strings.ReplaceAll(text, "203.0.113.0/24", ""), "203.0.113.") {
			t.Errorf("%s hold a visitor's address: %s", name, text)
		}
	}
}
