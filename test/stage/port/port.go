// Package port finds ports of loopback for servers of other makes.
package port

import "net"

// Free returns a host:port at which nobody listened just now. It may be taken before
// the server is there: who can, tries again with another one.
func Free() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
