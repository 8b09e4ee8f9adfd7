package adversary

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// upstream is the site behind the gate. It believes what it is told, as sites
// do, and notes it.
type upstream struct {
	addr string
	mu   sync.Mutex
	got  []arrival
}

// arrival is a request that reached the site.
type arrival struct {
	method, uri, host string
	header, trailer   http.Header
	body              string
	// isTunnel says that the site was asked to speak another protocol from then
	// on, which no gate sees into.
	isTunnel bool
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{}
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	u.addr = strings.TrimPrefix(server.URL, "http://")
	return u
}

// ServeHTTP implements http.Handler.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	protocol := strings.ToLower(strings.Join(r.Header["Upgrade"], ", "))
	a := arrival{
		method: r.Method, uri: r.RequestURI, host: r.Host, header: r.Header.Clone(), trailer: r.Trailer.Clone(), body: string(body),
		isTunnel: protocol != "" && protocol != "websocket",
	}
	u.mu.Lock()
	u.got = append(u.got, a)
	u.mu.Unlock()
	if protocol == "" {
		_, _ = io.WriteString(w, arrived)
		return
	}
	conn, stream, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = stream.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n\r\n" + arrived)
	_ = stream.Flush()
}

// arrived is what the site answers to everybody.
const arrived = "you have arrived"

// take returns what has arrived, and forgets it.
func (u *upstream) take() []arrival {
	u.mu.Lock()
	defer u.mu.Unlock()
	got := u.got
	u.got = nil
	return got
}

// vouched are the names of all headers, trailers too, that the site might take
// for the gate's word, with their values.
func (a arrival) vouched() map[string][]string {
	all := make(map[string][]string)
	for _, fields := range []http.Header{a.header, a.trailer} {
		for name, values := range fields {
			if strings.HasPrefix(folded(name), "x-verified-") {
				all[folded(name)] = append(all[folded(name)], values...)
			}
		}
	}
	return all
}

// folded is a header's name as those servers read it that fold most: they make
// one separator of all that is no letter or digit.
func folded(name string) string {
	return separator.ReplaceAllString(strings.ToLower(name), "-")
}

var separator = regexp.MustCompile(`[^a-z0-9]`)

// unverified checks what arrived of somebody who is not verified.
func (s *site) unverified(t *testing.T) {
	t.Helper()
	for _, a := range s.upstream.take() {
		for _, breach := range a.breaches(t) {
			t.Error(breach)
		}
	}
}

// breaches are what must not have arrived of somebody who is not verified:
// anything that is behind the gate, or that claims to be vouched for.
func (a arrival) breaches(t *testing.T) []string {
	t.Helper()
	all := a.illegal()
	if servesProtected(t, a.uri) {
		all = append(all, a.String()+" reached the site unverified")
	}
	if vouched := a.vouched(); len(vouched) > 0 {
		all = append(all, fmt.Sprintf("%v reached the site with forged %v", a, vouched))
	}
	return all
}

// verified checks what arrived of the visitor, with the gate's word and nobody
// else's, and returns how many requests did.
func (s *site) verified(t *testing.T) int {
	t.Helper()
	got := s.upstream.take()
	for _, a := range got {
		for _, breach := range a.illegal() {
			t.Error(breach)
		}
		vouched := a.vouched()
		for name, values := range vouched {
			if len(values) != 1 || strings.Contains(values[0], forged) {
				t.Errorf("%s: %q", name, values)
			}
		}
		if len(vouched) != 3 || vouched["x-verified-number"] == nil || vouched["x-verified-number"][0] != visitorsNumber {
			t.Errorf("the gate's word arrived as %v", vouched)
		}
	}
	return len(got)
}

// illegal is what must never arrive, whoever sent it.
func (a arrival) illegal() []string {
	var all []string
	if a.isTunnel || a.header.Get("HTTP2-Settings") != "" {
		all = append(all, fmt.Sprintf("%v asks the site for another protocol: %q", a, a.header.Get("Upgrade")))
	}
	if strings.Contains(strings.Join(a.header["Cookie"], ";"), "number-verify") {
		all = append(all, a.String()+" brings a cookie of the gate")
	}
	if len(a.trailer) > 0 {
		all = append(all, fmt.Sprintf("%v has trailers %v", a, a.trailer))
	}
	return all
}

// String names the request.
func (a arrival) String() string { return a.method + " " + a.uri }
