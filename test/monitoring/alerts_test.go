package monitoring

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
)

// Series of two nodes of one job. They begin as they are pre-created.
const (
	one = `job="caddy",instance="one"`
	two = `job="caddy",instance="two"`
)

func breaker(values string) string {
	return `caddy_number_verify_breaker_state{` + one + "} " + values
}

func budget(values string) string {
	return `caddy_number_verify_budget_used_ratio{` + one + "} " + values
}

func calls(call, result, values string) string {
	return `caddy_number_verify_provider_request_duration_seconds_count{call="` + call + `",result="` + result + `",` + one + "} " + values
}

// attempts are those of an operator. That of no operator is there from the beginning.
func attempts(outcome, operator, values string) string {
	return `caddy_number_verify_attempts_total{outcome="` + outcome + `",operator="` + operator + `",` + one + "} " + values
}

func cacheErrors(call, values string) string {
	return `caddy_number_verify_cache_errors_total{call="` + call + `",` + two + "} " + values
}

func dropped(values string) string {
	return `caddy_number_verify_events_dropped_total{` + two + "} " + values
}

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// stories are what a Prometheus that scrapes every step sees, and which alerts fire
// at a time, in order of their names.
var stories = map[string]struct {
	step   time.Duration
	series []string
	at     time.Duration
	firing string
}{
	"all is well": {minute, []string{
		breaker("0x60"), budget("0.79x60"), cacheErrors("get", "0x60"), calls("start", "ok", "0+1x60"), calls("start", "misconfigured", "0x60"),
		attempts("verified", "", "0x60"), attempts("verified", "SFR", "0+1x60"), attempts("browser_mismatch", "", "0x60"),
	}, hour, ""},

	"calls are suspended":                         {minute, []string{breaker("0x9 2x5")}, 13 * minute, "NumberVerifyCallsSuspended"},
	"calls are suspended, and nobody comes since": {minute, []string{breaker("0x9 2 1x20")}, 13 * minute, "NumberVerifyCallsSuspended"},
	"calls are suspended for a minute":            {minute, []string{breaker("0x9 2 0x20")}, 10 * minute, ""},

	"credits are exhausted on a site of few visitors": {minute, []string{calls("token", "ok", "0+1x10 10x50"), calls("token", "misconfigured", "0x30 1x30")},
		35 * minute, "NumberVerifyProviderMisconfigured"},
	"credits were bought half an hour ago": {minute, []string{calls("token", "misconfigured", "0x10 5x50")}, 45 * minute, ""},

	"the cache is away, and only scrapes ask it":   {minute, []string{cacheErrors("total", "0x9 0+1x20")}, 18 * minute, "NumberVerifyCacheFailing"},
	"the cache is away for a minute":               {minute, []string{cacheErrors("get", "0x9 40x50")}, 11 * minute, ""},
	"the cache was away for a minute":              {minute, []string{cacheErrors("get", "0x9 40x50")}, 18 * minute, ""},
	"the disk is full, and there are few visitors": {minute, []string{attempts("cache_unavailable", "", "0x20 1x20 2x60"), attempts("verified", "", "0x100")}, 70 * minute, "NumberVerifyCacheFailing"},
	"the disk was full, and others are verified since": {minute, []string{
		attempts("cache_unavailable", "", "0x20 1x20 2x60"), attempts("verified", "", "0x100"), attempts("verified", "SFR", "_x50 1x60"),
	}, 70 * minute, ""},

	// a week of 12 starts and 8 verified in 5 minutes; then 4 verified
	"half as many are verified as usual":  {5 * minute, []string{calls("start", "ok", "0+12x2100"), attempts("verified", "SFR", "0+8x2000 16000+4x100")}, 7*day + 5*hour, "NumberVerifyCompletionFalling"},
	"nearly as many are verified":         {5 * minute, []string{calls("start", "ok", "0+12x2100"), attempts("verified", "SFR", "0+8x2000 16000+6x100")}, 7*day + 5*hour, ""},
	"half as many of eleven starts":       {5 * minute, []string{calls("start", "ok", "0x2000 0x9 1x9 2x9 3x9 4x9 5x9 6x9 7x9 8x9 9x9 11x9"), attempts("verified", "", "0x2000 0x20 3x100")}, 7*day + 5*hour, ""},
	"few are verified from the beginning": {minute, []string{calls("start", "ok", "0+1x200"), attempts("verified", "", "0x20 1x50 2x200")}, 3 * hour, "NumberVerifyCompletionFalling"},
	"none of fifteen is verified":         {5 * minute, []string{calls("start", "refused", "0x9 0+1x15 15x100"), attempts("verified", "", "0x130")}, 4 * hour, "NumberVerifyCompletionFalling"},
	"none of five is verified":            {5 * minute, []string{calls("start", "refused", "0x9 0+1x5 5x100"), attempts("verified", "", "0x130")}, 4 * hour, ""},
	"each operator's first visitor after a restart is verified": {5 * minute, []string{
		calls("start", "ok", "0x9 0+1x15 15x100"), attempts("verified", "", "0x130"),
		attempts("verified", "SFR", "_x12 1x100"), attempts("verified", "Free", "_x15 1x100"),
	}, 4 * hour, ""},

	"somebody sends operator links":     {minute, []string{attempts("browser_mismatch", "", "0x100"), attempts("browser_mismatch", "SFR", "_x60 0+1x40")}, 70 * minute, "NumberVerifyBurnedAttemptsRising"},
	"two visitors change the browser":   {minute, []string{attempts("browser_mismatch", "", "0x100"), attempts("browser_mismatch", "SFR", "_x60 1x5 2x50")}, 90 * minute, ""},
	"as many change browsers as always": {5 * minute, []string{attempts("browser_mismatch", "", "0+1x2100")}, 7 * day, ""},

	"a handler of events hangs":            {minute, []string{dropped("0x9 3x20")}, 15 * minute, "NumberVerifyEventsDropped"},
	"events were dropped half an hour ago": {minute, []string{dropped("0x9 3x50")}, 40 * minute, ""},

	"most of the budget is used": {minute, []string{budget("0.79x5 0.81x20")}, 10 * minute, "NumberVerifyBudgetLow"},
	"the budget is used up":      {minute, []string{budget("0.79x5 1x20")}, 10 * minute, "NumberVerifyBudgetLow NumberVerifyBudgetUsedUp"},
}

func TestAlertsFireWhenTheyShouldAndOnlyThen(t *testing.T) {
	fired := make(map[string]bool)
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			firing := evaluate(t, story.step, story.series, story.at)
			if got := strings.Join(firing, " "); got != story.firing {
				t.Errorf("%q fire, not %q", got, story.firing)
			}
			for _, alert := range firing {
				fired[alert] = true
			}
		})
	}
	for _, rule := range ruleList(t) {
		if rule.Alert != "" && !fired[rule.Alert] {
			t.Errorf("no story has %s fire", rule.Alert)
		}
	}
}

// evaluate returns the alerts that fire at a time, after the rules were evaluated at
// each step until then.
func evaluate(t *testing.T, step time.Duration, series []string, at time.Duration) (firing []string) {
	t.Helper()
	loader, err := promqltest.NewLazyLoader("load "+step.String()+"\n  "+strings.Join(series, "\n  ")+"\n", promqltest.LazyLoaderOpts{
		EnableAtModifier: true, EnableNegativeOffset: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer loader.Close()
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:    rules.EngineQueryFunc(loader.QueryEngine(), loader.Storage()),
		AppendableV2: loader.Storage(), Queryable: loader.Storage(), Parser: prom,
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Logger:     slog.New(slog.DiscardHandler),
	})
	groups, errs := manager.LoadGroups(step, labels.EmptyLabels(), "", nil, false, file(t, "alerts.yaml"))
	for _, err := range errs {
		t.Fatal(err)
	}
	for _, group := range groups {
		for after := time.Duration(0); after <= at; after += step {
			now := time.Unix(0, 0).UTC().Add(after)
			loader.WithSamplesTill(now, func(err error) {
				if err != nil {
					t.Fatal(err)
				}
				group.Eval(t.Context(), now)
			})
		}
		firing = append(firing, firingIn(t, group)...)
	}
	return firing
}

// firingIn are the names of the alerts that fire. It checks that their texts can be
// written.
func firingIn(t *testing.T, group *rules.Group) (firing []string) {
	t.Helper()
	for _, rule := range group.Rules() {
		if err := rule.LastError(); err != nil {
			t.Errorf("%s: %v", rule.Name(), err)
		}
	}
	for _, rule := range group.AlertingRules() {
		for _, alert := range rule.ActiveAlerts() {
			if alert.State != rules.StateFiring {
				continue
			}
			firing = append(firing, rule.Name())
			if texts := alert.Annotations.String(); strings.Contains(texts, "error expanding") || strings.Contains(texts, "no value") {
				t.Errorf("%s says %s", rule.Name(), texts)
			}
		}
	}
	slices.Sort(firing)
	return firing
}
