package acceptance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// collector takes in what Caddy's directive tracing exports.
type collector struct {
	mu    sync.Mutex
	spans tracetest.SpanStubs
}

// collected is the exporter that Caddy finds by its name in the environment.
var collected collector

func init() {
	autoexport.RegisterSpanExporter("test_collector", func(context.Context) (sdktrace.SpanExporter, error) { return &collected, nil })
}

// ExportSpans implements sdktrace.SpanExporter.
func (c *collector) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, tracetest.SpanStubsFromReadOnlySpans(spans)...)
	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (*collector) Shutdown(context.Context) error { return nil }

// onTraced is a stage whose site is traced.
func onTraced(t *testing.T, options simulator.Options) *stage.Stage {
	t.Helper()
	t.Setenv("OTEL_TRACES_EXPORTER", "test_collector")
	collected.mu.Lock()
	collected.spans = nil
	collected.mu.Unlock()
	w := stage.New(t, options)
	w.Load(`http://SITE {
		tracing {
			span request
		}
		number_verify /account* {
			public_url http://SITE
			result_wait 10s
			VERIFIER
		}
		metrics /metrics
		reverse_proxy UPSTREAM
	}`)
	return w
}

// spans stops Caddy, which exports all spans, and returns them in their order. It searches
// them for secrets, and holds each to what spans of the gate may have.
func spans(w *stage.Stage) tracetest.SpanStubs {
	w.T.Helper()
	w.Stop()
	collected.mu.Lock()
	defer collected.mu.Unlock()
	all := collected.spans
	text, err := json.Marshal(all)
	if err != nil {
		w.T.Fatal(err)
	}
	if !strings.Contains(string(text), "/.number-verify/callback") {
		w.T.Error("what is searched for secrets is not what was traced")
	}
	for secret, around := range w.Secrets.In(text) {
		w.T.Errorf("spans hold the secret %q: …%s…", secret, around)
	}
	for _, span := range all {
		if !isGates(span) {
			continue
		}
		for name := range attributes(span) {
			if !slices.Contains([]string{"code", "operator", "reference", "call", "result"}, name) {
				w.T.Errorf("%s has an attribute %s", span.Name, name)
			}
		}
		if len(span.Events)+len(span.Links) != 0 || span.EndTime.Before(span.StartTime) {
			w.T.Errorf("%s: %+v", span.Name, span)
		}
	}
	slices.SortStableFunc(all, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return all
}

func isGates(span tracetest.SpanStub) bool { return strings.HasPrefix(span.Name, "number_verify.") }

func isCaches(span tracetest.SpanStub) bool {
	return strings.HasPrefix(span.Name, "number_verify.cache.")
}

// attributes are the gate's attributes of a span, by the end of their names.
func attributes(span tracetest.SpanStub) map[string]string {
	found := make(map[string]string)
	for _, a := range span.Attributes {
		found[strings.TrimPrefix(string(a.Key), "number_verify.")] = a.Value.AsString()
	}
	return found
}

// told is what a span of the gate tells, but for its reference, which is another one each
// time.
func told(span tracetest.SpanStub) (line string) {
	with := attributes(span)
	delete(with, "reference")
	for _, name := range slices.Sorted(maps.Keys(with)) {
		line += " " + name + "=" + with[name]
	}
	if span.Status.Code == codes.Error {
		line += " ERROR"
	}
	return line
}

// drawn is a line for each span but those of the cache, indented as they are children of
// one another.
func drawn(all tracetest.SpanStubs) []string {
	var lines []string
	var draw func(parent trace.SpanID, indent string)
	draw = func(parent trace.SpanID, indent string) {
		for _, span := range all {
			if span.Parent.SpanID() != parent || isCaches(span) {
				continue
			}
			line := indent + span.Name
			if isGates(span) {
				line += told(span)
			}
			lines = append(lines, line)
			draw(span.SpanContext.SpanID(), indent+"  ")
		}
	}
	draw(trace.SpanID{}, "")
	return lines
}

// steps are the lines drawn of requests that have a span of the gate.
func steps(all tracetest.SpanStubs) []string {
	lines := drawn(all)
	return slices.DeleteFunc(lines, func(line string) bool { return line == "request" })
}

func compareSpans(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the spans are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSpansTellOfAnAttemptUnderTheRequestsThatMadeIt(t *testing.T) {
	w := onTraced(t, simulator.Options{})
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	w.Visitor().Verify("/account/", "06 39 98 00 02")
	w.Visitor().Open(w.Visitor().Callback("/account/", "06 39 98 00 20"))
	all := spans(w)
	compareSpans(t, steps(all),
		"  number_verify.start operator=SFR result=to_operator",
		"    number_verify.provider.token call=token result=ok",
		"    number_verify.provider.start call=start result=ok",
		"  number_verify.callback operator=SFR result=verified",
		"    number_verify.provider.result call=result result=ok",
		"  number_verify.start operator=Bouygues Telecom result=to_operator",
		"    number_verify.provider.token call=token result=ok",
		"    number_verify.provider.start call=start result=ok",
		"  number_verify.callback code=number_mismatch operator=Bouygues Telecom result=ended",
		"    number_verify.provider.result call=result code=number_mismatch result=refused",
		"  number_verify.start operator=Orange result=to_operator",
		"    number_verify.provider.token call=token result=ok",
		"    number_verify.provider.start call=start result=ok",
		"  number_verify.callback code=browser_mismatch operator=Orange result=problem",
	)
	verifyCacheSpans(t, all)
	verifyReferences(t, w, all)
}

// verifyReferences checks that all steps of an attempt have its reference, which is that of
// the log, and that nothing else has one.
func verifyReferences(t *testing.T, w *stage.Stage, all tracetest.SpanStubs) {
	t.Helper()
	var inLog []string
	for line := range strings.Lines(w.Log()) {
		var entry struct{ Msg, Reference string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Msg == "attempt started" {
			inLog = append(inLog, entry.Reference, entry.Reference) // a start and a callback
		}
	}
	var inSpans []string
	for _, span := range all {
		reference, ok := attributes(span)["reference"]
		if isStep := span.Name == "number_verify.start" || span.Name == "number_verify.callback"; ok != isStep {
			t.Errorf("%s has the reference %q", span.Name, reference)
		}
		if ok {
			inSpans = append(inSpans, reference)
		}
	}
	if len(inLog) != 6 || !slices.Equal(inSpans, inLog) {
		t.Errorf("the references of spans are %v, those of the log %v", inSpans, inLog)
	}
}

// verifyCacheSpans checks that there are calls of the cache under each step, and under
// nothing else: not under requests that are verified.
func verifyCacheSpans(t *testing.T, all tracetest.SpanStubs) {
	t.Helper()
	names := make(map[trace.SpanID]string)
	for _, span := range all {
		names[span.SpanContext.SpanID()] = span.Name
	}
	under := make(map[string]int)
	for _, span := range all {
		if !isCaches(span) {
			continue
		}
		under[names[span.Parent.SpanID()]]++
		if with := attributes(span); span.Name != "number_verify.cache."+with["call"] || with["result"] == "" || len(with) != 2 {
			t.Errorf("%s has %v", span.Name, with)
		}
	}
	for name, n := range under {
		if name != "number_verify.start" && name != "number_verify.callback" && name != "number_verify.wait" {
			t.Errorf("%d calls of the cache are under %q", n, name)
		}
	}
	if under["number_verify.start"] == 0 || under["number_verify.callback"] == 0 {
		t.Errorf("calls of the cache: %v", under)
	}
}

func TestSpansAreErrorsWhereSomebodyMustAct(t *testing.T) {
	w := onTraced(t, simulator.Options{Intercept: func(call string, rw http.ResponseWriter, r *http.Request) bool {
		isBroken := call == simulator.CallStart && strings.HasSuffix(r.Form.Get("number"), "20")
		if isBroken {
			http.Error(rw, r.Form.Encode(), http.StatusInternalServerError)
		}
		return isBroken
	}})
	w.Visitor().Callback("/account/", "06 39 98 00 03")
	w.Visitor().Press("06 39 98 00 20", "/account/")
	for _, number := range []string{"06 39 98 00 20", "06 39 98 00 14", "06 39 98 00 05"} {
		w.Visitor().Start("/account/", number)
	}
	w.Visitor().Open("/.number-verify/callback") // none
	all := spans(w)
	compareSpans(t, steps(all)[3:],
		"  number_verify.start code=provider_unavailable result=refused ERROR",
		"    number_verify.provider.token call=token result=ok",
		"    number_verify.provider.start call=start code=provider_unavailable result=failed ERROR",
		"  number_verify.start code=provider_misconfigured result=refused ERROR",
		"    number_verify.provider.token call=token result=ok",
		"    number_verify.provider.start call=start code=provider_misconfigured result=misconfigured ERROR",
		"  number_verify.start code=number_unsupported result=refused",
		"    number_verify.provider.token call=token result=ok",
		"    number_verify.provider.start call=start code=number_unsupported result=refused",
		"  number_verify.callback code=attempt_unknown result=problem",
	)
}

func TestSpanOfAStartThatIsStoppedHasTheReferenceOfTheLastAttempt(t *testing.T) {
	w := onTraced(t, simulator.Options{})
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	visitor.Drop(stage.SessionCookie)
	visitor.ArriveFrom("/account/") // given once more
	visitor.Drop(stage.SessionCookie)
	visitor.Press(stage.TypedNumber, "/account/").Is(t, http.StatusBadRequest, "cookies_required")
	all := spans(w)
	lines := steps(all)
	compareSpans(t, lines[len(lines)-1:], "  number_verify.start code=cookies_required result=stopped")
	references := make(map[string]bool)
	for _, span := range all {
		if span.Name == "number_verify.start" {
			references[attributes(span)["reference"]] = true
		}
	}
	if len(references) != 1 {
		t.Errorf("the references are %v", references)
	}
}

// The provider answers after the request that asks for the result has been answered.
func TestSpansOfWorkThatOutlivesItsRequestEndUnderIt(t *testing.T) {
	answer, answered := make(chan struct{}), make(chan struct{})
	w := onTraced(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, _ *http.Request) bool {
		if call == simulator.CallResult {
			<-answer
			close(answered)
		}
		return false
	}})
	visitor := w.Visitor()
	wait := visitor.Open(visitor.Callback("/account/", "06 39 98 00 01"))
	if !strings.Contains(wait.Location(), "/wait/") {
		t.Fatalf("the visitor is sent to %q", wait.Location())
	}
	close(answer)
	<-answered
	if end := visitor.Arrive(wait); end.Path() != "/account/" {
		t.Fatalf("the visitor ends at %s", end.Path())
	}
	all := spans(w)
	lines := steps(all)
	compareSpans(t, slices.DeleteFunc(lines[3:], func(line string) bool { return line == "  number_verify.wait result=pending" }),
		"  number_verify.callback result=pending",
		"    number_verify.provider.result call=result result=ok",
		"  number_verify.wait operator=SFR result=verified",
	)
	late := 0
	for _, span := range all {
		if span.Name != "number_verify.callback" {
			continue
		}
		for _, child := range all {
			if child.Parent.SpanID() == span.SpanContext.SpanID() && child.Name == "number_verify.cache.replace" && child.StartTime.After(span.EndTime) {
				late++
			}
		}
	}
	if late != 1 {
		t.Errorf("%d times the result was recorded after its request, want once", late)
	}
}

// What a client sends goes on to the site, which belongs to its operator, and no further.
func TestTraceAndBaggageReachTheSiteButNeitherProviderNorOperator(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[string]http.Header)
	w := onTraced(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		seen[call] = r.Header.Clone()
		return false
	}})
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	fields := []string{"Traceparent: 00-" + traceID + "-00f067aa0ba902b7-01", "Tracestate: vendor=opaque", "Baggage: user=visitor"}
	visitor := w.Visitor()
	form := visitor.Follow(visitor.Open("/account/", fields...))
	start := visitor.Post("/.number-verify/start", map[string][]string{"number": {stage.TypedNumber}, "return": {"/account/"}}, fields...)
	back := visitor.Open(start.Location()) // a browser sends no trace to another site
	visitor.Open(back.Location(), fields...)
	if a := visitor.Open("/account/", fields...); form.StatusCode != http.StatusOK || a.StatusCode != http.StatusOK {
		t.Fatalf("the visitor is not verified: %d", a.StatusCode)
	}
	site := w.Upstream.Take()
	if len(site) != 1 || !strings.Contains(site[0].Header.Get("Traceparent"), traceID) || site[0].Header.Get("Baggage") == "" {
		t.Errorf("the site is not told of the trace: %v", site)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, call := range []string{simulator.CallToken, simulator.CallStart, simulator.CallResult} {
		for name, values := range seen[call] {
			if !slices.Contains([]string{"Accept", "Accept-Encoding", "Connection", "Content-Length", "Content-Type", "User-Agent"}, name) {
				t.Errorf("the provider's %s call has the header %s: %v", call, name, values)
			}
			if strings.Contains(fmt.Sprint(values), traceID) {
				t.Errorf("the provider is told of the trace in %s", name)
			}
		}
		if len(seen[call]) == 0 {
			t.Errorf("there was no %s call", call)
		}
	}
	for _, address := range []string{start.Location(), back.Location()} {
		if strings.Contains(address, traceID) || strings.Contains(address, "visitor") {
			t.Errorf("an address tells of the trace")
		}
	}
	traced := 0
	for _, span := range spans(w) {
		if isGates(span) && span.SpanContext.TraceID().String() == traceID {
			traced++
		}
	}
	if traced == 0 {
		t.Error("nothing was traced")
	}
}

func TestMetricsOfATracedAttemptLeadToItsTraces(t *testing.T) {
	w := onTraced(t, simulator.Options{})
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	shown := visitor.Open("/metrics", "Accept: application/openmetrics-text; version=1.0.0").Body
	traces := make(map[string]string)
	for _, span := range spans(w) {
		if isGates(span) {
			traces[span.SpanContext.TraceID().String()] += span.Name + " "
		}
	}
	found := make(map[string]string)
	for line := range strings.Lines(shown) {
		series, exemplar, ok := strings.Cut(strings.TrimSpace(line), ` # {trace_id="`)
		metric, _, _ := strings.Cut(series, "{")
		if trace, _, _ := strings.Cut(exemplar, `"`); ok && traces[trace] != "" {
			found[metric] += traces[trace]
		}
	}
	for metric, step := range map[string]string{
		"attempts_total": "callback", "attempt_duration_seconds_bucket": "callback", "provider_request_duration_seconds_bucket": "start",
	} {
		if !strings.Contains(found["caddy_number_verify_"+metric], "number_verify."+step+" ") {
			t.Errorf("%s does not lead to the %s: %v", metric, step, found)
		}
	}
	if len(found) != 3 {
		t.Errorf("traces are shown by %v", found)
	}
}
