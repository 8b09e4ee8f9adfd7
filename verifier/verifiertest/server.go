package verifiertest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// maxEcho bounds what of a request is repeated, in bytes.
const maxEcho = 64 << 10

// Server is a provider that speaks HTTP. It counts all requests, those of the
// visitor's browser too, and can be made to fail.
type Server struct {
	// URL is where it listens, http://127.0.0.1:….
	URL string

	provider http.Handler
	calls    atomic.Int64
	closed   chan struct{}

	mu    sync.Mutex
	fault Fault
}

// NewServer starts a server that answers as provider does, until it is made to
// fail. It is closed when the test ends.
func NewServer(t testing.TB, provider http.Handler) *Server {
	s := &Server{provider: provider, closed: make(chan struct{})}
	listening := httptest.NewServer(s)
	s.URL = listening.URL
	t.Cleanup(func() {
		close(s.closed)
		listening.Close()
	})
	return s
}

// Calls implements Far.
func (s *Server) Calls() int { return int(s.calls.Load()) }

// Break implements Far.
func (s *Server) Break(fault Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.calls.Add(1)
	s.mu.Lock()
	fault := s.fault
	s.mu.Unlock()
	if fault == Works {
		s.provider.ServeHTTP(w, r)
		return
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxEcho))
	sent := fmt.Sprintf("%s %s %s %v", Marker, r.RequestURI, body, r.Header)
	switch fault {
	case Fails:
		http.Error(w, sent, http.StatusInternalServerError)
	case Echoes:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"echo": sent}) // fails only where the caller has gone
	case Garbles:
		garble(w, sent)
	default:
		select {
		case <-r.Context().Done():
		case <-s.closed:
		}
		panic(http.ErrAbortHandler)
	}
}

// garble answers with a status line that is none.
func garble(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 %s\r\n\r\n", text)
}
