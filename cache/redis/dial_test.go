package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

// line is a slow line to a server: its answers take delay to arrive.
type line struct {
	addr     string
	delay    atomic.Int64
	accepted atomic.Int64

	mu   sync.Mutex
	open map[net.Conn]bool
}

func newLine(t *testing.T, server *redistest.Server, delay time.Duration) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l := &line{addr: listener.Addr().String(), open: make(map[net.Conn]bool)}
	l.delay.Store(int64(delay))
	t.Cleanup(func() { _ = listener.Close(); l.cut() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go l.carry(near, server.Addr)
		}
	}()
	return l
}

func (l *line) carry(near net.Conn, server string) {
	defer near.Close()
	far, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer far.Close()
	l.accepted.Add(1)
	l.mu.Lock()
	l.open[near] = true
	l.mu.Unlock()
	go l.answers(near, far)
	_, _ = io.Copy(far, near)
	l.mu.Lock()
	delete(l.open, near)
	l.mu.Unlock()
}

func (l *line) answers(near, far net.Conn) {
	defer near.Close()
	for buf := make([]byte, 64<<10); ; {
		n, err := far.Read(buf)
		if err != nil {
			return
		}
		<-time.After(time.Duration(l.delay.Load()))
		if _, err := near.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.open {
		_ = conn.Close()
	}
}

func (l *line) connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

var attemptKey = key(cache.KindAttempt, "attempt")

// answers waits until the server answers calls again.
func answers(t *testing.T, c *Cache) {
	t.Helper()
	wait.Until(t, "the server answers", func() bool {
		_, err := c.Get(t.Context(), attemptKey)
		return errors.Is(err, cache.ErrNotFound)
	})
}

// Handshake and greeting take longer than any one request waits.
func TestLostConnectionByTLSToAServerFarAwayIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	writeCertificates(t, dir)
	server := redistest.New(t)
	server.Args("--port", "0", "--tls-port", server.Port, "--tls-cert-file", file("server.pem"), "--tls-key-file", file("server.key"),
		"--tls-ca-cert-file", file("ca.pem"), "--tls-auth-clients", "no")
	server.Start(t)
	line := newLine(t, server, 140*time.Millisecond)
	authority, err := os.ReadFile(file("ca.pem"))
	must(t, err)
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	c := node(t, Options{Addresses: []string{line.addr}, Timeout: timeout, TLS: &tls.Config{RootCAs: trusted}})
	answers(t, c)
	line.cut()
	wait.Until(t, "the node has lost it", func() bool { return c.held.losses.Load() > 0 })
	answers(t, c)
}

// The addresses are those of servers that are no Cluster. Connecting fails when the
// first has answered, while the other is still being connected to.
func TestConnectionsThatFailTogetherAreAllClosed(t *testing.T) {
	first, second := redistest.New(t), redistest.New(t)
	slow := newLine(t, second, 20*time.Millisecond)
	c := node(t, Options{Addresses: []string{first.Addr, slow.addr}, Timeout: timeout})
	first.Start(t)
	second.Start(t)
	tried := slow.accepted.Load()
	wait.Until(t, "it was tried ten times", func() bool { return slow.accepted.Load() >= tried+10 })
	wait.Until(t, "of those no connection is left", func() bool { return slow.connections() <= 1 })
	must(t, c.Close())
	wait.Until(t, "no connection is left", func() bool { return slow.connections() == 0 })
}

func TestCloseWhileConnectingAgainLeavesNoConnection(t *testing.T) {
	line := newLine(t, redistest.Start(t), 0)
	c := node(t, Options{Addresses: []string{line.addr}, Timeout: timeout})
	answers(t, c)
	line.delay.Store(int64(150 * time.Millisecond))
	line.cut()
	wait.Until(t, "the node has lost it", func() bool { return c.held.losses.Load() > 0 && line.connections() == 0 })
	go func() { _, _ = c.Get(context.Background(), attemptKey) }()
	wait.Until(t, "the node connects again", func() bool { return line.connections() == 1 })
	must(t, c.Close())
	wait.Until(t, "no connection is left", func() bool { return line.connections() == 0 })
}
