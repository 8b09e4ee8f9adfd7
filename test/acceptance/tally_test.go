package acceptance_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// tally counts by series.
type tally map[string]float64

func (t tally) add(more map[string]float64) {
	for series, n := range more {
		t[series] += n
	}
}

// The series that the table below names.
const (
	passed      = `requests_total{decision="verified"}`
	optional    = `requests_total{decision="optional"}`
	unprotected = `requests_total{decision="unprotected"}`
	redirected  = `requests_total{decision="redirected"}`
	refused     = `requests_total{decision="refused"}`
	took        = `attempt_duration_seconds_count`
	inFlight    = `attempts_in_flight`
	sessions    = `sessions`
	budgetUsed  = `budget_used_ratio`
)

func ended(outcome, operator string) string {
	return fmt.Sprintf("attempts_total{operator=%q,outcome=%q}", operator, outcome)
}

func called(call, result string) string {
	return fmt.Sprintf("provider_request_duration_seconds_count{call=%q,result=%q}", call, result)
}

// with returns what a visitor causes who is sent to the form and to the operator, and
// what comes on top.
func with(more tally) tally {
	sum := tally{redirected: 1, called("token", "ok"): 1, called("start", "ok"): 1}
	sum.add(more)
	return sum
}

// done is one thing that the test does, and what the metrics must say of it: nothing
// else. Requests of pages pass both directives of the site.
type done struct {
	what string
	do   func(t *testing.T, visitor func() *stage.Visitor)
	says tally
	// isPending says that the result is asked for as often as the provider counts.
	isPending bool
}

func verify(number string) func(*testing.T, func() *stage.Visitor) {
	return func(_ *testing.T, visitor func() *stage.Visitor) { visitor().Verify("/account/", number) }
}

var everything = []done{
	{"01 is verified", verify("06 39 98 00 01"), with(tally{passed: 1, unprotected: 1, ended("verified", "SFR"): 1, took: 1, called("result", "ok"): 1, sessions: 1}), false},
	{"02 has another SIM", verify("06 39 98 00 02"), with(tally{ended("number_mismatch", "Bouygues Telecom"): 1, took: 1, called("result", "refused"): 1}), false},
	{"03 is declined", verify("06 39 98 00 03"), with(tally{ended("access_denied", "Free"): 1, took: 1, called("result", "refused"): 1}), false},
	{"04 is pending, then verified", verify("06 39 98 00 04"), with(tally{passed: 1, unprotected: 1, ended("verified", "Orange"): 1, took: 1, sessions: 1}), true},
	{"05 cannot be verified", verify("06 39 98 00 05"), tally{redirected: 1, ended("number_unsupported", ""): 1, called("token", "ok"): 1, called("start", "refused"): 1}, false},
	{"06 is not reached", verify("06 39 98 00 06"), tally{redirected: 1, ended("operator_unavailable", ""): 1, called("token", "ok"): 1, called("start", "refused"): 1}, false},
	{"07 is not supported", verify("06 39 98 00 07"), tally{redirected: 1, ended("number_unsupported", ""): 1, called("token", "ok"): 1, called("start", "refused"): 1}, false},
	{"08 is on Wi-Fi", verify("06 39 98 00 08"), with(tally{ended("operator_unavailable", "Orange"): 1, took: 1, called("result", "refused"): 1}), false},
	{"09 is pending for ever", verify("06 39 98 00 09"), with(tally{ended("result_timeout", "SFR"): 1, took: 1}), true},
	{"10 does not come back", verify("06 39 98 00 10"), with(tally{inFlight: 1}), false},
	{"11 is not verified", verify("06 39 98 00 11"), with(tally{ended("number_mismatch", "Free"): 1, took: 1, called("result", "refused"): 1}), false},
	{"12 fails at the provider", verify("06 39 98 00 12"), with(tally{ended("provider_unavailable", "Orange"): 1, took: 1, called("result", "failed"): 1}), false},
	{"13 expires", verify("06 39 98 00 13"), with(tally{ended("attempt_expired", "SFR"): 1, took: 1, called("result", "refused"): 1}), false},
	{"14 has no credits", verify("06 39 98 00 14"), tally{redirected: 1, ended("provider_misconfigured", ""): 1, called("token", "ok"): 1, called("start", "misconfigured"): 1}, false},

	{"pages that nothing protects", func(_ *testing.T, visitor func() *stage.Visitor) {
		visitor().Open("/")
		visitor().Fetch("/data")
	}, tally{unprotected: 4}, false},
	{"a stranger where it is optional", func(_ *testing.T, visitor func() *stage.Visitor) {
		visitor().Open("/open/")
		visitor().Fetch("/open/data")
	}, tally{unprotected: 2, optional: 2}, false},
	{"a verified visitor at both", func(t *testing.T, visitor func() *stage.Visitor) {
		v := visitor()
		v.ArrivesAt("/account/")
		v.Passes("/account/more")
		v.Passes("/open/")
	}, with(tally{passed: 3, unprotected: 3, ended("verified", "SFR"): 1, took: 1, called("result", "ok"): 1, sessions: 1}), false},
	{"a fetch, a form that is posted, and the gate's pages", func(t *testing.T, visitor func() *stage.Visitor) {
		v := visitor()
		v.Fetch("/account/data").Is(t, http.StatusUnauthorized, "verification_required")
		v.Post("/account/order", url.Values{"order": {"1"}}).Is(t, http.StatusUnauthorized, "verification_required")
		v.Open("/.number-verify/")
		v.Status()
		v.Open("/.number-verify/problem/busy")
		v.Open("/.number-verify/nothing")
	}, tally{refused: 2}, false},
	{"mistakes", func(t *testing.T, visitor func() *stage.Visitor) {
		v := visitor()
		v.Press("06 39 98 00 01", "/").Is(t, http.StatusBadRequest, "cookies_required")
		v.Open("/.number-verify/")
		v.Press("no number", "/").Is(t, http.StatusUnprocessableEntity, "number_invalid")
		v.Post("/.number-verify/start", nil, "Sec-Fetch-Site: cross-site").Is(t, http.StatusForbidden, "cross_origin")
		v.Follow(v.Open("/.number-verify/callback?state=unknown")).Is(t, http.StatusNotFound, "attempt_unknown")
	}, tally{}, false},
	{"a double tap", func(t *testing.T, visitor func() *stage.Visitor) {
		v := visitor()
		if a, b := v.Link("/account/", "06 39 98 10 01"), v.Press("06 39 98 10 01", "/account/"); a != b.Location() {
			t.Errorf("it leads to %d %q", b.StatusCode, b.Code())
		}
	}, tally{called("token", "ok"): 1, called("start", "ok"): 1, inFlight: 1}, false},
	{"somebody else's callback", func(t *testing.T, visitor func() *stage.Visitor) {
		callback := visitor().Callback("/account/", "06 39 98 00 01")
		other := visitor()
		other.Follow(other.Open(callback)).Is(t, http.StatusForbidden, "browser_mismatch")
	}, tally{called("token", "ok"): 1, called("start", "ok"): 1, ended("browser_mismatch", "SFR"): 1}, false},
	{"the limit of a number", func(t *testing.T, visitor func() *stage.Visitor) {
		v := visitor()
		v.Open("/.number-verify/")
		for i := range 7 {
			code := map[bool]string{true: "rate_limited", false: "number_unsupported"}[i >= 4] // once before
			if a := v.Press("06 39 98 00 07", fmt.Sprint("/account/", i)); a.Code() != code {
				t.Errorf("start %d: %d %q", i, a.StatusCode, a.Code())
			}
		}
	}, tally{called("token", "ok"): 4, called("start", "refused"): 4, ended("number_unsupported", ""): 4, ended("rate_limited", ""): 3}, false},
	{"the limit of a browser", func(t *testing.T, visitor func() *stage.Visitor) {
		v := visitor()
		for i := range 5 {
			v.Link("/account/", fmt.Sprint("06 39 98 11 0", i))
		}
		v.Press("06 39 98 11 05", "/account/").Is(t, http.StatusServiceUnavailable, "busy")
	}, tally{called("token", "ok"): 5, called("start", "ok"): 5, inFlight: 5, ended("busy", ""): 1}, false},
	{"a browser that drops the session", func(t *testing.T, visitor func() *stage.Visitor) {
		v := visitor()
		v.ArrivesAt("/account/")
		v.Drop(stage.SessionCookie)
		v.Arrive(v.Open("/account/")) // given once more
		v.Drop(stage.SessionCookie)
		v.Follow(v.Open("/account/")).Is(t, http.StatusBadRequest, "cookies_required")
		v.Press("06 39 98 00 01", "/account/").Is(t, http.StatusBadRequest, "cookies_required")
	}, with(tally{redirected: 2, passed: 2, unprotected: 2, ended("verified", "SFR"): 1, took: 1, called("result", "ok"): 1, sessions: 1, ended("cookies_required", ""): 1}), false},
	{"a sign-out", func(_ *testing.T, visitor func() *stage.Visitor) {
		v := visitor()
		v.ArrivesAt("/account/")
		v.SignOut()
	}, with(tally{passed: 1, unprotected: 1, ended("verified", "SFR"): 1, took: 1, called("result", "ok"): 1}), false},
}

// bench is where everything is done: one Caddy, or several.
type bench struct {
	*stage.Stage
	visitor func() *stage.Visitor
	// nodes are the addresses whose metrics are added up.
	nodes  []string
	reload func()
}

// scrape returns what all nodes show together, but for buckets and times, and how many
// requests that took. What is true at the moment each node knows of all.
func (b *bench) scrape() (shown tally, requests float64) {
	b.T.Helper()
	shown = make(tally)
	for _, addr := range b.nodes {
		all := b.Visitor().At(addr).Metrics()
		for series, value := range all {
			name, _, _ := strings.Cut(series, "{")
			switch {
			case strings.HasSuffix(name, "_bucket"), strings.HasSuffix(name, "_sum"):
			case name == inFlight, name == sessions, name == budgetUsed, name == "breaker_state":
				shown[series] = max(shown[series], value)
			default:
				shown[series] += value
			}
		}
		checkHistograms(b.T, all)
	}
	return shown, float64(len(b.nodes))
}

// checkHistograms checks that all that was counted lies in the buckets.
func checkHistograms(t testing.TB, shown map[string]float64) {
	t.Helper()
	for series, n := range shown {
		name, labels, isBucket := strings.Cut(series, "_bucket{")
		labels, isAll := strings.CutSuffix(labels, `le="+Inf"}`)
		if !isBucket || !isAll {
			continue
		}
		count, sum := name+"_count", name+"_sum"
		if labels = strings.TrimSuffix(labels, ","); labels != "" {
			count, sum = count+"{"+labels+"}", sum+"{"+labels+"}"
		}
		if shown[count] != n || (shown[sum] > 0) != (n > 0) {
			t.Errorf("%s: %v in the buckets, %v counted, %v s", series, n, shown[count], shown[sum])
		}
	}
}

// differences are the series in which two tallies differ.
func differences(got, want tally) (found []string) {
	all := maps.Clone(got)
	all.add(want)
	for series := range all {
		if got[series] != want[series] {
			found = append(found, fmt.Sprintf("%s is %v, want %v", series, got[series], want[series]))
		}
	}
	return found
}

// calls are those to the provider of one kind, whatever their result.
func calls(shown tally, call string) (n float64) {
	for _, result := range []string{"ok", "refused", "misconfigured", "failed"} {
		n += shown[called(call, result)]
	}
	return n
}

// doEverything does what the table says, with a reload in the middle, and compares all
// metrics after each step with the sum of what was done.
func doEverything(t *testing.T, b *bench) {
	before, _ := b.scrape()
	want := maps.Clone(before)
	for i, step := range everything {
		if i == len(everything)/2 {
			b.reload()
		}
		made := b.Provider.Calls()
		step.do(t, b.visitor)
		want.add(step.says)
		if asked := b.Provider.Calls().Result - made.Result; step.isPending {
			want[called("result", "ok")] += float64(asked)
		}
		got, scrapes := b.scrape()
		want[unprotected] += 2 * scrapes // which pass both directives
		// each start fetches a token, and is taken off the budget
		want[budgetUsed] = (calls(want, "token") - calls(before, "token")) / 20000
		for _, difference := range differences(got, want) {
			t.Errorf("after %q %s", step.what, difference)
		}
		if t.Failed() {
			return // the rest would only say so again
		}
	}
	b.reload()
	got, scrapes := b.scrape()
	want[unprotected] += 2 * scrapes
	for _, difference := range differences(got, want) {
		t.Errorf("after the last reload %s", difference)
	}
	made := b.Provider.Calls()
	for call, n := range map[string]int{"token": made.Token, "start": made.Start, "result": made.Result} {
		if sum := calls(got, call) - calls(before, call); sum != float64(n) {
			t.Errorf("%v calls of %s are shown, the provider has had %d", sum, call, n)
		}
	}
}

func TestMetricsEqualWhatTheTestDidAfterAReloadToo(t *testing.T) {
	for _, store := range []string{"memory", "bolt"} {
		t.Run(store, func(t *testing.T) {
			line := map[string]string{"memory": "cache memory", "bolt": "cache bolt " + filepath.Join(t.TempDir(), "nv.db")}[store]
			site := strings.ReplaceAll(watched, "VERIFIER", line+"\nVERIFIER")
			w := stage.New(t, simulator.Options{PendingFor: time.Second})
			w.Load(site)
			doEverything(t, &bench{w, w.Visitor, []string{w.Addr}, func() { w.Load(site) }})
		})
	}
	t.Run("two nodes with Redis", func(t *testing.T) {
		site := strings.NewReplacer("http://SITE {", "http://:NODE {\nbind 127.0.0.1", "VERIFIER", "VERIFIER\nCACHE").Replace(watched)
		f := stage.NewFleet(t, simulator.Options{PendingFor: time.Second}, 2, site, patientRedis(t))
		anywhere := func() *stage.Visitor {
			v := f.Visitor()
			v.Client.Transport = &anyNode{RoundTripper: v.Client.Transport, fleet: f}
			return v
		}
		doEverything(t, &bench{f.Stage, anywhere, []string{f.Nodes[0].Addr, f.Nodes[1].Addr}, func() {
			for _, node := range f.Nodes {
				node.Reload()
			}
		}})
	})
}
