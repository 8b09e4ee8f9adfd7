package numberverify_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
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
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()

	asked := visitor.open("/account/?tab=1")
	if want := "/.number-verify/?return=%2Faccount%2F%3Ftab%3D1"; asked.StatusCode != http.StatusSeeOther || asked.location() != want {
		t.Fatalf("asked with %d to %q, want 303 to %q", asked.StatusCode, asked.location(), want)
	}
	if len(asked.Cookies()) != 0 {
		t.Error("the redirect to the form sets a cookie")
	}
	arrived := visitor.verify("/account/?tab=1", "06 39 98 00 01")
	if got := arrived.Request.URL.String(); got != w.url("/account/?tab=1") || arrived.StatusCode != http.StatusOK {
		t.Fatalf("arrived at %s with %d:\n%s", got, arrived.StatusCode, arrived.body)
	}
	got := w.upstream.take()
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
	if calls := w.sim.Calls(); calls.Token != 1 || calls.Start != 1 || calls.Result != 1 || calls.Get != 0 {
		t.Errorf("calls: %+v", calls)
	}
}

func TestEachFictionalNumberEndsOnItsPage(t *testing.T) {
	w := newWorld(t, simulator.Options{PendingFor: 500 * time.Millisecond})
	w.load(account)
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
			visitor := w.browser()
			visitor.t = t
			end := visitor.verify("/account/", number)
			if end.code() != want.code || end.StatusCode != want.status {
				t.Errorf("%d %q, want %d %q:\n%s", end.StatusCode, end.code(), want.status, want.code, end.body)
			}
			got := w.upstream.take()
			if verified := want.code == ""; verified != (len(got) == 1) {
				t.Errorf("%d requests reached the upstream", len(got))
			}
			if want.code == "" {
				return
			}
			status := visitor.status()
			if status.Verified || status.Code != want.code {
				t.Errorf("status: %+v", status)
			}
			api := visitor.fetch("/account/data")
			if api.StatusCode < 400 || !strings.Contains(api.body, `"code":"`+want.code+`"`) {
				t.Errorf("fetch: %d %s", api.StatusCode, api.body)
			}
		})
	}
}

type status struct {
	Verified bool
	Code     string
	Number   string
	Operator string
}

func (b *browser) status() status {
	b.t.Helper()
	a := b.fetch("/.number-verify/status")
	var s status
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		b.t.Fatalf("status %d: %v: %s", a.StatusCode, err, a.body)
	}
	return s
}

// fetch is a request of a page's script.
func (b *browser) fetch(path string) *answer {
	b.t.Helper()
	r := b.request(http.MethodGet, path, nil)
	r.Header.Set("Accept", "*/*")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	r.Header.Set("Sec-Fetch-Dest", "empty")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

func TestOperatorThatNeverSendsTheVisitorBackLeavesHimAFreshStart(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	operator := visitor.follow(visitor.start("/account/", "06 39 98 00 10"))
	if !strings.HasPrefix(operator.Request.URL.String(), w.simURL) {
		t.Fatalf("arrived at %s", operator.Request.URL)
	}
	if w.sim.Calls().Result != 0 {
		t.Error("the result was asked for without a callback")
	}
	end := visitor.verify("/account/", "06 39 98 00 01")
	if end.StatusCode != http.StatusOK || len(w.upstream.take()) != 1 {
		t.Errorf("a fresh start ends with %d %q", end.StatusCode, end.code())
	}
}

// TestForwardedOperatorLinkDoesNotOpenTheGate tells the attack in its order: a
// stranger starts a verification of the victim's number, and has the victim's
// phone open the operator's link.
func TestForwardedOperatorLinkDoesNotOpenTheGate(t *testing.T) {
	for name, victimVisitedBefore := range map[string]bool{"victim with cookies of the site": true, "victim without": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, simulator.Options{})
			w.load(account)
			stranger, victim := w.browser(), w.browser()
			if victimVisitedBefore {
				victim.open("/.number-verify/")
			}
			link := stranger.start("/account/", "06 39 98 00 01").location()
			callback := victim.open(link).location() // the operator recognises the victim's SIM
			burned := victim.follow(victim.open(callback))
			if burned.code() != "browser_mismatch" || burned.StatusCode != http.StatusForbidden {
				t.Errorf("the victim reads %d %q", burned.StatusCode, burned.code())
			}
			if !strings.Contains(burned.body, `href="/.number-verify/`) {
				t.Error("the page offers no fresh start")
			}
			// Even with the callback in hand the stranger gets nowhere.
			for range 3 {
				after := stranger.follow(stranger.open(callback))
				if after.code() != "browser_mismatch" {
					t.Errorf("the stranger reads %d %q", after.StatusCode, after.code())
				}
			}
			if again := stranger.follow(stranger.open("/account/")); strings.Contains(again.body, "upstream saw") {
				t.Error("the stranger is in")
			}
			if calls := w.sim.Calls(); calls.Result != 0 {
				t.Errorf("a burned attempt's result was asked for %d times", calls.Result)
			}
			if got := w.upstream.take(); len(got) != 0 {
				t.Errorf("%d requests reached the upstream", len(got))
			}
		})
	}
}

func TestAnotherBrowserBurnsAnAttemptThatIsPending(t *testing.T) {
	w := newWorld(t, simulator.Options{PendingFor: 3 * time.Second})
	w.load(account)
	visitor, other := w.browser(), w.browser()
	callback := visitor.open(visitor.start("/account/", "06 39 98 00 04").location()).location()
	waiting := visitor.open(callback)
	if !strings.Contains(waiting.location(), "/wait/") {
		t.Fatalf("the callback leads to %s", waiting.location())
	}
	if burned := other.follow(other.open(callback)); burned.code() != "browser_mismatch" {
		t.Errorf("the other browser reads %q", burned.code())
	}
	if end := visitor.arrive(waiting); end.code() != "browser_mismatch" || len(w.upstream.take()) != 0 {
		t.Errorf("the visitor ends on %q", end.code())
	}
}

func TestOperatorLinkThatRevealsTheNonceIsRefused(t *testing.T) {
	leaks := map[string]func(operator, nonce, token string) string{
		"raw nonce":             func(o, nonce, _ string) string { return o + "?n=" + nonce },
		"nonce in the path":     func(o, nonce, _ string) string { return o + "/" + nonce },
		"nonce in the fragment": func(o, nonce, _ string) string { return o + "#" + nonce },
		"percent-encoded nonce": func(o, nonce, _ string) string { return o + "?n=" + percent(nonce) },
		"base64 of the nonce":   func(o, nonce, _ string) string { return o + "?n=" + base64.StdEncoding.EncodeToString([]byte(nonce)) },
		"base64 of the callback": func(o, nonce, _ string) string {
			return o + "?n=" + base64.RawURLEncoding.EncodeToString([]byte("http://x/callback?state="+nonce))
		},
		"raw token":             func(o, _, token string) string { return o + "?t=" + token },
		"percent-encoded token": func(o, _, token string) string { return o + "?t=" + percent(token) },
	}
	for name, leak := range leaks {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, simulator.Options{OperatorURL: func(operator, redirectURI, token string) string {
				return leak(operator, stateOf(redirectURI), token)
			}})
			w.load(account)
			visitor := w.browser()
			end := visitor.start("/account/", "06 39 98 00 01")
			if end.StatusCode != http.StatusServiceUnavailable || end.code() != "provider_unavailable" {
				t.Errorf("the start answers %d %q", end.StatusCode, end.code())
			}
		})
	}
}

func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02x", s[i])
	}
	return b.String()
}

func TestFiftyEqualCallbacksMakeOneResultCallAndOneSession(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	w := newWorld(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, _ *http.Request) bool {
		if call == simulator.CallResult {
			once.Do(func() { <-release }) // all callbacks arrive while the result is asked for
		}
		return false
	}})
	w.load(account)
	visitor := w.browser()
	callback := visitor.open(visitor.start("/account/", "06 39 98 00 01").location()).location()

	var group sync.WaitGroup
	sessions := make(chan string, 50)
	var started sync.WaitGroup
	for range 50 {
		started.Add(1)
		group.Go(func() {
			started.Done()
			a := visitor.open(callback)
			for _, c := range a.Cookies() {
				sessions <- c.Value
			}
		})
	}
	started.Wait()
	close(release)
	group.Wait()
	close(sessions)
	if end := visitor.arrive(visitor.open(callback)); end.Request.URL.Path != "/account/" {
		t.Errorf("ends at %s", end.Request.URL)
	}
	distinct := make(map[string]bool)
	for s := range sessions {
		distinct[s] = true
	}
	if len(distinct) > 1 {
		t.Errorf("%d sessions were made", len(distinct))
	}
	if calls := w.sim.Calls(); calls.Result != 1 {
		t.Errorf("%d result calls", calls.Result)
	}
}

// Five attempts of one browser may be in flight at once.
func TestTenTabsOfOneBrowserAllArriveFiveAtATime(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	tabs := make([]*answer, 10)
	for i := range tabs {
		tabs[i] = visitor.follow(visitor.open(fmt.Sprintf("/account/?tab=%d", i)))
	}
	var group sync.WaitGroup
	for i, form := range tabs {
		if i == 5 {
			group.Wait()
		}
		group.Go(func() {
			end := visitor.arrive(visitor.submit(form, "06 39 98 00 01"))
			if want := fmt.Sprintf("/account/?tab=%d", i); end.Request.URL.RequestURI() != want {
				t.Errorf("tab %d ends at %s, %q", i, end.Request.URL, end.code())
			}
		})
	}
	group.Wait()
}

func TestImpatientTapIsNotBilledTwice(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	form := visitor.follow(visitor.open("/account/"))
	var group sync.WaitGroup
	links := make(chan string, 5)
	for range 5 {
		group.Go(func() { links <- visitor.submit(form, "06 39 98 00 01").location() })
	}
	group.Wait()
	close(links)
	first := <-links
	for link := range links {
		if link != first {
			t.Error("the taps lead to different links")
		}
	}
	if calls := w.sim.Calls(); calls.Start != 1 || calls.Token != 1 {
		t.Errorf("calls: %+v", calls)
	}
	// Once the attempt is over, a press is a new one.
	visitor.arrive(visitor.open(first))
	if again := visitor.submit(form, "06 39 98 00 01"); again.location() == first || w.sim.Calls().Start != 2 {
		t.Error("a press after the end leads to the ended attempt")
	}
}

func TestSessionCookieLostOnTheWayIsGivenOnceMore(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	drop := func() {
		visitor.client.Jar.SetCookies(visitor.request("GET", "/", nil).URL, []*http.Cookie{{Name: "number-verify", MaxAge: -1, Path: "/"}})
	}
	visitor.verify("/account/?a=b", "06 39 98 00 01")
	w.upstream.take()
	drop()
	given := visitor.follow(visitor.open("/account/?a=b"))
	if given.StatusCode != http.StatusOK || len(given.Cookies()) == 0 {
		t.Fatalf("the form answers %d with cookies %v", given.StatusCode, given.Cookies())
	}
	if end := visitor.arrive(given); end.Request.URL.RequestURI() != "/account/?a=b" || len(w.upstream.take()) != 1 {
		t.Errorf("ends at %s", end.Request.URL)
	}
	drop()
	if refused := visitor.follow(visitor.open("/account/")); refused.code() != "cookies_required" || refused.StatusCode != http.StatusBadRequest {
		t.Errorf("a second loss: %d %q", refused.StatusCode, refused.code())
	}
	if calls := w.sim.Calls(); calls.Start != 1 {
		t.Errorf("billed %d times", calls.Start)
	}
}

func TestCallbackInTheLastMomentStillGetsItsResult(t *testing.T) {
	w := newWorld(t, simulator.Options{PendingFor: 2 * time.Second})
	w.load(strings.Replace(account, "result_wait 3s", "attempt_ttl 1s\n result_wait 9s", 1))
	if end := w.browser().verify("/account/", "06 39 98 00 04"); end.Request.URL.Path != "/account/" || len(w.upstream.take()) != 1 {
		t.Errorf("ends at %s with %q", end.Request.URL.Path, end.code())
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
			w := newWorld(t, simulator.Options{Intercept: func(call string, rw http.ResponseWriter, _ *http.Request) bool {
				mu.Lock()
				defer mu.Unlock()
				if call != simulator.CallResult || failed == c.failures {
					return false
				}
				failed++
				_, _ = rw.Write([]byte("<html>gateway error"))
				return true
			}})
			w.load(account)
			end := w.browser().verify("/account/", "06 39 98 00 01")
			if end.code() != c.code || w.sim.Calls().Result != c.calls {
				t.Errorf("ends on %q after %d calls:\n%s", end.code(), w.sim.Calls().Result, end.body)
			}
		})
	}
}

func TestSessionIDIsRotatedAndAPlantedOneIsNoSession(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	planted := strings.Repeat("A", 43)
	site := visitor.request("GET", "/", nil).URL
	visitor.client.Jar.SetCookies(site, []*http.Cookie{{Name: "number-verify", Value: planted, Path: "/"}})
	visitor.verify("/account/", "06 39 98 00 01")
	session := func() string {
		for _, c := range visitor.client.Jar.Cookies(site) {
			if c.Name == "number-verify" {
				return c.Value
			}
		}
		return ""
	}
	first := session()
	if first == planted || first == "" {
		t.Error("the planted id became the session")
	}
	visitor.arrive(visitor.submit(visitor.open("/.number-verify/"), "06 39 98 00 01"))
	if session() == first {
		t.Error("a second verification kept the id")
	}
	old := w.browser()
	old.client.Jar.SetCookies(site, []*http.Cookie{{Name: "number-verify", Value: first, Path: "/"}})
	if a := old.open("/account/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the old session still passes: %d", a.StatusCode)
	}
}

func TestCallbackStaysOutOfLogsAndAddressBar(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(strings.Replace(account, "reverse_proxy", "log\n\treverse_proxy", 1))
	visitor := w.browser()
	callback := visitor.open(visitor.open(visitor.start("/account/", "06 39 98 00 01").location()).location())
	if callback.StatusCode != http.StatusSeeOther || callback.location() != "/account/" {
		t.Errorf("the callback answers %d to %q", callback.StatusCode, callback.location())
	}
	if got := callback.Header.Get("Referrer-Policy"); got != "no-referrer" {
		t.Errorf("Referrer-Policy: %q", got)
	}
	// newWorld searches the logs for token and nonce
}
