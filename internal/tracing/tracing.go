// Package tracing records what the gate does for a visitor as spans, within the span that
// Caddy's directive tracing has begun for the request. Without one it does nothing. No
// attribute holds a number, an address, a secret, or text that a remote side sent.
package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// Attributes of spans.
const (
	codeKey      = attribute.Key("number_verify.code")
	operatorKey  = attribute.Key("number_verify.operator")
	referenceKey = attribute.Key("number_verify.reference")
	callKey      = attribute.Key("number_verify.call")
	resultKey    = attribute.Key("number_verify.result")
)

// Span is a part of what is done for a visitor. It may be one that nobody records.
type Span struct{ span trace.Span }

// stepKey is the context key that says that a step is traced.
type stepKey struct{}

// Step begins the span of a visitor's step.
func Step(ctx context.Context, name string) (context.Context, Span) {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, Span{}
	}
	return begin(context.WithValue(ctx, stepKey{}, true), name)
}

// Call begins the span of a call to the provider or the cache, which is named by to. It
// does nothing outside a step.
func Call(ctx context.Context, to, call string) (context.Context, Span) {
	if !isTraced(ctx) {
		return ctx, Span{}
	}
	return begin(ctx, to+"."+call, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(callKey.String(call)))
}

// isTraced tells whether ctx is that of a step that is traced. It does not ask its span: that
// may have ended before the work for its request has.
func isTraced(ctx context.Context) bool { return ctx.Value(stepKey{}) != nil }

func begin(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, Span) {
	// The directive's own provider: it sets no global one.
	tracer := trace.SpanFromContext(ctx).TracerProvider().Tracer("github.com/numberverify/caddy-number-verify")
	ctx, span := tracer.Start(ctx, "number_verify."+name, options...)
	return ctx, Span{span}
}

// Facts are what is known of an attempt or a refusal. Empty ones are not known.
type Facts struct {
	Code refusal.Code
	// Operator is a cleaned name.
	Operator string
	// Reference is what the visitor can name to support.
	Reference string
}

// End ends the span with what came of it.
func (s Span) End(result string, f Facts) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(resultKey.String(result))
	note(s.span, f)
	s.span.End()
}

// Note adds what has become known to the span of ctx.
func Note(ctx context.Context, f Facts) {
	if isTraced(ctx) {
		note(trace.SpanFromContext(ctx), f)
	}
}

// note adds facts to a span. A code is an error where somebody must act.
func note(span trace.Span, f Facts) {
	if f.Operator != "" {
		span.SetAttributes(operatorKey.String(f.Operator))
	}
	if f.Reference != "" {
		span.SetAttributes(referenceKey.String(f.Reference))
	}
	if f.Code == "" {
		return
	}
	span.SetAttributes(codeKey.String(string(f.Code)))
	if f.Code.NeedsRepair() {
		span.SetStatus(codes.Error, string(f.Code))
	}
}
