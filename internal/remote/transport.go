package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// NewTransport returns a transport for calls to a server that is not trusted: it makes a
// new connection for each call, and reads from it only after it has written. If a server
// sends text before it was asked, net/http would write that text into the log, from kept
// connections and from new ones. It uses no proxy from the environment: what is sent is
// secret. Timeout is that of a connection, maxHeader bounds the header of an answer, in
// bytes. May, if it is not nil, says which addresses it may connect to.
func NewTransport(timeout time.Duration, maxHeader int64, may func(netip.Addr) bool) *http.Transport {
	plain := &net.Dialer{Timeout: timeout}
	if may != nil {
		plain.Control = func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || !may(to.Addr().Unmap()) {
				return errMayNot
			}
			return nil
		}
	}
	secure := &tls.Dialer{NetDialer: plain, Config: &tls.Config{NextProtos: []string{"http/1.1"}}}
	return &http.Transport{
		DialContext:            patiently(plain.DialContext),
		DialTLSContext:         patiently(secure.DialContext),
		DisableKeepAlives:      true,
		MaxConnsPerHost:        128,
		MaxResponseHeaderBytes: maxHeader,
	}
}

var errMayNot = errors.New("this address is not called")

// IsPublic tells whether an address is one of the internet, and not of this machine or
// its network.
func IsPublic(a netip.Addr) bool { return a.IsGlobalUnicast() && !a.IsPrivate() }

type dial func(ctx context.Context, network, address string) (net.Conn, error)

func patiently(connect dial) dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := connect(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &patientConn{Conn: conn, asked: make(chan struct{})}, nil
	}
}

// patientConn reads nothing before it has written.
type patientConn struct {
	net.Conn
	once  sync.Once
	asked chan struct{} // closed by the first write, or by Close
}

func (c *patientConn) ask() { c.once.Do(func() { close(c.asked) }) }

// Read implements net.Conn.
func (c *patientConn) Read(b []byte) (int, error) {
	<-c.asked
	return c.Conn.Read(b)
}

// Write implements net.Conn.
func (c *patientConn) Write(b []byte) (int, error) {
	c.ask()
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *patientConn) Close() error {
	c.ask()
	return c.Conn.Close()
}
