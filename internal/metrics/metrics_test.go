package metrics

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// series are the series of a metric in a new registry, as "label=value …", with what
// they count.
func series(t *testing.T, m *Metrics, name string) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := m.Register(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]float64)
	for _, family := range families {
		if family.GetName() != "caddy_number_verify_"+name {
			continue
		}
		for _, one := range family.GetMetric() {
			labels := ""
			for _, label := range one.GetLabel() {
				labels += label.GetName() + "=" + label.GetValue() + " "
			}
			found[labels] = one.GetCounter().GetValue() + float64(one.GetHistogram().GetSampleCount())
		}
	}
	return found
}

func TestOperatorsBeyondThirtyTwoAreOneLabel(t *testing.T) {
	m := New()
	for range 2 {
		for i := range 40 {
			m.AttemptVerified(t.Context(), fmt.Sprint("Operator ", i))
		}
	}
	m.AttemptRefused(t.Context(), "number_mismatch", "Operator 31")
	m.AttemptRefused(t.Context(), "number_mismatch", "Operator 32")
	found := series(t, m, "attempts_total")
	own := 0
	for labels, n := range found {
		if labels != "operator= outcome=verified " && n == 2 {
			own++
		}
	}
	if other := found["operator=other outcome=verified "]; own != 32 || other != 16 {
		t.Errorf("%d operators have a label, %v count as others", own, other)
	}
	if found["operator=Operator 31 outcome=number_mismatch "] != 1 || found["operator=other outcome=number_mismatch "] != 1 {
		t.Errorf("%v", found)
	}
}

func TestCountersLiveOnInTheNextRegistry(t *testing.T) {
	m := New()
	m.Decided(Refused)
	if err := m.Register(prometheus.NewPedanticRegistry()); err != nil {
		t.Fatal(err)
	}
	m.Decided(Refused)
	if found := series(t, m, "requests_total"); found["decision=refused "] != 2 || len(found) != len(decisions) {
		t.Errorf("%v", found)
	}
	registry := prometheus.NewPedanticRegistry()
	if err := errors.Join(m.Register(registry), m.Register(registry)); err != nil {
		t.Error(err)
	}
}

func TestProviderCallsAreToldByWhoMustAct(t *testing.T) {
	for result, errs := range map[string][]error{
		"ok":            {nil},
		"refused":       {&verifier.Error{Class: verifier.Mismatch}, &verifier.Error{Class: verifier.OperatorUnavailable}},
		"misconfigured": {&verifier.Error{Class: verifier.Misconfigured}},
		"failed":        {&verifier.Error{}, errors.New("of a kind nobody knows")},
	} {
		if !slices.Contains(results, result) {
			t.Errorf("%s is not there before it happens", result)
		}
		m := New()
		for _, err := range errs {
			m.ProviderCalled(t.Context(), "start", time.Second, err)
		}
		found := series(t, m, "provider_request_duration_seconds")
		if n := found["call=start result="+result+" "]; n != float64(len(errs)) || len(found) != len(providerCalls)*len(results) {
			t.Errorf("%s: %v", result, found)
		}
	}
}

func TestAttemptsOfEarlierVersionsHaveNoTime(t *testing.T) {
	m := New()
	m.Took(t.Context(), time.Time{})
	m.Took(t.Context(), time.Now().Add(-time.Minute))
	m.Took(t.Context(), time.Now().Add(time.Minute)) // a clock was set back
	if found := series(t, m, "attempt_duration_seconds"); found[""] != 2 {
		t.Errorf("%v", found)
	}
}

// A trace that nobody keeps leads nowhere.
func TestOnlySampledTracesAreExemplars(t *testing.T) {
	for _, flags := range []trace.TraceFlags{0, trace.FlagsSampled} {
		ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: flags,
		}))
		m := New()
		m.AttemptVerified(ctx, "SFR")
		m.AttemptRefused(ctx, "number_mismatch", "SFR")
		m.Took(ctx, time.Now())
		m.ProviderCalled(ctx, "start", time.Second, nil)
		registry := prometheus.NewPedanticRegistry()
		if err := m.Register(registry); err != nil {
			t.Fatal(err)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		exemplars := 0
		for _, family := range families {
			for _, one := range family.GetMetric() {
				if one.GetCounter().GetExemplar() != nil {
					exemplars++
				}
				for _, bucket := range one.GetHistogram().GetBucket() {
					if bucket.GetExemplar() != nil {
						exemplars++
					}
				}
			}
		}
		if want := 4 * int(flags); exemplars != want {
			t.Errorf("%d exemplars with flags %d, want %d", exemplars, flags, want)
		}
	}
}
