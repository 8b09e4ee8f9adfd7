package journal

import (
	"context"
	"net/netip"

	"go.uber.org/zap"
)

// clientKey is under which a context has the client's network.
type clientKey struct{}

// WithClient returns a context in which what happens is told with the client's
// network. Address is that of the client.
func WithClient(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, clientKey{}, network(address))
}

// client tells where the request of ctx comes from.
func client(ctx context.Context) zap.Field {
	if network, ok := ctx.Value(clientKey{}).(string); ok {
		return zap.String("client", network)
	}
	return zap.Skip()
}

// network is as much of an address as may be logged: the /24 of IPv4, the /48 of
// IPv6. The limits count by other networks: see package quota.
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
