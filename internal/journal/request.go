package journal

import (
	"context"
	"net/netip"
	"sync"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// request is what all lines about one request have in common.
type request struct {
	// client is as much of the visitor's address as may be logged.
	client string
	// realm is the host or the cookie domain, or "".
	realm string
	// attempt is the attempt's public id, or "".
	attempt string
	// reference returns what the visitor can name to support.
	reference func() string
}

// requestKey is the context key of the request.
type requestKey struct{}

func requestOf(ctx context.Context) request {
	r, _ := ctx.Value(requestKey{}).(request)
	return r
}

// WithClient returns a context whose events are logged with the network of the
// client's address. A refusal in it has a random reference, made when it is first asked
// for.
func WithClient(ctx context.Context, address string) context.Context {
	r := request{client: network(address), reference: sync.OnceValue(ledger.NewReference)}
	return context.WithValue(ctx, requestKey{}, r)
}

// WithRealm returns a context whose events are told the part of a realm that people know.
func WithRealm(ctx context.Context, realm string) context.Context {
	r := requestOf(ctx)
	r.realm = ledger.Scope(realm)
	return context.WithValue(ctx, requestKey{}, r)
}

// WithAttempt returns a context whose events are about the attempt of that id, with its
// reference.
func WithAttempt(ctx context.Context, id string) context.Context {
	r := requestOf(ctx)
	r.attempt = ledger.PublicID(id)
	r.reference = func() string { return ledger.Reference(id) }
	return context.WithValue(ctx, requestKey{}, r)
}

// WithReference returns a context whose refusal has a reference that is known already.
func WithReference(ctx context.Context, reference string) context.Context {
	r := requestOf(ctx)
	r.reference = func() string { return reference }
	return context.WithValue(ctx, requestKey{}, r)
}

// Reference returns the reference of the attempt or the refusal that ctx is about; ""
// where ctx is no request's.
func Reference(ctx context.Context) string {
	if r := requestOf(ctx); r.reference != nil {
		return r.reference()
	}
	return ""
}

// about returns the log fields that say whom and which attempt a line is about.
func about(ctx context.Context) []zap.Field {
	r := requestOf(ctx)
	fields := present("client", r.client)
	if r.attempt != "" {
		fields = append(fields, zap.String("attempt", r.attempt), zap.String("reference", r.reference()))
	}
	return fields
}

// aboutRefusal returns the fields of about for a refusal, which always has a reference.
func aboutRefusal(ctx context.Context) []zap.Field {
	fields := about(ctx)
	if requestOf(ctx).attempt == "" {
		fields = append(fields, present("reference", Reference(ctx))...)
	}
	return fields
}

// present returns a field, unless its value is empty.
func present(name, value string) []zap.Field {
	if value == "" {
		return nil
	}
	return []zap.Field{zap.String(name, value)}
}

// network returns the part of an address that may be logged: the /24 of IPv4, the
// /48 of IPv6. Limits count by other networks, see package quota.
func network(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return "unknown"
	}
	addr = addr.Unmap().WithZone("")
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	return netip.PrefixFrom(addr, bits).Masked().String()
}
