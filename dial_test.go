package numberverify_test

import (
	"context"
	"net"
)

// dialLoopback reaches every name at one address, as DNS would for a real site.
func dialLoopback(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, asked string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(asked)
		if err != nil {
			return nil, err
		}
		if _, ours, _ := net.SplitHostPort(addr); port != ours {
			return (&net.Dialer{}).DialContext(ctx, network, asked)
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
}
