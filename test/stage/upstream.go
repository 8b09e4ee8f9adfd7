package stage

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Upstream is the site behind the gate. It trusts its requests, as sites do, and keeps
// every request that reaches it.
type Upstream struct {
	// Addr is its host:port.
	Addr string
	// Page answers requests. Default: "upstream saw" with method and target.
	Page http.HandlerFunc

	mu  sync.Mutex
	got []*Received
}

// Received is a request that reached the site, whose body and trailer were read.
type Received struct {
	*http.Request
	Body    string
	Trailer http.Header
}

// String returns the method and the target of the request.
func (r *Received) String() string { return r.Method + " " + r.RequestURI }

func newUpstream(t testing.TB) *Upstream {
	u := &Upstream{Page: func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "upstream saw %s %s", r.Method, r.RequestURI)
	}}
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	u.Addr = strings.TrimPrefix(server.URL, "http://")
	return u
}

// ServeHTTP implements http.Handler. The site speaks every protocol that it is
// asked to upgrade to.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	u.mu.Lock()
	u.got = append(u.got, &Received{r.Clone(context.WithoutCancel(r.Context())), string(body), r.Trailer.Clone()})
	u.mu.Unlock()
	protocol := strings.Join(r.Header["Upgrade"], ", ")
	if protocol == "" {
		u.Page(w, r)
		return
	}
	conn, stream, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = stream.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n\r\nupgraded")
	_ = stream.Flush()
}

// Take returns the requests that have arrived since the last call.
func (u *Upstream) Take() []*Received {
	u.mu.Lock()
	defer u.mu.Unlock()
	got := u.got
	u.got = nil
	return got
}
