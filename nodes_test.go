package numberverify_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/redistest"
)

// TestMain is also a Caddy of its own, with the command line that it is given.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_IS_CADDY") != "" {
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}

// shared is the site of all nodes of a fleet.
const shared = `
http://:NODE {
	bind 127.0.0.1
	@account path /account /account/*
	number_verify @account {
		public_url http://SITE
		result_wait 20s
		VERIFIER
		CACHE
	}
	reverse_proxy UPSTREAM
}
`

// fleet is a world whose site is served by several Caddys, each a process of its
// own, behind a load balancer.
type fleet struct {
	*world
	nodes []*caddyNode
	// next chooses the node of the next request.
	next atomic.Int64
}

// caddyNode is a Caddy in a process of its own.
type caddyNode struct {
	fleet *fleet
	addr  string
	admin string
	file  string // its Caddyfile
	cmd   *exec.Cmd
}

// newFleet starts n nodes with a site and the line or block of its cache.
func newFleet(t *testing.T, options simulator.Options, n int, site, cache string) *fleet {
	t.Helper()
	f := &fleet{world: newWorld(t, options)}
	balancer := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			node := f.nodes[int(f.next.Load())%len(f.nodes)]
			r.SetURL(&url.URL{Scheme: "http", Host: node.addr})
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		ErrorLog:     nil,
	})
	t.Cleanup(balancer.Close)
	f.addr = strings.TrimPrefix(balancer.URL, "http://")
	for range n {
		f.addNode(site, cache)
	}
	return f
}

// addNode starts a node.
func (f *fleet) addNode(site, cache string) *caddyNode {
	f.t.Helper()
	dir := f.t.TempDir()
	node := &caddyNode{fleet: f, addr: freeAddr(f.t), admin: freeAddr(f.t), file: filepath.Join(dir, "Caddyfile")}
	f.moreLogs = append(f.moreLogs, filepath.Join(dir, "caddy.log"))
	port := node.addr[strings.LastIndex(node.addr, ":")+1:]
	text := strings.NewReplacer("CACHE", cache, "NODE", port, f.logFile, filepath.Join(dir, "caddy.log"), "admin off", "admin "+node.admin).
		Replace(f.global("") + site)
	if !strings.Contains(site, "number_verify") {
		text = strings.Replace(text, "level DEBUG", "level INFO", 1) // reverse_proxy logs operators' addresses at DEBUG
	}
	if err := os.WriteFile(node.file, []byte(f.expand(text)), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.nodes = append(f.nodes, node)
	f.t.Cleanup(node.kill)
	node.start()
	return node
}

// command is Caddy's own command line.
func (n *caddyNode) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "TEST_IS_CADDY=1")
	return cmd
}

// start starts the node and waits until it serves.
func (n *caddyNode) start() {
	n.fleet.t.Helper()
	n.cmd = n.command("run", "--config", n.file, "--adapter", "caddyfile")
	var out bytes.Buffer
	n.cmd.Stdout, n.cmd.Stderr = &out, &out
	if err := n.cmd.Start(); err != nil {
		n.fleet.t.Fatal(err)
	}
	redistest.Eventually(n.fleet.t, "the node serves", func() bool {
		answer, err := http.Get("http://" + n.addr + "/")
		if err == nil {
			answer.Body.Close()
		}
		return err == nil
	})
}

// kill ends the node at once.
func (n *caddyNode) kill() {
	if n.cmd != nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
		n.cmd = nil
	}
}

// reload has the node load its configuration anew.
func (n *caddyNode) reload() {
	n.fleet.t.Helper()
	if out, err := n.command("reload", "--force", "--address", n.admin, "--config", n.file, "--adapter", "caddyfile").CombinedOutput(); err != nil {
		n.fleet.t.Errorf("reload: %v: %s", err, out)
	}
}

// on has the balancer send everything to that node from now on.
func (f *fleet) on(node int) { f.next.Store(int64(node)) }

// log is what all nodes have logged.
func (f *fleet) log() string {
	var all strings.Builder
	for _, file := range f.moreLogs {
		text, err := os.ReadFile(file)
		if err != nil {
			f.t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// passes checks that the visitor's request reaches the upstream.
func (b *browser) passes(path string) {
	b.t.Helper()
	b.world.upstream.take()
	a := b.open(path)
	if got := b.world.upstream.take(); a.StatusCode != http.StatusOK || len(got) != 1 || got[0].Header.Get("X-Verified-Number") == "" {
		b.t.Fatalf("%s: status %d, %d requests upstream", path, a.StatusCode, len(got))
	}
}

// refused checks that it does not, and returns the answer.
func (b *browser) refused(path string) *answer {
	b.t.Helper()
	b.world.upstream.take()
	a := b.open(path)
	if n := len(b.world.upstream.take()); n != 0 {
		b.t.Fatalf("%s: the gate is open: status %d, %d requests upstream", path, a.StatusCode, n)
	}
	return a
}

func TestAttemptStartedOnOneNodeIsFinishedOnTheOther(t *testing.T) {
	f := newFleet(t, simulator.Options{}, 2, shared, "cache redis "+redistest.Start(t).Addr)
	visitor := f.browser()
	f.on(0)
	atOperator := visitor.start("/account/", "06 39 98 00 01")
	f.nodes[0].kill()
	f.on(1)
	if a := visitor.arrive(atOperator); a.Request.URL.Path != "/account/" || a.StatusCode != http.StatusOK {
		t.Fatalf("the visitor is at %s: %d %s", a.Request.URL.Path, a.StatusCode, a.code())
	}
	visitor.passes("/account/")
	f.nodes[0].start()
	f.on(0)
	visitor.passes("/account/")

	// signing out on one ends it on the other, which holds it
	kept := visitor.client.Jar.Cookies(visitor.request("GET", "/", nil).URL)
	f.on(1)
	visitor.passes("/account/")
	f.on(0)
	if a := visitor.post("/.number-verify/sign-out", nil); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-out: %d", a.StatusCode)
	}
	began := time.Now()
	visitor.client.Jar.SetCookies(visitor.request("GET", "/", nil).URL, kept)
	f.on(1)
	redistest.Eventually(t, "the other node knows", func() bool { return visitor.open("/account/").StatusCode == http.StatusSeeOther })
	if took := time.Since(began); took > time.Second {
		t.Errorf("the sign-out took %v to reach the other node", took)
	}
	visitor.refused("/account/")
}

func TestNodeKilledWhileTheResultIsPendingLosesNoVerification(t *testing.T) {
	f := newFleet(t, simulator.Options{}, 2, shared, "cache redis "+redistest.Start(t).Addr)
	visitor := f.browser()
	f.on(0)
	waiting := visitor.follow(visitor.start("/account/", "06 39 98 00 04"))
	if !strings.Contains(waiting.Request.URL.Path, "/wait/") {
		t.Fatalf("the visitor is at %s", waiting.Request.URL.Path)
	}
	f.nodes[0].kill()
	f.on(1)
	if a := visitor.arrive(waiting); a.Request.URL.Path != "/account/" || a.StatusCode != http.StatusOK {
		t.Fatalf("the visitor is at %s: %d %s", a.Request.URL.Path, a.StatusCode, a.code())
	}
}

// The press of the button is claimed by a node that dies while it asks the
// provider: the visitor's next press must not wait for it.
func TestNodeKilledDuringAStartDoesNotHoldUpTheNextPress(t *testing.T) {
	asked, release := make(chan struct{}, 10), make(chan struct{})
	f := newFleet(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, _ *http.Request) bool {
		if call == "start" {
			asked <- struct{}{}
			<-release
		}
		return false
	}}, 2, shared, "cache redis "+redistest.Start(t).Addr)
	visitor := f.browser()
	form := visitor.follow(visitor.open("/account/"))
	f.on(0)
	first := make(chan *answer)
	go func() { first <- visitor.submit(form, "06 39 98 00 01") }()
	<-asked
	f.nodes[0].kill()
	<-first // the balancer's refusal
	f.on(1)
	began := time.Now()
	close(release)
	if a := visitor.arrive(visitor.submit(form, "06 39 98 00 01")); a.StatusCode != http.StatusOK || a.Request.URL.Path != "/account/" {
		t.Errorf("the visitor is at %s: %d %q", a.Request.URL.Path, a.StatusCode, a.code())
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestCallbackReplayedOnTheOtherNodeOpensNothingForAnotherBrowser(t *testing.T) {
	f := newFleet(t, simulator.Options{}, 2, shared, "cache redis "+redistest.Start(t).Addr)
	visitor, thief := f.browser(), f.browser()
	thief.follow(thief.open("/account/"))
	f.on(0)
	callback := visitor.open(visitor.start("/account/", "06 39 98 00 01").location()).location()
	f.on(1)
	if a := thief.arrive(thief.open(callback)); a.code() != "browser_mismatch" {
		t.Errorf("the thief sees %q", a.code())
	}
	f.on(0)
	if a := visitor.arrive(visitor.open(callback)); a.code() != "browser_mismatch" {
		t.Errorf("the attempt is not burned on the first node: %q", a.code())
	}
	thief.refused("/account/")
	visitor.refused("/account/")
}

// Visitors verify, come back and sign out on nodes chosen at random while these
// are reloaded and killed. A request that a dying node swallowed is repeated, as
// a visitor does. What was told must hold: no session may be lost, and no gate
// stand open.
func TestNodesReloadedAndKilledAtRandomLoseNoSessionAndOpenNoGate(t *testing.T) {
	const times = 6 // at least
	// one number may not be verified as often
	site := strings.Replace(shared, "VERIFIER", "VERIFIER\nlimits {\nnumber 10000 1h 10000\nclient 10000 1h\n}", 1)
	f := newFleet(t, simulator.Options{}, 2, site, "cache redis "+redistest.Start(t).Addr)
	stop, stopped := make(chan struct{}), make(chan struct{})
	var kills, reloads atomic.Int64
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			node := f.nodes[i%len(f.nodes)]
			if rand.IntN(2) == 0 {
				node.reload()
				reloads.Add(1)
			} else {
				node.kill()
				node.start()
				kills.Add(1)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	visitors, lost, open := 0, 0, 0
	for ; visitors < times || kills.Load() < times || reloads.Load() < times; visitors++ {
		visitor := f.browser()
		anyNode := &anyNode{RoundTripper: visitor.client.Transport, fleet: f}
		visitor.client.Transport = anyNode
		a := visitor.verify("/account/", "06 39 98 00 01")
		for tries := 0; a.Request.URL.Path != "/account/" && tries < 3; tries++ { // told nothing yet: once more
			a = visitor.verify("/account/", "06 39 98 00 01")
		}
		if a.StatusCode != http.StatusOK || a.Request.URL.Path != "/account/" {
			t.Errorf("not verified: %d %q at %s", a.StatusCode, a.code(), a.Request.URL.Path)
		}
		for range 5 {
			if a := visitor.open("/account/"); a.StatusCode != http.StatusOK {
				lost++
			}
		}
		kept := visitor.client.Jar.Cookies(visitor.request("GET", "/", nil).URL)
		if a := visitor.post("/.number-verify/sign-out", nil); a.location() != "/" {
			t.Errorf("not signed out: %d %q", a.StatusCode, a.code())
		}
		visitor.client.Jar.SetCookies(visitor.request("GET", "/", nil).URL, kept)
		informed := make(map[int]bool)
		redistest.Eventually(t, "the sign-out is known to both nodes", func() bool {
			if visitor.open("/account/").StatusCode == http.StatusSeeOther {
				informed[anyNode.node] = true
			}
			return len(informed) == len(f.nodes)
		})
		for range 5 {
			if a := visitor.open("/account/"); a.StatusCode == http.StatusOK {
				open++
			}
		}
	}
	close(stop)
	<-stopped
	if lost > 0 || open > 0 {
		t.Errorf("%d sessions lost, %d gates open", lost, open)
	}
	t.Logf("%d visitors, %d kills, %d reloads: %d sessions lost, %d gates open", visitors, kills.Load(), reloads.Load(), lost, open)
}

// anyNode sends each request to a node at random, and again where the node was
// killed over it. Node is the one that has answered last.
type anyNode struct {
	http.RoundTripper
	fleet *fleet
	node  int
}

// RoundTrip implements http.RoundTripper.
func (a *anyNode) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	for {
		a.node = rand.IntN(len(a.fleet.nodes))
		a.fleet.on(a.node)
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		answer, err := a.RoundTripper.RoundTrip(again)
		if err != nil || answer.StatusCode != http.StatusBadGateway {
			return answer, err
		}
		answer.Body.Close()
	}
}

func TestNodesWithDifferentSecretsSaySo(t *testing.T) {
	t.Setenv("ONE_SECRET", "one-secret-of-the-cache")
	t.Setenv("OTHER_SECRET", "other-secret-of-the-cache")
	redis := "cache redis " + redistest.Start(t).Addr
	f := newFleet(t, simulator.Options{}, 1, shared, redis+" {\nsecret {env.ONE_SECRET}\n}")
	f.addNode(shared, redis+" {\nsecret {env.OTHER_SECRET}\n}")
	f.secrets.add("one-secret-of-the-cache", "other-secret-of-the-cache")
	const said = "cache is used with another secret as well"
	redistest.Eventually(t, "the second node says so", func() bool { return strings.Count(f.log(), said) == 1 })
	f.on(0)
	f.browser().start("/account/", "06 39 98 00 01")
	redistest.Eventually(t, "both say so", func() bool { return strings.Count(f.log(), said) == 2 })
}

func TestSessionOutlivesAnOutageOfRedisThatIsShortAndNobodyGetsInThroughIt(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	server := redistest.New(t)
	site := strings.Replace(account, "VERIFIER", "VERIFIER\ncache redis "+server.Addr+" {\nstale_if_error 2s\n}", 1)
	w.load(site) // while the server is down
	visitor, stranger := w.browser(), w.browser()
	if a := stranger.follow(stranger.open("/account/")); a.StatusCode != http.StatusOK {
		t.Fatalf("the form: %d %q at %s", a.StatusCode, a.code(), a.Request.URL)
	}
	server.Start(t)
	redistest.Eventually(t, "the node is connected", func() bool {
		return stranger.open("/.number-verify/").StatusCode == http.StatusOK // looks for what its browser cookie stands for
	})
	visitor.arrivesAt("/account/")
	visitor.passes("/account/")

	form := stranger.follow(stranger.open("/account/"))
	server.Hang(t)
	began := time.Now()
	visitor.passes("/account/")
	stranger.refused("/account/")
	asked := time.Now()
	if a := stranger.submit(form, "06 39 98 00 05"); a.code() != "cache_unavailable" || a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a start while Redis hangs: %d %q", a.StatusCode, a.code())
	}
	if took := time.Since(asked); took > 2*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	redistest.Eventually(t, "the session rests", func() bool { return visitor.open("/account/").StatusCode == http.StatusServiceUnavailable })
	if lasted := time.Since(began); lasted > 4*time.Second {
		t.Errorf("the session went on for %v", lasted)
	}
	a := visitor.refused("/account/")
	if a.code() != "cache_unavailable" || a.Header.Get("Retry-After") == "" || a.Header.Get("Set-Cookie") != "" {
		t.Errorf("%d %q", a.StatusCode, a.code())
	}
	server.Resume(t)
	redistest.Eventually(t, "the session goes on", func() bool { return visitor.open("/account/").StatusCode == http.StatusOK })

	server.Kill()
	visitor.passes("/account/")
	server.Start(t) // empty
	redistest.Eventually(t, "the visitor is asked again", func() bool { return visitor.open("/account/").StatusCode == http.StatusSeeOther })
	visitor.arrivesAt("/account/")
}

// What a thief of the store finds must neither open a gate nor name anybody.
func TestDumpOfRedisTellsNothing(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	server := redistest.Start(t)
	t.Setenv("CACHE_SECRET", "the-secret-of-this-cache")
	w.load(strings.Replace(account, "VERIFIER", "VERIFIER\ncache redis "+server.Addr+" {\nsecret {env.CACHE_SECRET}\n}", 1))
	w.secrets.add("the-secret-of-this-cache")
	w.browser().arrivesAt("/account/")
	w.browser().start("/account/", "06 39 98 00 04")
	w.browser().verify("/account/", "06 39 98 00 02")
	dump := server.Dump(t)
	if keys, err := strconv.Atoi(server.Do(t, "DBSIZE")); err != nil || keys < 10 {
		t.Fatalf("the server holds %d keys, %v", keys, err)
	}
	w.secrets.mu.Lock()
	defer w.secrets.mu.Unlock()
	for value := range w.secrets.values {
		if strings.Contains(dump, value) {
			t.Errorf("the dump holds %q", value)
		}
	}
	for _, text := range []string{"/account/", "SFR", "verified", "www.", "number_mismatch"} {
		if strings.Contains(dump, text) {
			t.Errorf("the dump holds %q", text)
		}
	}
}
