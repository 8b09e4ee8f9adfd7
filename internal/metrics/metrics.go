// Package metrics has what Prometheus is told. Counters belong to the process, so
// that they live on when Caddy loads another configuration; what is true at the
// moment, in state.go, belongs to one configuration. No label holds a number, an
// address, a host or a token.
package metrics

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

const namespace = "caddy_number_verify"

// Decision is what was decided on a request.
type Decision uint8

// The decisions.
const (
	// Verified: it passed with a session.
	Verified Decision = iota
	// Optional: it passed without a session, where none is needed.
	Optional
	// Unprotected: it passed, since the matcher does not match.
	Unprotected
	// Redirected: it was sent to the form, or to the main origin.
	Redirected
	// Refused: it got a refusal.
	Refused
)

// decisions are the values of the label, by Decision.
var decisions = [...]string{"verified", "optional", "unprotected", "redirected", "refused"}

// verified is the outcome of an attempt that made a session.
const verified = "verified"

// results are the values of the label; see ResultOf.
var results = []string{"ok", "refused", "misconfigured", "failed"}

var (
	providerCalls = []string{"token", "start", "result"}
	cacheCalls    = []string{"get", "put", "replace", "find", "delete", "label", "walk", "count", "uncount", "sessions", "total"}
)

const (
	// maxOperators is how many operators have a label of their own: the provider
	// names them, and each name is kept as long as the process lives.
	maxOperators = 32
	// otherOperator stands for all operators beyond.
	otherOperator = "other"
)

// Metrics are counters and histograms. All methods may be called from many
// goroutines at once.
type Metrics struct {
	// requests are those of each decision, found once: every request counts.
	requests    [len(decisions)]prometheus.Counter
	decided     *prometheus.CounterVec
	attempts    *prometheus.CounterVec
	took        prometheus.Histogram
	calls       *prometheus.HistogramVec
	cacheErrors *prometheus.CounterVec
	dropped     prometheus.Counter

	mu        sync.Mutex
	operators map[string]bool
}

// Process are the metrics of this process.
var Process = New()

// New returns metrics that have counted nothing. Every series whose labels are known
// is there, since a rate cannot see a counter's first step from nothing.
func New() *Metrics {
	m := &Metrics{
		decided: counters("requests_total", "Requests that a directive decided on.", "decision"),
		attempts: counters("attempts_total", "Verifications that ended, and starts that were refused.",
			"outcome", "operator"),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Name: "attempt_duration_seconds", Help: "Time of a visitor from the start to the end of a verification.",
			Buckets: []float64{1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180},
		}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "provider_request_duration_seconds", Help: "Time of a call to the provider.",
			Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25},
		}, []string{"call", "result"}),
		cacheErrors: counters("cache_errors_total", "Calls of the cache that failed.", "call"),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "events_dropped_total", Help: "Events that no handler was given, since handlers are too slow.",
		}),
		operators: make(map[string]bool),
	}
	for d, name := range decisions {
		m.requests[d] = m.decided.WithLabelValues(name)
	}
	m.attempts.WithLabelValues(verified, "")
	for _, code := range refusal.Codes() {
		m.attempts.WithLabelValues(string(code), "")
	}
	for _, call := range providerCalls {
		for _, result := range results {
			m.calls.WithLabelValues(call, result)
		}
	}
	for _, call := range cacheCalls {
		m.cacheErrors.WithLabelValues(call)
	}
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

// Register shows the metrics in a registry. It may be called again with the same one.
func (m *Metrics) Register(registry prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.decided, m.attempts, m.took, m.calls, m.cacheErrors, m.dropped} {
		if err := registry.Register(c); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return err
		}
	}
	return nil
}

// Decided counts a request. It costs one atomic addition.
func (m *Metrics) Decided(d Decision) { m.requests[d].Inc() }

// AttemptVerified counts an attempt that made a session.
func (m *Metrics) AttemptVerified(ctx context.Context, operator string) {
	m.ended(ctx, verified, operator)
}

// AttemptRefused counts an attempt that ended with a refusal, or a start that was
// refused. Operator is a cleaned name, or "" where it is not known.
func (m *Metrics) AttemptRefused(ctx context.Context, code refusal.Code, operator string) {
	m.ended(ctx, string(code), operator)
}

func (m *Metrics) ended(ctx context.Context, outcome, operator string) {
	m.attempts.WithLabelValues(outcome, m.operator(operator)).(prometheus.ExemplarAdder).AddWithExemplar(1, exemplar(ctx))
}

// Took notes the time of a visitor in an attempt that began at that time. Records of
// earlier versions do not know when: then it is zero, and nothing is noted.
func (m *Metrics) Took(ctx context.Context, began time.Time) {
	if !began.IsZero() {
		observe(ctx, m.took, max(0, time.Since(began)))
	}
}

// observe notes a time, with the trace that it was taken in.
func observe(ctx context.Context, times prometheus.Observer, took time.Duration) {
	times.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), exemplar(ctx))
}

// exemplar leads from a metric to the trace of ctx; nil where nobody records one.
func exemplar(ctx context.Context) prometheus.Labels {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsSampled() {
		return nil
	}
	return prometheus.Labels{"trace_id": span.TraceID().String()}
}

// operator returns the label of an operator.
func (m *Metrics) operator(name string) string {
	if name == "" {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.operators[name] {
		return name
	}
	if len(m.operators) >= maxOperators {
		return otherOperator
	}
	m.operators[name] = true
	return name
}

// ProviderCalled notes a call to the provider, which returned err.
func (m *Metrics) ProviderCalled(ctx context.Context, call string, took time.Duration, err error) {
	observe(ctx, m.calls.WithLabelValues(call, ResultOf(err)), took)
}

// ResultOf tells how a call ended: with an answer; with a refusal because of this
// visitor's number, SIM or operator; with one because of the configuration; or
// without a usable answer.
func ResultOf(err error) string {
	if err == nil {
		return "ok"
	}
	switch refusal.Of(err) {
	case refusal.ProviderMisconfigured:
		return "misconfigured"
	case refusal.ProviderUnavailable:
		return "failed"
	default:
		return "refused"
	}
}

// CacheFailed counts a call of the cache that failed.
func (m *Metrics) CacheFailed(call string) { m.cacheErrors.WithLabelValues(call).Inc() }

// EventsDropped counts events that no handler is given.
func (m *Metrics) EventsDropped(n int) { m.dropped.Add(float64(n)) }
