package monitoring

import (
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/numberverify/caddy-number-verify/internal/metrics"
	"github.com/numberverify/caddy-number-verify/test/manual"
)

var prom = parser.NewParser(parser.Options{})

// file is the path of a file of examples/monitoring.
func file(t *testing.T, name string) string {
	t.Helper()
	root, err := manual.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "examples", "monitoring", name)
}

// ruleList are the rules of alerts.yaml, as Prometheus reads them.
func ruleList(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(file(t, "alerts.yaml"), false, model.LegacyValidation, prom, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil || len(groups.Groups) != 1 {
		t.Fatal("alerts.yaml does not have one group")
	}
	return groups.Groups[0].Rules
}

// panels are the expressions of the dashboard, by the title of their panel. Grafana's
// variables are filled in.
func panels(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file(t, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]string)
	fill := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*")
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			found[panel.Title] = append(found[panel.Title], fill.Replace(target.Expr))
		}
	}
	return found
}

// labelsOf are the labels of a metric, each with the values that it has from the
// beginning.
type labelsOf map[string][]string

// ofScrape are labels that every series gets.
var ofScrape = []string{"job", "instance"}

// families are the gate's metrics, with the names that their samples have.
func families(t *testing.T) map[string]labelsOf {
	t.Helper()
	known := func() (int64, bool) { return 0, true }
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&metrics.State{
		Breaker: func() int { return 0 }, InFlight: known, Sessions: known,
		BudgetUsed: func() (float64, bool) { return 0, true },
	})
	if err := metrics.New().Register(registry); err != nil {
		t.Fatal(err)
	}
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]labelsOf)
	for _, family := range gathered {
		own := make(labelsOf)
		for _, one := range family.GetMetric() {
			for _, label := range one.GetLabel() {
				own[label.GetName()] = append(own[label.GetName()], label.GetValue())
			}
		}
		if name := family.GetName(); family.GetType() == dto.MetricType_HISTOGRAM {
			found[name+"_count"], found[name+"_sum"] = own, own
			found[name+"_bucket"] = maps.Clone(own)
			found[name+"_bucket"]["le"] = nil
		} else {
			found[name] = own
		}
	}
	return found
}

// withRecorded adds what rules record, with the labels that they keep.
func withRecorded(t *testing.T, known map[string]labelsOf) map[string]labelsOf {
	t.Helper()
	for _, rule := range ruleList(t) {
		if rule.Record == "" {
			continue
		}
		expr, err := prom.ParseExpr(rule.Expr)
		if err != nil {
			t.Fatal(err)
		}
		sum, ok := expr.(*parser.AggregateExpr)
		if !ok {
			t.Fatalf("%s is no sum", rule.Record)
		}
		own := make(labelsOf)
		for _, name := range sum.Grouping {
			own[name] = known[metricsIn(expr)[0]][name]
		}
		known[rule.Record] = own
	}
	return known
}

func metricsIn(node parser.Node) (names []string) {
	parser.Inspect(node, func(n parser.Node, _ []parser.Node) error {
		if selector, ok := n.(*parser.VectorSelector); ok {
			names = append(names, selector.Name)
		}
		return nil
	})
	return names
}

// check looks for every name in an expression: metrics, the labels that it selects and
// sums by, and the values that it selects.
func check(t *testing.T, where, text string, known map[string]labelsOf) (used []string) {
	t.Helper()
	expr, err := prom.ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return nil
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			if _, ok := known[n.Name]; !ok {
				t.Errorf("%s: there is no metric %s", where, n.Name)
			}
			used = append(used, n.Name)
			for _, matcher := range n.LabelMatchers {
				checkMatcher(t, where, matcher, known[n.Name])
			}
		case *parser.AggregateExpr:
			for _, metric := range metricsIn(n) {
				for _, name := range n.Grouping {
					if _, ok := known[metric][name]; !ok && !slices.Contains(ofScrape, name) {
						t.Errorf("%s: %s has no label %s", where, metric, name)
					}
				}
			}
		}
		return nil
	})
	return used
}

func checkMatcher(t *testing.T, where string, matcher *labels.Matcher, own labelsOf) {
	t.Helper()
	if matcher.Name == model.MetricNameLabel || slices.Contains(ofScrape, matcher.Name) {
		return
	}
	values, ok := own[matcher.Name]
	if !ok {
		t.Errorf("%s: there is no label %s", where, matcher.Name)
	}
	if !slices.ContainsFunc(values, matcher.Matches) && matcher.Name != "operator" {
		t.Errorf("%s: no value is %s", where, matcher)
	}
}

func TestAlertsAndDashboardNameWhatTheCodeHas(t *testing.T) {
	known := families(t)
	all := withRecorded(t, maps.Clone(known))
	for _, rule := range ruleList(t) {
		check(t, rule.Alert+rule.Record, rule.Expr, all)
	}
	shown := make(map[string]bool)
	for title, exprs := range panels(t) {
		for _, expr := range exprs {
			for _, name := range check(t, title, expr, known) {
				shown[name] = true
			}
		}
	}
	for name := range known {
		family := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
		if !shown[family] && !shown[family+"_bucket"] && !shown[family+"_count"] {
			t.Errorf("the dashboard does not show %s", family)
		}
	}
}
