package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

// timeout is that of a call in these tests, and margin the delay of a busy machine.
const (
	timeout = 250 * time.Millisecond
	margin  = 750 * time.Millisecond
)

func key(kind cache.Kind, secret string) cache.Key {
	return cache.Key{Kind: kind, Realm: "www.example.com", Secret: secret}
}

var sessionKey = key(cache.KindSession, "session")

func sessionRecord() *cache.Record {
	return &cache.Record{
		Value:   &cachetest.Value{Text: "+33639980001"},
		Expires: time.Now().Add(time.Hour), Tags: [2]cache.Tag{{1}, {2}},
	}
}

// node opens a cache on the servers, as one Caddy node does.
func node(t *testing.T, opts Options, servers ...*redistest.Server) *Cache {
	t.Helper()
	for _, server := range servers {
		opts.Addresses = append(opts.Addresses, server.Addr)
	}
	c, err := Open(opts, cachetest.Codec{}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// holds reads a session, which the node then holds.
func holds(t *testing.T, c *Cache, key cache.Key) {
	t.Helper()
	if _, err := c.Get(t.Context(), key); err != nil {
		t.Fatalf("Get: %v", err)
	}
}

func limits() []cache.Limit {
	return []cache.Limit{
		{Key: key(cache.KindCount, "number"), Max: 5, Window: time.Hour},
		{Key: key(cache.KindCount, "client"), Max: 60, Window: 10 * time.Minute},
	}
}

func isFailure(err error) bool { return err != nil && !errors.Is(err, cache.ErrNotFound) }

// fails checks that all calls fail in time, except for sessions that the node holds.
func fails(t *testing.T, c *Cache) {
	t.Helper()
	calls := map[string]func(context.Context) error{
		"Get":            func(ctx context.Context) error { _, err := c.Get(ctx, key(cache.KindSession, "other")); return err },
		"Get an attempt": func(ctx context.Context) error { _, err := c.Get(ctx, key(cache.KindAttempt, "other")); return err },
		"Put":            func(ctx context.Context) error { return c.Put(ctx, sessionKey, sessionRecord()) },
		"Replace": func(ctx context.Context) error {
			return c.Replace(ctx, key(cache.KindSession, "new"), nil, sessionRecord())
		},
		"Delete":   func(ctx context.Context) error { return c.Delete(ctx, sessionKey.Ref()) },
		"Find":     func(ctx context.Context) error { _, err := c.Find(ctx, cache.Tag{1}); return err },
		"Label":    func(ctx context.Context) error { _, err := c.Label(ctx, sessionKey.Ref()); return err },
		"Walk":     func(ctx context.Context) error { return c.Walk(ctx, func(cache.Ref) error { return nil }) },
		"Sessions": func(ctx context.Context) error { _, err := c.Sessions(ctx); return err },
		"Count":    func(ctx context.Context) error { _, err := c.Count(ctx, limits()); return err },
		"Uncount":  func(ctx context.Context) error { return c.Uncount(ctx, []cache.Counted{{Counter: sessionKey}}) },
	}
	for name, call := range calls {
		began := time.Now()
		err := call(t.Context())
		if took := time.Since(began); took > timeout+margin {
			t.Errorf("%s took %v", name, took)
		}
		if !isFailure(err) || errors.Is(err, cache.ErrConflict) || errors.Is(err, cache.ErrFull) {
			t.Errorf("%s = %v, want a failure", name, err)
		}
	}
}

func TestServerThatComesLaterIsNoErrorAndNeedsNoRestart(t *testing.T) {
	server := redistest.New(t)
	c := node(t, Options{Timeout: timeout}, server)
	fails(t, c)
	server.Start(t)
	wait.Until(t, "the node is connected", func() bool {
		return c.Put(t.Context(), sessionKey, sessionRecord()) == nil
	})
	holds(t, c, sessionKey)
}

func TestHeldSessionGoesOnForAWhileWithoutTheServer(t *testing.T) {
	const stale = 2 * time.Second
	for _, outage := range []struct {
		name  string
		begin func(*redistest.Server, testing.TB)
		end   func(*redistest.Server, testing.TB)
		gone  bool // the server loses its content
	}{
		{"killed", func(s *redistest.Server, _ testing.TB) { s.Kill() }, (*redistest.Server).Start, true},
		{"hung", (*redistest.Server).Hang, (*redistest.Server).Resume, false},
	} {
		t.Run(outage.name, func(t *testing.T) {
			server := redistest.Start(t)
			c := node(t, Options{Timeout: timeout, StaleIfError: stale}, server)
			must(t, c.Put(t.Context(), sessionKey, sessionRecord()))
			holds(t, c, sessionKey)

			outage.begin(server, t)
			began := time.Now()
			for time.Since(began) < stale-askAfter-timeout {
				if _, err := c.Get(t.Context(), sessionKey); err != nil {
					t.Fatalf("after %v: %v", time.Since(began), err)
				}
			}
			wait.Until(t, "it ends", func() bool {
				_, err := c.Get(t.Context(), sessionKey)
				if errors.Is(err, cache.ErrNotFound) {
					t.Fatal("a failure is taken for a miss")
				}
				return err != nil
			})
			if lasted := time.Since(began); lasted > stale+margin {
				t.Errorf("it went on for %v", lasted)
			}
			fails(t, c)

			outage.end(server, t)
			wait.Until(t, "the node finds the server again", func() bool {
				_, err := c.Get(t.Context(), sessionKey)
				return err == nil && !outage.gone || errors.Is(err, cache.ErrNotFound) && outage.gone
			})
			must(t, c.Put(t.Context(), key(cache.KindSession, "later"), sessionRecord()))
			holds(t, c, key(cache.KindSession, "later"))
		})
	}
}

func TestSignOutOnOneNodeEndsTheSessionOnTheOther(t *testing.T) {
	server := redistest.Start(t)
	a, b := node(t, Options{}, server), node(t, Options{}, server)
	var slowest time.Duration
	for i := range 200 {
		key := key(cache.KindSession, fmt.Sprint(i))
		must(t, a.Put(t.Context(), key, sessionRecord()))
		holds(t, b, key)
		holds(t, b, key)
		must(t, a.Delete(t.Context(), key.Ref()))
		began := time.Now()
		wait.Until(t, "the other node has heard of it", func() bool {
			_, err := b.Get(t.Context(), key)
			return errors.Is(err, cache.ErrNotFound)
		})
		slowest = max(slowest, time.Since(began))
	}
	if slowest > 500*time.Millisecond {
		t.Errorf("it took %v", slowest)
	}
	t.Logf("the slowest of 200 took %v", slowest)
}

// A server that refuses to track keys says so only in an answer that rueidis does not
// read. If the node held sessions, it would not hear of their sign-out.
func TestUserWhoMayNotHaveKeysTrackedHoldsNothing(t *testing.T) {
	server := redistest.Start(t)
	rules := func(rules ...string) { server.Do(t, append([]string{"ACL", "SETUSER", "node"}, rules...)...) }
	opts := Options{Addresses: []string{server.Addr}, Username: "node", Password: "password", Timeout: timeout}
	rules("on", ">password", "~*", "+@all")
	c := node(t, opts)
	must(t, c.Put(t.Context(), sessionKey, sessionRecord()))
	rules("-client|caching")
	if _, err := c.Get(t.Context(), sessionKey); !isFailure(err) {
		t.Errorf("denied while it runs: Get = %v", err)
	}
	if c.held.get(sessionKey) != nil {
		t.Error("the session is held")
	}
	if other, err := Open(opts, cachetest.Codec{}, zaptest.NewLogger(t)); err == nil || !strings.Contains(err.Error(), "let this user run CLIENT") {
		t.Errorf("denied from the start: Open = %v, %v", other, err)
	}
}

// A session that ended while this node was connected must not come back in an outage,
// even if nobody has asked this node for it since.
func TestOutageDoesNotReviveASessionThatWasEndedElsewhere(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *redistest.Server, *Cache){
		"signed out": func(t *testing.T, _ *redistest.Server, other *Cache) {
			must(t, other.Delete(t.Context(), sessionKey.Ref()))
		},
		"changed": func(t *testing.T, _ *redistest.Server, other *Cache) {
			must(t, other.Put(t.Context(), sessionKey, sessionRecord()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			a, b := node(t, Options{}, server), node(t, Options{Timeout: timeout}, server)
			must(t, a.Put(t.Context(), sessionKey, sessionRecord()))
			holds(t, b, sessionKey)
			before := b.held.changes.Load()
			end(t, server, a)
			wait.Until(t, "the node has heard of it", func() bool { return b.held.changes.Load() > before })
			server.Kill()
			if _, err := b.Get(t.Context(), sessionKey); !isFailure(err) {
				t.Errorf("Get = %v, want a failure", err)
			}
		})
	}
}

// An answer that came over a connection confirms nothing once the connection is lost,
// even before everybody has noticed the loss.
func TestSessionReadFromALostConnectionIsNotConfirmedByIt(t *testing.T) {
	h := newHeld(Options{}.withDefaults())
	defer func() { must(t, h.sessions.Close()) }()
	h.hold(sessionKey, "raw", sessionRecord(), h.mark())
	h.lost(time.Now().Add(-h.stale))
	if h.confirm(sessionKey, "raw", h.mark(), true) == nil {
		t.Fatal("it is not held")
	}
	if h.spare(sessionKey, context.DeadlineExceeded) != nil {
		t.Error("it goes on by what the lost connection has said")
	}
	h.confirm(sessionKey, "raw", h.mark(), false)
	if h.spare(sessionKey, context.DeadlineExceeded) == nil {
		t.Error("the server has confirmed it")
	}
}

// Each unknown cookie is a read of a key that does not exist. The server must not
// track such keys: strangers could fill its memory.
func TestFloodOfUnknownSessionsTakesNoMemoryOfTheServer(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{Timeout: 5 * time.Second}, server)
	for i := range 2_000 {
		if _, err := c.Get(t.Context(), key(cache.KindSession, fmt.Sprint("unknown ", i))); !errors.Is(err, cache.ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := c.Label(t.Context(), cache.Ref{byte(i), byte(i >> 8)}); !errors.Is(err, cache.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if stats := server.Do(t, "INFO", "stats"); !strings.Contains(stats, "tracking_total_keys:0") {
		t.Errorf("the server tracks keys: %s", stats)
	}
}

func TestOutageDoesNotReviveWhatWasFlushedLongAgo(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{Timeout: timeout, StaleIfError: 100 * time.Millisecond}, server)
	must(t, c.Put(t.Context(), sessionKey, sessionRecord()))
	holds(t, c, sessionKey)
	before := c.held.changes.Load()
	server.Do(t, "FLUSHALL")
	wait.Until(t, "the node has heard of it", func() bool { return c.held.changes.Load() > before })
	flushed := time.Now()
	wait.Until(t, "stale_if_error is over", func() bool { return time.Since(flushed) > 100*time.Millisecond })
	server.Kill()
	if _, err := c.Get(t.Context(), sessionKey); !isFailure(err) {
		t.Errorf("Get = %v, want a failure", err)
	}
}

// A server that is connected but refuses all calls, as a Cluster without a majority
// does, is treated as one that is away.
func TestServerThatOnlyAnswersWithErrorsIsAnOutage(t *testing.T) {
	const stale = time.Second
	server := redistest.Start(t)
	server.Do(t, "ACL", "SETUSER", "node", "on", ">password", "~*", "+@all")
	c := node(t, Options{Username: "node", Password: "password", Timeout: timeout, StaleIfError: stale}, server)
	must(t, c.Put(t.Context(), sessionKey, sessionRecord()))
	holds(t, c, sessionKey)
	server.Do(t, "ACL", "SETUSER", "node", "-get")
	began := time.Now()
	wait.Until(t, "the session ends", func() bool {
		_, err := c.Get(t.Context(), sessionKey)
		return isFailure(err)
	})
	if lasted := time.Since(began); lasted > 2*stale+margin {
		t.Errorf("it went on for %v", lasted)
	}
}

func TestCloseWhileTheServerHangs(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{Timeout: timeout}, server)
	holdsNothing := func() { _, _ = c.Get(t.Context(), sessionKey) }
	holdsNothing()
	server.Hang(t)
	go holdsNothing()
	closed := make(chan error)
	go func() { closed <- c.Close() }()
	select {
	case err := <-closed:
		must(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("Close hangs")
	}
	if _, err := c.Get(t.Context(), sessionKey); !errors.Is(err, cache.ErrClosed) {
		t.Errorf("Get = %v", err)
	}
	server.Resume(t)
}

func TestClusterConformance(t *testing.T) {
	nodes := redistest.Cluster(t)
	cachetest.Run(t, func(t *testing.T, now func() time.Time) cache.Cache {
		return node(t, Options{Prefix: t.Name() + ":", Timeout: 5 * time.Second, Now: now, serverNow: now}, nodes[0])
	})
}

func TestClusterThatLosesAPrimaryRecovers(t *testing.T) {
	const sessions = 60
	nodes := redistest.Cluster(t)
	c := node(t, Options{Timeout: timeout, StaleIfError: 10 * time.Second}, nodes...)
	name := func(i int) cache.Key { return key(cache.KindSession, fmt.Sprint(i)) }
	for i := range sessions {
		must(t, c.Put(t.Context(), name(i), sessionRecord()))
		holds(t, c, name(i))
	}
	wait.Until(t, "the replica has everything", func() bool {
		return nodes[3].Do(t, "DBSIZE") == nodes[0].Do(t, "DBSIZE")
	})
	nodes[0].Kill()
	began := time.Now()
	// sessions that the node holds go on all the time
	for round := 0; time.Since(began) < 4*time.Second; round++ {
		if _, err := c.Get(t.Context(), name(round%sessions)); err != nil {
			t.Fatalf("session %d after %v: %v", round%sessions, time.Since(began), err)
		}
	}
	wait.Until(t, "the replica has taken over", func() bool {
		return strings.Contains(nodes[3].Do(t, "ROLE"), "master")
	})
	for i := range sessions {
		wait.Until(t, "everything can be changed again", func() bool {
			return c.Put(t.Context(), key(cache.KindSession, fmt.Sprint("new ", i)), sessionRecord()) == nil
		})
		holds(t, c, name(i))
	}
}

// A call to a server that hangs must not wait for a place in the client's queue as
// well as for the answer.
func TestThousandsOfCallsToAServerThatHangsEndInTime(t *testing.T) {
	const calls = 4_000
	server := redistest.Start(t)
	c := node(t, Options{Timeout: timeout}, server)
	server.Hang(t)
	defer server.Resume(t)
	var all sync.WaitGroup
	var longest atomic.Int64
	for i := range calls {
		all.Go(func() {
			began := time.Now()
			_, err := c.Get(t.Context(), key(cache.KindAttempt, fmt.Sprint(i)))
			if !isFailure(err) {
				t.Errorf("Get = %v", err)
			}
			for took := int64(time.Since(began)); ; {
				if now := longest.Load(); took <= now || longest.CompareAndSwap(now, took) {
					return
				}
			}
		})
	}
	all.Wait()
	t.Logf("at most %v", time.Duration(longest.Load()))
	// four thousand goroutines also wait for one another on a machine that is busy
	if took := time.Duration(longest.Load()); took > 4*(timeout+giveUpAfter) {
		t.Errorf("a call took %v", took)
	}
}
