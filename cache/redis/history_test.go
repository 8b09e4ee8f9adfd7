package redis

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

// through lets clients use some nodes while fault happens to the server. It returns
// when the fault has ended and the server answers all nodes again. fault may call
// failed to wait until the calls of all clients have failed.
func through(t *testing.T, h *cachetest.History, nodes []*Cache, fault func(failed func())) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	before, atWork := h.Calls(), make(chan struct{})
	go func() {
		defer close(atWork)
		var working sync.WaitGroup
		for _, node := range nodes {
			working.Go(func() { h.Run(ctx, node, 2, math.MaxInt) })
		}
		working.Wait()
	}()
	wait.Until(t, "the clients are at work", func() bool { return h.Calls() > before+200 })
	fault(func() {
		select {
		case <-atWork:
		case <-time.After(20 * time.Second):
			t.Error("calls go on through the fault")
		}
	})
	cancel()
	<-atWork
	for _, node := range nodes {
		answers(t, node)
	}
}

// explained makes some more calls, and then checks the history.
func explained(t *testing.T, h *cachetest.History, nodes ...*Cache) {
	t.Helper()
	for _, node := range nodes {
		h.Run(t.Context(), node, 2, 50)
	}
	if err := h.Check(); err != nil {
		t.Error(err)
	}
	t.Logf("%d calls", h.Calls())
}

// With appendfsync always a server answers a write when it is on its disk.
func TestHistoryThroughRestartsIsThatOfOneCache(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	nodes := []*Cache{node(t, Options{Timeout: timeout}, server), node(t, Options{Timeout: timeout}, server)}
	h := new(cachetest.History)
	for range 4 {
		through(t, h, nodes, func(failed func()) {
			server.Kill()
			failed()
			server.Start(t)
		})
	}
	explained(t, h, nodes...)
}

// A server that hangs may carry out a call long after its caller has given up.
func TestHistoryThroughHangsIsThatOfOneCache(t *testing.T) {
	server := redistest.Start(t)
	nodes := []*Cache{node(t, Options{Timeout: timeout}, server), node(t, Options{Timeout: timeout}, server)}
	h := new(cachetest.History)
	for range 4 {
		through(t, h, nodes, func(failed func()) {
			server.Hang(t)
			failed()
			server.Resume(t)
		})
	}
	explained(t, h, nodes...)
}

// Without persistence a restart loses answered writes, and the check says which.
func TestRestartWithoutPersistenceIsFoundOutByItsHistory(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{Timeout: timeout}, server)
	h := new(cachetest.History)
	h.Run(t.Context(), c, 2, 50)
	server.Kill()
	server.Start(t)
	answers(t, c)
	h.Run(t.Context(), c, 2, 50)
	if err := h.Check(); err == nil {
		t.Error("nothing was lost")
	} else {
		t.Log(err)
	}
}

// A Cluster answers a write before it sends it to a replica. A failover on request
// waits for that; one after a crash may lose the last writes, and the check says
// which.
func TestHistoryThroughFailovers(t *testing.T) {
	nodes := redistest.Cluster(t)
	c := node(t, Options{Prefix: prefixOn(t, nodes[0]), Timeout: timeout}, nodes...)
	primary, replica := nodes[0], nodes[3]
	h := new(cachetest.History)
	through(t, h, []*Cache{c}, func(func()) {
		replica.Do(t, "CLUSTER", "FAILOVER")
		leads(t, replica)
	})
	explained(t, h, c)

	primary, replica = replica, primary
	wait.Until(t, "the replica follows", func() bool {
		return strings.Contains(replica.Do(t, "INFO", "replication"), "master_link_status:up")
	})
	primary.Do(t, "ACL", "SETUSER", "default", "-psync", "-sync")
	primary.Do(t, "CLIENT", "KILL", "TYPE", "replica")
	h.Run(t.Context(), c, 2, 50)
	primary.Kill()
	leads(t, replica)
	answers(t, c)
	h.Run(t.Context(), c, 2, 50)
	if err := h.Check(); err == nil {
		t.Error("nothing was lost")
	} else {
		t.Log(err)
	}
}

// prefixOn returns a prefix whose keys are all kept by the first primary of a Cluster.
func prefixOn(t *testing.T, node *redistest.Server) string {
	t.Helper()
	for i := 0; ; i++ {
		prefix := fmt.Sprintf("{%d}:", i)
		if slot, err := strconv.Atoi(node.Do(t, "CLUSTER", "KEYSLOT", prefix)); err != nil || slot <= 5460 {
			must(t, err)
			return prefix
		}
	}
}

func leads(t *testing.T, server *redistest.Server) {
	t.Helper()
	wait.Until(t, "it leads", func() bool { return strings.Contains(server.Do(t, "ROLE"), "master") })
}
