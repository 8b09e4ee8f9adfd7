package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// dialer makes the connections of one client, and closes them when the client ends.
// rueidis itself loses track of connections that are made while it closes, or at the
// same time as one that fails.
type dialer struct {
	cache *Cache
	ctx   context.Context // ends with the client

	mu     sync.Mutex
	coming map[string]*coming
}

// coming is a connection that is being made, or that nobody has taken yet.
type coming struct {
	done chan struct{} // closed when conn or err is there
	conn net.Conn
	err  error
}

// dial returns a connection to one server. If the handshake takes longer than this
// call waits, the connection is left to the next call.
func (d *dialer) dial(ctx context.Context, address string, _ *net.Dialer, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	asked := time.Now()
	for {
		made := d.begin(address, config)
		select {
		case <-made.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if made.err != nil {
			return nil, made.err
		}
		// The greeting of rueidis follows, and may take as long again. If there is too
		// little time for it, the connection is left to the next call.
		if end, _ := ctx.Deadline(); time.Until(end) < time.Since(asked) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if d.take(address, made) {
			return made.conn, nil
		}
	}
}

// begin returns the connection to address that is being made, and starts one if there
// is none.
func (d *dialer) begin(address string, config *tls.Config) *coming {
	d.mu.Lock()
	defer d.mu.Unlock()
	made, ok := d.coming[address]
	if !ok {
		made = &coming{done: make(chan struct{})}
		d.coming[address] = made
		go d.bring(made, address, config)
	}
	return made
}

// bring makes a connection, and closes it if nobody takes it for a while, since the
// server may by then have closed it too.
func (d *dialer) bring(made *coming, address string, config *tls.Config) {
	defer close(made.done)
	if made.conn, made.err = d.connect(address, config); made.err != nil {
		d.take(address, made)
		return
	}
	time.AfterFunc(connectTime, func() {
		if d.take(address, made) {
			_ = made.conn.Close()
		}
	})
}

// take takes a connection that was made. It returns false if somebody else has.
func (d *dialer) take(address string, made *coming) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.coming[address] != made {
		return false
	}
	delete(d.coming, address)
	return true
}

// connect returns a new, watched connection to one server.
func (d *dialer) connect(address string, config *tls.Config) (net.Conn, error) {
	if d.ctx.Err() != nil {
		return nil, rueidis.ErrClosing
	}
	ctx, cancel := context.WithTimeout(d.ctx, connectTime)
	defer cancel()
	tcp := net.Dialer{KeepAlive: askAfter}
	conn, err := tcp.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	watched := &watchedConn{
		Conn: conn, lost: d.cache.lost(address),
		forget: context.AfterFunc(d.ctx, func() { _ = conn.Close() }),
	}
	if config == nil {
		return watched, nil
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	secure := tls.Client(watched, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		watched.forget()
		_ = conn.Close()
		return nil, fmt.Errorf("TLS, which the server may not speak on this port: %w", err)
	}
	return secure, nil
}

func (c *Cache) lost(address string) func(time.Time) {
	return func(answered time.Time) {
		c.held.lost(answered)
		if c.client.Load() != nil && !c.closed.Load() {
			c.log.Warn("cache connection lost", zap.String("address", address), zap.Time("last_answer", answered))
		}
	}
}

// began is the start of this process. Times are measured from it by the monotonic
// clock, so that setting the machine's clock does not lengthen them.
var began = time.Now()

// watchedConn knows when the server last answered.
type watchedConn struct {
	net.Conn
	answered atomic.Int64 // since began; 0 for never
	closed   sync.Once
	lost     func(answered time.Time)
	forget   func() bool // stops waiting for the end of the client
}

// Read implements net.Conn.
func (w *watchedConn) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.answered.Store(int64(time.Since(began)))
	}
	return n, err
}

// Close implements net.Conn. A connection without any answer does not count as lost.
func (w *watchedConn) Close() error {
	w.closed.Do(func() {
		w.forget()
		if at := w.answered.Load(); at != 0 {
			w.lost(began.Add(time.Duration(at)))
		}
	})
	return w.Conn.Close()
}
