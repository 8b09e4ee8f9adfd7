package acceptance_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/guest"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
)

// watched is a site whose metrics can be scraped. A scrape is a request that nothing
// protects.
const watched = `
http://SITE {
	number_verify /account* {
		public_url http://SITE
		result_wait 3s
		VERIFIER
	}
	number_verify /open* {
		public_url http://SITE
		result_wait 3s
		optional
		VERIFIER
	}
	metrics /metrics
	reverse_proxy UPSTREAM
}
`

// moved is what has changed since a scrape. Buckets and sums of times are left out, and
// so are requests that nothing protects: those that go through two directives count in
// both.
func moved(w *stage.Stage, before map[string]float64) map[string]float64 {
	w.T.Helper()
	by := make(map[string]float64)
	for series, value := range w.Metrics() {
		isTime := strings.Contains(series, "_bucket") || strings.Contains(series, "_sum")
		if !isTime && value != before[series] && series != `requests_total{decision="unprotected"}` {
			by[series] = value - before[series]
		}
	}
	return by
}

func compareMetrics(t *testing.T, got, want map[string]float64) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("the metrics say\n%v\nwhat happened is\n%v", got, want)
	}
}

func TestMetricsSayWhatLimitsRefuse(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith(stage.FromAnywhere, watched)
	before := w.Metrics()
	for i := range 7 {
		w.From("192.0.2.1").Press("06 39 98 00 05", fmt.Sprint("/account/", i))
	}
	w.From("192.0.2.1").Press("no number", "/account/")
	compareMetrics(t, moved(w, before), map[string]float64{
		`requests_total{decision="redirected"}`:                                  8,
		`attempts_total{operator="",outcome="number_unsupported"}`:               5,
		`attempts_total{operator="",outcome="rate_limited"}`:                     2,
		`provider_request_duration_seconds_count{call="token",result="ok"}`:      5,
		`provider_request_duration_seconds_count{call="start",result="refused"}`: 5,
		`budget_used_ratio`: 5.0 / 20000,
	})
}

func TestMetricsSayHowMuchOfTheTightestBudgetIsUsed(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	tight := strings.NewReplacer("/account* {", "/account* {\nlimits {\nglobal 10 24h\n}", "/open* {", "/open* {\npath /.open\nlimits {\nglobal 40 1h\n}").Replace(watched)
	used := func() (float64, bool) {
		ratio, ok := w.Metrics()["budget_used_ratio"]
		return ratio, ok
	}
	w.Load(tight)
	if ratio, ok := used(); ratio != 0 || !ok {
		t.Errorf("at first %v, %v", ratio, ok)
	}
	w.Visitor().ArrivesAt("/account/")
	w.Visitor().Press("06 39 98 00 05", "/account/") // without a cookie: nothing is started
	w.Load(strings.Replace(tight, "result_wait 3s", "result_wait 3s\nbrand Elsewhere", 2))
	w.Visitor().ArrivesAt("/account/")
	if ratio, ok := used(); ratio != 0.2 || !ok {
		t.Errorf("after two starts of ten %v, %v", ratio, ok)
	}
	w.Load(strings.NewReplacer("global 10 24h", "global off", "global 40 1h", "global off").Replace(tight))
	if ratio, ok := used(); ok {
		t.Errorf("%v of no budget is used", ratio)
	}
}

func TestMetricsSayThatCallsAreSuspended(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith(stage.FromAnywhere, watched)
	before := w.Metrics()
	failStarts(t, w)
	w.From("198.51.100.1").Press("06 39 98 00 01", "/account/")
	want := map[string]float64{
		`requests_total{decision="redirected"}`:                                 11,
		`attempts_total{operator="",outcome="provider_unavailable"}`:            11,
		`provider_request_duration_seconds_count{call="token",result="ok"}`:     10,
		`provider_request_duration_seconds_count{call="start",result="failed"}`: 10,
		`breaker_state`: 2, `budget_used_ratio`: 10.0 / 20000,
	}
	compareMetrics(t, moved(w, before), want)
	w.Load(watched) // begins anew
	delete(want, `breaker_state`)
	compareMetrics(t, moved(w, before), want)
}

func TestMetricsSayThatTheCacheFails(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(strings.Replace(onFlaky, "reverse_proxy", "metrics /metrics\nreverse_proxy", 1))
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	before := w.Metrics()
	guest.CacheIsDown.Store(true)
	t.Cleanup(func() { guest.CacheIsDown.Store(false) })
	visitor.Fetch("/account/").Is(t, http.StatusServiceUnavailable, "cache_unavailable")
	visitor.Open("/open/")
	visitor.Press("06 39 98 00 20", "/account/").Is(t, http.StatusServiceUnavailable, "cache_unavailable")
	got := moved(w, before)
	if n := got[`cache_errors_total{call="get"}`]; n < 3 {
		t.Errorf("%v errors of the cache, want one for each request", n)
	}
	maps.DeleteFunc(got, func(series string, _ float64) bool { return strings.HasPrefix(series, "cache_errors_total") })
	compareMetrics(t, got, map[string]float64{
		`requests_total{decision="refused"}`: 1, `requests_total{decision="optional"}`: 1,
		`attempts_total{operator="",outcome="cache_unavailable"}`: 1,
	})
	for _, gauge := range []string{"attempts_in_flight", "budget_used_ratio"} {
		if n, ok := before[gauge]; ok {
			t.Errorf("%s is %v for a cache that cannot tell", gauge, n)
		}
	}
	if n, ok := w.Metrics()["sessions"]; ok {
		t.Errorf("%v sessions are known without the cache", n)
	}
}

// The attempts and sessions are those of all nodes.
func TestMetricsOfNodesThatShareRedis(t *testing.T) {
	server := redistest.Start(t)
	w := stage.New(t, simulator.Options{})
	w.Load(strings.ReplaceAll(watched, "VERIFIER", "cache redis "+server.Addr+"\nVERIFIER"))
	w.Visitor().ArrivesAt("/account/")
	visitor := w.Visitor()
	callback := visitor.Callback("/account/", "06 39 98 00 20")
	shown := w.Metrics()
	if shown["sessions"] != 1 || shown["attempts_in_flight"] != 1 || shown["budget_used_ratio"] != 2.0/20000 {
		t.Errorf("%v", shown)
	}
	visitor.Arrive(visitor.Open(callback))
	if shown = w.Metrics(); shown["attempts_in_flight"] != 0 || shown["sessions"] != 2 {
		t.Errorf("%v", shown)
	}
	server.Kill()
	shown = w.Metrics()
	for _, gauge := range []string{"attempts_in_flight", "budget_used_ratio"} {
		if n, ok := shown[gauge]; ok {
			t.Errorf("%s is %v without the server", gauge, n)
		}
	}
	if shown = w.Metrics(); shown[`cache_errors_total{call="total"}`] == 0 {
		t.Errorf("%v", shown)
	}
}
