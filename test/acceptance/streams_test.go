package acceptance_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// newStreams is a site that says something every 20 ms, as an event stream or, to
// an upgrade, as a socket, until the other side has gone.
func newStreams(t *testing.T) (addr string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/stream") {
			return
		}
		out := http.NewResponseController(w)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		if r.Header.Get("Upgrade") == "" {
			w.Header().Set("Content-Type", "text/event-stream")
			for range tick.C {
				if _, err := fmt.Fprint(w, "data: tick\n"); err != nil || out.Flush() != nil || r.Context().Err() != nil {
					return
				}
			}
		}
		conn, _, err := out.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		for range tick.C {
			if _, err := fmt.Fprint(conn, "tick\n"); err != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// stream is what a visitor has open.
type stream struct {
	t     *testing.T
	kind  string // the header that asks for it
	conn  net.Conn
	lines *bufio.Reader
	began time.Time
}

// openStream opens an event stream, or a socket, of a visitor.
func openStream(t *testing.T, w *stage.Stage, visitor *stage.Visitor, upgrade string) *stream {
	t.Helper()
	conn, err := net.Dial("tcp", w.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	fmt.Fprintf(conn, "GET /account/stream HTTP/1.1\r\nHost: %s\r\nCookie: %s=%s\r\n%s\r\n", w.Addr, stage.SessionCookie, visitor.Cookies("/")[stage.SessionCookie], upgrade)
	s := &stream{t, upgrade, conn, bufio.NewReader(conn), time.Now()}
	s.goesOnUntil(0)
	return s
}

// goesOnUntil reads a tick that comes so long after the stream was opened.
func (s *stream) goesOnUntil(age time.Duration) {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(s.began.Add(age + 10*time.Second))
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%q ended after %v: %v", s.kind, time.Since(s.began), err)
		}
		if strings.Contains(line, "tick") && time.Since(s.began) >= age {
			return
		}
	}
}

// ends reads until the end and returns how old the stream became.
func (s *stream) ends() time.Duration {
	s.t.Helper()
	_ = s.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		if _, err := s.lines.ReadString('\n'); err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
				s.t.Errorf("%q does not end", s.kind)
			}
			return time.Since(s.began)
		}
	}
}

// What was opened with a session goes on after it: the gate sees the request that
// opens a stream, and nothing of it later. Only Caddy's own bounds end it, and
// each ends one kind.
func TestStreamsGoOnAfterSignOutAndSessionTTLUntilCaddyEndsThem(t *testing.T) {
	const ttl, bound = time.Second, 2 * time.Second
	for name, c := range map[string]struct {
		global, proxy             string
		eventsBound, socketsBound bool
	}{
		"no bound":       {"", "", false, false},
		"stream_timeout": {"", "stream_timeout 2s", false, true},
		"timeouts write": {"servers {\ntimeouts {\nwrite 2s\n}\n}\n", "", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			w.LoadWith(c.global, strings.NewReplacer("result_wait 3s", "session_ttl 1s", "UPSTREAM", newStreams(t)+" {\n"+c.proxy+"\n}").Replace(account))
			visitor := w.Visitor()
			visitor.Verify("/account/", "06 39 98 00 01")
			streams := map[*stream]bool{
				openStream(t, w, visitor, ""): c.eventsBound,
				openStream(t, w, visitor, "Connection: Upgrade\r\nUpgrade: websocket\r\n"): c.socketsBound,
			}
			visitor.SignOut()
			visitor.Refused("/account/")
			for s := range streams {
				s.goesOnUntil(ttl + ttl/4)
			}
			for s, isBound := range streams {
				if !isBound {
					s.goesOnUntil(bound + ttl)
				} else if age := s.ends(); age < bound-ttl/4 {
					t.Errorf("%q ends after %v", s.kind, age)
				}
			}
		})
	}
}
