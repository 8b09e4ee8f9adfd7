package docs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/numberverify/caddy-number-verify/internal/metrics"
	"github.com/numberverify/caddy-number-verify/test/manual"
)

// TestOperationsTellsEveryMetric holds the table of metrics to the code, and looks for
// the values of their labels.
func TestOperationsTellsEveryMetric(t *testing.T) {
	const page = "docs/operations.md"
	section := manual.Section(t, manual.Page(t, page), "## Metrics")
	var told, want []string
	for _, row := range manual.Rows(section) {
		if strings.HasPrefix(row[0], "`caddy_number_verify_") {
			told = append(told, strings.Join(row[:3], " "))
		}
	}
	registry := prometheus.NewPedanticRegistry()
	known := func() (int64, bool) { return 0, true }
	registry.MustRegister(&metrics.State{
		Breaker: func() int { return 0 }, InFlight: known, Sessions: known,
		BudgetUsed: func() (float64, bool) { return 0, true },
	})
	if err := metrics.New().Register(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+label.GetName()+"`")
		}
		want = append(want, fmt.Sprintf("`%s` %s %s", family.GetName(), strings.ToLower(family.GetType().String()), strings.Join(labels, ", ")))
		for _, one := range family.GetMetric() {
			for _, label := range one.GetLabel() {
				if name := label.GetName(); name != "operator" && name != "outcome" && !strings.Contains(section, "`"+label.GetValue()+"`") {
					t.Errorf("%s: the value %q of %s is not told", page, label.GetValue(), name)
				}
			}
		}
	}
	slices.Sort(told)
	slices.Sort(want)
	if len(want) < 8 || !slices.Equal(told, want) {
		t.Errorf("%s has\n%s\nthere are\n%s", page, strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}
