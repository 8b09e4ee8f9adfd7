package metrics

import "github.com/prometheus/client_golang/prometheus"

// State is what is true of a configuration at the moment, asked for when somebody
// scrapes. It is a prometheus.Collector.
type State struct {
	// Breaker returns 0 while the provider is called, 1 while one call tries
	// whether it works again, and 2 while calls are suspended.
	Breaker func() int
	// InFlight returns how many attempts are under way, Sessions how many sessions
	// there are. What is not known is not shown.
	InFlight, Sessions func() (n int64, isKnown bool)
	// BudgetUsed returns how much of the global limit of starts is used, 1 being all
	// of it. It is not known where there is no such limit.
	BudgetUsed func() (ratio float64, isKnown bool)
}

var (
	breakerState = gauge("breaker_state", "Calls to the provider: 0 made, 1 being tried, 2 suspended.")
	inFlight     = gauge("attempts_in_flight", "Attempts under way, on all nodes that share the cache.")
	sessions     = gauge("sessions", "Sessions in the cache.")
	budgetUsed   = gauge("budget_used_ratio", "Part of the global limit of starts that is used, on all nodes that share the cache.")
)

func gauge(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, nil, nil)
}

// Describe implements prometheus.Collector.
func (s *State) Describe(to chan<- *prometheus.Desc) {
	to <- breakerState
	to <- inFlight
	to <- sessions
	to <- budgetUsed
}

// Collect implements prometheus.Collector.
func (s *State) Collect(to chan<- prometheus.Metric) {
	to <- prometheus.MustNewConstMetric(breakerState, prometheus.GaugeValue, float64(s.Breaker()))
	if n, isKnown := s.InFlight(); isKnown {
		to <- prometheus.MustNewConstMetric(inFlight, prometheus.GaugeValue, float64(n))
	}
	if n, isKnown := s.Sessions(); isKnown {
		to <- prometheus.MustNewConstMetric(sessions, prometheus.GaugeValue, float64(n))
	}
	if ratio, isKnown := s.BudgetUsed(); isKnown {
		to <- prometheus.MustNewConstMetric(budgetUsed, prometheus.GaugeValue, ratio)
	}
}

// Interface guard
var _ prometheus.Collector = (*State)(nil)
