package journal

import (
	"context"
	"net/netip"

	"go.uber.org/zap"
)

// clientKey is the context key of the client's network.
type clientKey struct{}

// WithClient returns a context whose events are logged with the network of the
// client's address.
func WithClient(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, clientKey{}, network(address))
}

// client returns the log field of the client's network.
func client(ctx context.Context) zap.Field {
	if network, ok := ctx.Value(clientKey{}).(string); ok {
		return zap.String("client", network)
	}
	return zap.Skip()
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
