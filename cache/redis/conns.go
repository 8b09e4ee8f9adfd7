package redis

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// conns are the connections of a cache. The client forgets some without closing
// them: where one of several addresses fails, and where it is closed while it
// connects again.
type conns struct {
	mu       sync.Mutex
	open     map[*watchedConn]bool
	isClosed bool
}

func newConns() *conns {
	return &conns{open: make(map[*watchedConn]bool)}
}

// watch keeps a connection until it is closed.
func (c *conns) watch(conn net.Conn, lost func(time.Time)) (*watchedConn, error) {
	w := &watchedConn{Conn: conn, lost: lost}
	w.forget = func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.open, w)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		_ = conn.Close()
		return nil, cache.ErrClosed
	}
	c.open[w] = true
	return w, nil
}

// closeAll closes what is still open.
func (c *conns) closeAll() {
	c.mu.Lock()
	var open []*watchedConn
	for w := range c.open {
		open = append(open, w)
	}
	c.mu.Unlock()
	for _, w := range open {
		_ = w.Close()
	}
}

// close is closeAll for good.
func (c *conns) close() {
	c.mu.Lock()
	c.isClosed = true
	c.mu.Unlock()
	c.closeAll()
}

// began is what times are measured from, so that a clock that is set does not
// lengthen them.
var began = time.Now()

// watchedConn knows when the server last answered.
type watchedConn struct {
	net.Conn
	answered atomic.Int64 // since began; 0: never
	closed   sync.Once
	lost     func(answered time.Time)
	forget   func()
}

// Read implements net.Conn.
func (w *watchedConn) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.answered.Store(int64(time.Since(began)))
	}
	return n, err
}

// Close implements net.Conn. A connection that never answered is no loss.
func (w *watchedConn) Close() error {
	w.closed.Do(func() {
		w.forget()
		if at := w.answered.Load(); at != 0 {
			w.lost(began.Add(time.Duration(at)))
		}
	})
	return w.Conn.Close()
}
