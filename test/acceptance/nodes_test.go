package acceptance_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

// patientRedis starts a server for nodes that wait longer for it than by default, since
// other tests keep the machine busy.
func patientRedis(t *testing.T) (directive string) {
	t.Helper()
	return "cache redis " + redistest.Start(t).Addr + " {\ntimeout 2s\n}"
}

// TestMain is also a Caddy of its own, with the command line that it is given.
func TestMain(m *testing.M) {
	stage.Main()
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

func TestAttemptStartedOnOneNodeIsFinishedOnTheOther(t *testing.T) {
	f := stage.NewFleet(t, simulator.Options{}, 2, shared, patientRedis(t))
	visitor := f.Visitor()
	f.On(0)
	atOperator := visitor.Start("/account/", "06 39 98 00 01")
	f.Nodes[0].Kill()
	f.On(1)
	if a := visitor.Arrive(atOperator); a.Request.URL.Path != "/account/" || a.StatusCode != http.StatusOK {
		t.Fatalf("the visitor is at %s: %d %s", a.Request.URL.Path, a.StatusCode, a.Code())
	}
	visitor.Passes("/account/")
	f.Nodes[0].Start()
	f.On(0)
	visitor.Passes("/account/")

	// signing out on one ends it on the other, which holds it
	restore := visitor.Keep()
	f.On(1)
	visitor.Passes("/account/")
	f.On(0)
	if a := visitor.SignOut(); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-out: %d", a.StatusCode)
	}
	began := time.Now()
	restore()
	f.On(1)
	wait.Until(t, "the other node knows", func() bool { return visitor.Open("/account/").StatusCode == http.StatusSeeOther })
	if took := time.Since(began); took > time.Second {
		t.Errorf("the sign-out took %v to reach the other node", took)
	}
	visitor.Refused("/account/")
}

func TestNodeKilledWhileTheResultIsPendingLosesNoVerification(t *testing.T) {
	f := stage.NewFleet(t, simulator.Options{}, 2, shared, patientRedis(t))
	visitor := f.Visitor()
	f.On(0)
	waiting := visitor.Follow(visitor.Start("/account/", "06 39 98 00 04"))
	if !strings.Contains(waiting.Request.URL.Path, "/wait/") {
		t.Fatalf("the visitor is at %s", waiting.Request.URL.Path)
	}
	f.Nodes[0].Kill()
	f.On(1)
	if a := visitor.Arrive(waiting); a.Request.URL.Path != "/account/" || a.StatusCode != http.StatusOK {
		t.Fatalf("the visitor is at %s: %d %s", a.Request.URL.Path, a.StatusCode, a.Code())
	}
}

// The press of the button is claimed by a node that dies while it asks the
// provider: the visitor's next press must not wait for it.
func TestNodeKilledDuringAStartDoesNotHoldUpTheNextPress(t *testing.T) {
	asked, release := make(chan struct{}, 10), make(chan struct{})
	f := stage.NewFleet(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, _ *http.Request) bool {
		if call == "start" {
			asked <- struct{}{}
			<-release
		}
		return false
	}}, 2, shared, patientRedis(t))
	visitor := f.Visitor()
	form := visitor.Follow(visitor.Open("/account/"))
	f.On(0)
	first := make(chan *stage.Answer)
	go func() { first <- visitor.Submit(form, "06 39 98 00 01") }()
	<-asked
	f.Nodes[0].Kill()
	<-first // the balancer's refusal
	f.On(1)
	began := time.Now()
	close(release)
	if a := visitor.Arrive(visitor.Submit(form, "06 39 98 00 01")); a.StatusCode != http.StatusOK || a.Request.URL.Path != "/account/" {
		t.Errorf("the visitor is at %s: %d %q", a.Request.URL.Path, a.StatusCode, a.Code())
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
}

// Visitors verify, come back and sign out on nodes chosen at random while these
// are reloaded and killed. A request that a dying node swallowed is repeated, as
// a visitor does. What was told must hold: no session may be lost, and no gate
// stand open.
func TestNodesReloadedAndKilledAtRandomLoseNoSessionAndOpenNoGate(t *testing.T) {
	const times = 6 // at least
	// one number may not be verified as often
	site := strings.Replace(shared, "VERIFIER", "VERIFIER\nlimits {\nnumber 10000 1h 10000\nclient 10000 1h\n}", 1)
	f := stage.NewFleet(t, simulator.Options{}, 2, site, patientRedis(t))
	var isOver atomic.Bool
	var kills, reloads atomic.Int64
	var disturbing sync.WaitGroup
	disturbing.Go(func() {
		for i := 0; !isOver.Load(); i++ {
			node := f.Nodes[i%len(f.Nodes)]
			if rand.IntN(2) == 0 {
				node.Reload()
				reloads.Add(1)
				continue
			}
			node.Kill()
			node.Start()
			kills.Add(1)
		}
	})
	defer disturbing.Wait()
	defer isOver.Store(true)
	visitors, lost, open := 0, 0, 0
	for ; (visitors < times || kills.Load() < times || reloads.Load() < times) && !t.Failed(); visitors++ {
		visitor := f.Visitor()
		anyNode := &anyNode{RoundTripper: visitor.Client.Transport, fleet: f}
		visitor.Client.Transport = anyNode
		a := visitor.Verify("/account/", "06 39 98 00 01")
		for tries := 0; a.Request.URL.Path != "/account/" && tries < 3; tries++ { // told nothing yet: once more
			a = visitor.Verify("/account/", "06 39 98 00 01")
		}
		if a.StatusCode != http.StatusOK || a.Request.URL.Path != "/account/" {
			t.Errorf("not verified: %d %q at %s", a.StatusCode, a.Code(), a.Request.URL.Path)
		}
		for range 5 {
			if a := visitor.Open("/account/"); a.StatusCode != http.StatusOK {
				lost++
			}
		}
		restore := visitor.Keep()
		if a := visitor.SignOut(); a.Location() != "/" {
			t.Errorf("not signed out: %d %q", a.StatusCode, a.Code())
		}
		restore()
		informed := make(map[int]bool)
		wait.Until(t, "the sign-out is known to both nodes", func() bool {
			if visitor.Open("/account/").StatusCode == http.StatusSeeOther {
				informed[anyNode.node] = true
			}
			return len(informed) == len(f.Nodes)
		})
		for range 5 {
			if a := visitor.Open("/account/"); a.StatusCode == http.StatusOK {
				open++
			}
		}
	}
	if lost > 0 || open > 0 {
		t.Errorf("%d sessions lost, %d gates open", lost, open)
	}
	t.Logf("%d visitors, %d kills, %d reloads: %d sessions lost, %d gates open", visitors, kills.Load(), reloads.Load(), lost, open)
}

// anyNode sends each request to a node at random, and again where the node was
// killed over it. Node is the one that has answered last.
type anyNode struct {
	http.RoundTripper
	fleet *stage.Fleet
	node  int
}

// RoundTrip implements http.RoundTripper.
func (a *anyNode) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
	}
	for {
		a.node = rand.IntN(len(a.fleet.Nodes))
		a.fleet.On(a.node)
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(sent))
		answer, err := a.RoundTripper.RoundTrip(again)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode == http.StatusBadGateway {
			continue // in the middle of its answer, or before it
		}
		answer.Body = io.NopCloser(bytes.NewReader(body))
		return answer, nil
	}
}

func TestNodesWithDifferentSecretsSaySo(t *testing.T) {
	t.Setenv("ONE_SECRET", "one-secret-of-the-cache")
	t.Setenv("OTHER_SECRET", "other-secret-of-the-cache")
	redis := "cache redis " + redistest.Start(t).Addr
	f := stage.NewFleet(t, simulator.Options{}, 1, shared, redis+" {\nsecret {env.ONE_SECRET}\n}")
	f.AddNode(shared, redis+" {\nsecret {env.OTHER_SECRET}\n}")
	f.Secrets.Add("one-secret-of-the-cache", "other-secret-of-the-cache")
	const said = "cache is used with another secret as well"
	wait.Until(t, "the second node says so", func() bool { return strings.Count(f.Log(), said) == 1 })
	f.On(0)
	f.Visitor().Start("/account/", "06 39 98 00 01")
	wait.Until(t, "both say so", func() bool { return strings.Count(f.Log(), said) == 2 })
}

func TestSessionOutlivesAnOutageOfRedisThatIsShortAndNobodyGetsInThroughIt(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	server := redistest.New(t)
	site := strings.Replace(account, "VERIFIER", "VERIFIER\ncache redis "+server.Addr+" {\nstale_if_error 2s\n}", 1)
	w.Load(site) // while the server is down
	visitor, stranger := w.Visitor(), w.Visitor()
	if a := stranger.Follow(stranger.Open("/account/")); a.StatusCode != http.StatusOK {
		t.Fatalf("the form: %d %q at %s", a.StatusCode, a.Code(), a.Request.URL)
	}
	server.Start(t)
	wait.Until(t, "the node is connected", func() bool {
		return stranger.Open("/.number-verify/").StatusCode == http.StatusOK // looks for what its browser cookie stands for
	})
	visitor.ArrivesAt("/account/")
	visitor.Passes("/account/")

	form := stranger.Follow(stranger.Open("/account/"))
	server.Hang(t)
	began := time.Now()
	visitor.Passes("/account/")
	stranger.Refused("/account/")
	asked := time.Now()
	if a := stranger.Submit(form, "06 39 98 00 05"); a.Code() != "cache_unavailable" || a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a start while Redis hangs: %d %q", a.StatusCode, a.Code())
	}
	if took := time.Since(asked); took > 2*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	wait.Until(t, "the session rests", func() bool { return visitor.Open("/account/").StatusCode == http.StatusServiceUnavailable })
	if lasted := time.Since(began); lasted > 4*time.Second {
		t.Errorf("the session went on for %v", lasted)
	}
	a := visitor.Refused("/account/")
	if a.Code() != "cache_unavailable" || a.Header.Get("Retry-After") == "" || a.Header.Get("Set-Cookie") != "" {
		t.Errorf("%d %q", a.StatusCode, a.Code())
	}
	server.Resume(t)
	wait.Until(t, "the session goes on", func() bool { return visitor.Open("/account/").StatusCode == http.StatusOK })

	server.Kill()
	visitor.Passes("/account/")
	server.Start(t) // empty
	wait.Until(t, "the visitor is asked again", func() bool { return visitor.Open("/account/").StatusCode == http.StatusSeeOther })
	visitor.ArrivesAt("/account/")
}

// What a thief of the store finds must neither open a gate nor name anybody.
func TestDumpOfRedisTellsNothing(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	server := redistest.Start(t)
	t.Setenv("CACHE_SECRET", "the-secret-of-this-cache")
	w.Load(strings.Replace(account, "VERIFIER", "VERIFIER\ncache redis "+server.Addr+" {\nsecret {env.CACHE_SECRET}\n}", 1))
	w.Secrets.Add("the-secret-of-this-cache")
	w.Visitor().ArrivesAt("/account/")
	w.Visitor().Start("/account/", "06 39 98 00 04")
	w.Visitor().Verify("/account/", "06 39 98 00 02")
	dump := server.Dump(t)
	if keys, err := strconv.Atoi(server.Do(t, "DBSIZE")); err != nil || keys < 10 {
		t.Fatalf("the server holds %d keys, %v", keys, err)
	}
	for value := range w.Secrets.In([]byte(dump)) {
		t.Errorf("the dump holds %q", value)
	}
	for _, text := range []string{"/account/", "SFR", "verified", "www.", "number_mismatch"} {
		if strings.Contains(dump, text) {
			t.Errorf("the dump holds %q", text)
		}
	}
}
