// Package port finds ports of loopback for servers other than Caddy.
package port

import "net"

// Free returns a host:port at which nobody listened just now. Another process may take
// it before the server does: callers that can try again with another one.
func Free() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
