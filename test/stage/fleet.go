package stage

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

// Fleet is a stage whose site is served by several Caddys, each a process of its
// own, behind a load balancer at Addr.
type Fleet struct {
	*Stage
	Nodes []*Node
	// next chooses the node of the next request.
	next atomic.Int64
}

// Node is one Caddy of a fleet.
type Node struct {
	*Process
	// Addr is its own host:port, past the balancer, AdminAddr that of its admin API.
	Addr, AdminAddr string
}

// NewFleet starts n nodes that serve site. In site, NODE stands for the port of the
// node, and CACHE for cache, a line or block of the Caddyfile.
func NewFleet(t testing.TB, options simulator.Options, n int, site, cache string) *Fleet {
	t.Helper()
	f := &Fleet{Stage: New(t, options)}
	balancer := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			node := f.Nodes[int(f.next.Load())%len(f.Nodes)]
			r.SetURL(&url.URL{Scheme: "http", Host: node.Addr})
			r.Out.Host = r.In.Host
			if r.Out.Body != nil { // or an answer that comes before all is sent may be cut short
				body, _ := io.ReadAll(r.In.Body)
				r.Out.Body = io.NopCloser(bytes.NewReader(body))
			}
		},
		// no connection outlives a node, or is left for another test to close
		Transport:    &http.Transport{DisableKeepAlives: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	})
	t.Cleanup(balancer.Close)
	f.Addr = strings.TrimPrefix(balancer.URL, "http://")
	for range n {
		f.AddNode(site, cache)
	}
	return f
}

// AddNode starts another node. A node without the gate logs at INFO, because
// reverse_proxy logs operators' addresses at DEBUG.
func (f *Fleet) AddNode(site, cache string) *Node {
	f.T.Helper()
	node := &Node{Addr: FreeAddr(f.T), AdminAddr: FreeAddr(f.T)}
	log := filepath.Join(f.T.TempDir(), "caddy.log")
	f.nodeLogs = append(f.nodeLogs, log)
	level := f.LogLevel
	if !strings.Contains(site, "number_verify") {
		f.LogLevel = "INFO"
	}
	text := f.caddyfile(node.AdminAddr, log, "", strings.NewReplacer("CACHE", cache, "NODE", Port(node.Addr)).Replace(site))
	f.LogLevel = level
	node.Process = newProcess(f.T, text, func() bool {
		answer, err := http.Get("http://" + node.Addr + "/")
		return err == nil && answer.Body.Close() == nil
	})
	f.Nodes = append(f.Nodes, node)
	node.Start()
	return node
}

// Reload has the node load its configuration anew.
func (n *Node) Reload() {
	n.t.Helper()
	if out, err := Command("reload", "--force", "--address", n.AdminAddr, "--config", n.file, "--adapter", "caddyfile").CombinedOutput(); err != nil {
		n.t.Errorf("reload: %v: %s", err, out)
	}
}

// Admin sends a request to the admin API of the node. A body is JSON.
func (n *Node) Admin(method, path, body string) *Answer {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, "http://"+n.AdminAddr+path, strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return &Answer{response, string(text)}
}

// On has the balancer send everything to one node from now on, counted from 0.
func (f *Fleet) On(node int) { f.next.Store(int64(node)) }

// OnNext has the balancer send everything to the next node from now on.
func (f *Fleet) OnNext() { f.next.Add(1) }
