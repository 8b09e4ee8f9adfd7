package remote

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// NewTransport returns a transport for calls to a server that is not trusted: it makes a new connection for each call, and
// reads from it only after it has written. If a server sends text before it was
// asked, net/http would write that text into the log, from kept connections and
// from new ones. It uses no proxy from the environment: what is sent is secret. Timeout is that of a
// connection, maxHeader bounds the header of an answer, in bytes.
func NewTransport(timeout time.Duration, maxHeader int64) *http.Transport {
	plain := &net.Dialer{Timeout: timeout}
	secure := &tls.Dialer{NetDialer: plain, Config: &tls.Config{NextProtos: []string{"http/1.1"}}}
	return &http.Transport{
		DialContext:            patiently(plain.DialContext),
		DialTLSContext:         patiently(secure.DialContext),
		DisableKeepAlives:      true,
		MaxConnsPerHost:        128,
		MaxResponseHeaderBytes: maxHeader,
	}
}

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
