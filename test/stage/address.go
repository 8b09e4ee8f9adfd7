package stage

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// FreeAddr reserves a port of loopback for a Caddy until the test ends, and returns
// it as host:port. The port is held by a socket that does not listen, so that no
// other process is given it meanwhile; Caddy, which asks for SO_REUSEPORT, may bind
// it all the same. Until then connections are refused.
func FreeAddr(t testing.TB) string {
	t.Helper()
	addr, release, err := reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return addr
}

func reserve() (addr string, release func(), err error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	release = func() { _ = unix.Close(socket) }
	defer func() {
		if err != nil {
			release()
		}
	}()
	if err = unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return "", nil, err
	}
	if err = unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", nil, err
	}
	bound, err := unix.Getsockname(socket)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port), release, nil
}

// Port is the port of a host:port.
func Port(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }

// DialTo returns a dial function that connects to addr for every name with the port
// of addr, as DNS would for a real site. Other ports are reached as usual.
func DialTo(addr string) DialFunc {
	return func(ctx context.Context, network, asked string) (net.Conn, error) {
		if Port(asked) == Port(addr) {
			asked = addr
		}
		return (&net.Dialer{}).DialContext(ctx, network, asked)
	}
}

// DialFunc is how an http.Transport connects.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)
