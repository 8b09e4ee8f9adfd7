package acceptance_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// account protects one path of a site and shows the rest to everybody.
const account = `
http://SITE {
	@account path /account /account/*
	number_verify @account {
		public_url http://SITE
		result_wait 3s
		VERIFIER
	}
	reverse_proxy UPSTREAM
}
`

func TestVisitorIsAskedAndComesBackVerified(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()

	asked := visitor.Open("/account/?tab=1")
	if want := "/.number-verify/?return=%2Faccount%2F%3Ftab%3D1"; asked.StatusCode != http.StatusSeeOther || asked.Location() != want {
		t.Fatalf("asked with %d to %q, want 303 to %q", asked.StatusCode, asked.Location(), want)
	}
	if len(asked.Cookies()) != 0 {
		t.Error("the redirect to the form sets a cookie")
	}
	arrived := visitor.Verify("/account/?tab=1", "06 39 98 00 01")
	if got := arrived.Request.URL.String(); got != w.URL("/account/?tab=1") || arrived.StatusCode != http.StatusOK {
		t.Fatalf("arrived at %s with %d:\n%s", got, arrived.StatusCode, arrived.Body)
	}
	got := w.Upstream.Take()
	if len(got) != 1 {
		t.Fatalf("%d requests reached the upstream", len(got))
	}
	if values := got[0].Header["X-Verified-Number"]; len(values) != 1 || values[0] != "+33639980001" {
		t.Errorf("X-Verified-Number: %q", values)
	}
	if at, err := time.Parse(time.RFC3339, got[0].Header.Get("X-Verified-At")); err != nil || time.Since(at) > time.Minute {
		t.Errorf("X-Verified-At: %q", got[0].Header.Get("X-Verified-At"))
	}
	if got[0].Header.Get("X-Verified-Operator") == "" {
		t.Error("no X-Verified-Operator")
	}
	if got[0].Header.Get("Cookie") != "" {
		t.Errorf("the gate's cookies reached the upstream")
	}
	if calls := w.Provider.Calls(); calls.Token != 1 || calls.Start != 1 || calls.Result != 1 || calls.Get != 0 {
		t.Errorf("calls: %+v", calls)
	}
}

func TestEachFictionalNumberEndsOnItsPage(t *testing.T) {
	w := stage.New(t, simulator.Options{PendingFor: 500 * time.Millisecond})
	w.Load(account)
	for number, want := range map[string]struct {
		code   string
		status int
	}{
		"06 39 98 00 02": {"number_mismatch", 200},
		"06 39 98 00 03": {"access_denied", 200},
		"06 39 98 00 04": {"", 200},
		"06 39 98 00 05": {"number_unsupported", 422},
		"06 39 98 00 06": {"operator_unavailable", 503},
		"06 39 98 00 07": {"number_unsupported", 422},
		"06 39 98 00 08": {"operator_unavailable", 200},
		"06 39 98 00 09": {"result_timeout", 200},
		"06 39 98 00 11": {"number_mismatch", 200},
		"06 39 98 00 12": {"provider_unavailable", 200},
		"06 39 98 00 13": {"attempt_expired", 200},
		"06 39 98 00 14": {"provider_misconfigured", 503},
	} {
		t.Run(number, func(t *testing.T) {
			visitor := w.Visitor()
			visitor.T = t
			end := visitor.Verify("/account/", number)
			if end.Code() != want.code || end.StatusCode != want.status {
				t.Errorf("%d %q, want %d %q:\n%s", end.StatusCode, end.Code(), want.status, want.code, end.Body)
			}
			got := w.Upstream.Take()
			if verified := want.code == ""; verified != (len(got) == 1) {
				t.Errorf("%d requests reached the upstream", len(got))
			}
			if want.code == "" {
				return
			}
			status := visitor.Status()
			if status.Verified || status.Code != want.code {
				t.Errorf("status: %+v", status)
			}
			api := visitor.Fetch("/account/data")
			if api.StatusCode < 400 || !strings.Contains(api.Body, `"code":"`+want.code+`"`) {
				t.Errorf("fetch: %d %s", api.StatusCode, api.Body)
			}
		})
	}
}

func TestOperatorThatNeverSendsTheVisitorBackLeavesHimAFreshStart(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	operator := visitor.Follow(visitor.Start("/account/", "06 39 98 00 10"))
	if !strings.HasPrefix(operator.Request.URL.String(), w.ProviderURL) {
		t.Fatalf("arrived at %s", operator.Request.URL)
	}
	if w.Provider.Calls().Result != 0 {
		t.Error("the result was asked for without a callback")
	}
	end := visitor.Verify("/account/", "06 39 98 00 01")
	if end.StatusCode != http.StatusOK || len(w.Upstream.Take()) != 1 {
		t.Errorf("a fresh start ends with %d %q", end.StatusCode, end.Code())
	}
}

func TestFiftyEqualCallbacksMakeOneResultCallAndOneSession(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	w := stage.New(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, _ *http.Request) bool {
		if call == simulator.CallResult {
			once.Do(func() { <-release }) // callbacks arrive while the result is asked for
		}
		return false
	}})
	w.Load(account)
	visitor := w.Visitor()
	callback := visitor.Callback("/account/", "06 39 98 00 01")

	var group sync.WaitGroup
	sessions := make(chan string, 50)
	var started sync.WaitGroup
	for range 50 {
		started.Add(1)
		group.Go(func() {
			started.Done()
			a := visitor.Open(callback)
			for _, c := range a.Cookies() {
				sessions <- c.Value
			}
		})
	}
	started.Wait()
	close(release)
	group.Wait()
	close(sessions)
	if end := visitor.Arrive(visitor.Open(callback)); end.Request.URL.Path != "/account/" {
		t.Errorf("ends at %s", end.Request.URL)
	}
	distinct := make(map[string]bool)
	for s := range sessions {
		distinct[s] = true
	}
	if len(distinct) > 1 {
		t.Errorf("%d sessions were made", len(distinct))
	}
	if calls := w.Provider.Calls(); calls.Result != 1 {
		t.Errorf("%d result calls", calls.Result)
	}
}

// Five attempts of one browser may be in flight at once.
func TestTenTabsOfOneBrowserAllArriveFiveAtATime(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	tabs := make([]*stage.Answer, 10)
	for i := range tabs {
		tabs[i] = visitor.Follow(visitor.Open(fmt.Sprintf("/account/?tab=%d", i)))
	}
	var group sync.WaitGroup
	for i, form := range tabs {
		if i == 5 {
			group.Wait()
		}
		group.Go(func() {
			end := visitor.Arrive(visitor.Submit(form, "06 39 98 00 01"))
			if want := fmt.Sprintf("/account/?tab=%d", i); end.Request.URL.RequestURI() != want {
				t.Errorf("tab %d ends at %s, %q", i, end.Request.URL, end.Code())
			}
		})
	}
	group.Wait()
}

func TestImpatientTapIsNotBilledTwice(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	form := visitor.Follow(visitor.Open("/account/"))
	var group sync.WaitGroup
	links := make(chan string, 50)
	for range 50 {
		group.Go(func() { links <- visitor.Submit(form, "06 39 98 00 01").Location() })
	}
	group.Wait()
	close(links)
	first := <-links
	for link := range links {
		if link != first {
			t.Error("the taps lead to different links")
		}
	}
	if calls := w.Provider.Calls(); calls.Start != 1 || calls.Token != 1 {
		t.Errorf("calls: %+v", calls)
	}
	// Once the attempt is over, a press is a new one.
	visitor.Arrive(visitor.Open(first))
	if again := visitor.Submit(form, "06 39 98 00 01"); again.Location() == first || w.Provider.Calls().Start != 2 {
		t.Error("a press after the end leads to the ended attempt")
	}
}

func TestSessionCookieLostOnTheWayIsGivenOnceMore(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	visitor.Verify("/account/?a=b", "06 39 98 00 01")
	w.Upstream.Take()
	visitor.Drop(stage.SessionCookie)
	given := visitor.Follow(visitor.Open("/account/?a=b"))
	if given.StatusCode != http.StatusOK || len(given.Cookies()) == 0 {
		t.Fatalf("the form answers %d with cookies %v", given.StatusCode, given.Cookies())
	}
	if end := visitor.Arrive(given); end.Request.URL.RequestURI() != "/account/?a=b" || len(w.Upstream.Take()) != 1 {
		t.Errorf("ends at %s", end.Request.URL)
	}
	visitor.Drop(stage.SessionCookie)
	if refused := visitor.Follow(visitor.Open("/account/")); refused.Code() != "cookies_required" || refused.StatusCode != http.StatusBadRequest {
		t.Errorf("a second loss: %d %q", refused.StatusCode, refused.Code())
	}
	if calls := w.Provider.Calls(); calls.Start != 1 {
		t.Errorf("billed %d times", calls.Start)
	}
}

func TestCallbackInTheLastMomentStillGetsItsResult(t *testing.T) {
	w := stage.New(t, simulator.Options{PendingFor: 2 * time.Second})
	w.Load(strings.Replace(account, "result_wait 3s", "attempt_ttl 1s\n result_wait 9s", 1))
	if end := w.Visitor().Verify("/account/", "06 39 98 00 04"); end.Request.URL.Path != "/account/" || len(w.Upstream.Take()) != 1 {
		t.Errorf("ends at %s with %q", end.Request.URL.Path, end.Code())
	}
}

func TestResultThatFailsInTransportIsAskedForThreeTimes(t *testing.T) {
	for name, c := range map[string]struct {
		failures int
		code     string
		calls    int
	}{
		"two hiccups":   {2, "", 3},
		"three hiccups": {3, "provider_unavailable", 3},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			failed := 0
			w := stage.New(t, simulator.Options{Intercept: func(call string, rw http.ResponseWriter, _ *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				if call != simulator.CallResult || failed == c.failures {
					return false
				}
				failed++
				_, _ = rw.Write([]byte("<html>gateway error"))
				return true
			}})
			w.Load(account)
			end := w.Visitor().Verify("/account/", "06 39 98 00 01")
			if end.Code() != c.code || w.Provider.Calls().Result != c.calls {
				t.Errorf("ends on %q after %d calls:\n%s", end.Code(), w.Provider.Calls().Result, end.Body)
			}
		})
	}
}

func TestCallbackStaysOutOfLogsAndAddressBar(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(strings.Replace(account, "reverse_proxy", "log\n\treverse_proxy", 1))
	visitor := w.Visitor()
	callback := visitor.Open(visitor.Callback("/account/", "06 39 98 00 01"))
	if callback.StatusCode != http.StatusSeeOther || callback.Location() != "/account/" {
		t.Errorf("the callback answers %d to %q", callback.StatusCode, callback.Location())
	}
	if got := callback.Header.Get("Referrer-Policy"); got != "no-referrer" {
		t.Errorf("Referrer-Policy: %q", got)
	}
	// the stage searches the logs for token and nonce
}
