package redis

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

// sessionsOf returns how many sessions a walk visits, each counted once.
func sessionsOf(t *testing.T, c *Cache) int {
	t.Helper()
	visited := make(map[cache.Ref]bool)
	must(t, c.Walk(t.Context(), func(ref cache.Ref) error { visited[ref] = true; return nil }))
	return len(visited)
}

// use stores a use of a session.
func use(t *testing.T, c *Cache, key cache.Key) {
	t.Helper()
	old, err := c.Get(t.Context(), key)
	must(t, err)
	used := *old
	used.Touched = time.Now()
	must(t, c.Replace(t.Context(), key, old, &used))
}

// ends returns the end by which the server lists the only session, in milliseconds.
func ends(t *testing.T, c *Cache, server *redistest.Server) int64 {
	t.Helper()
	listed := server.Do(t, "ZRANGE", c.sessionsKey(), "0", "-1", "WITHSCORES")
	at, err := strconv.ParseInt(listed[len(listed)-len("1234567890123"):], 10, 64)
	must(t, err)
	return at
}

// The list goes with the sessions: nothing stays of those that have ended, whatever way.
func TestListOfSessionsHoldsNothingThatHasEnded(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{}, server)
	name := func(i int) cache.Key { return key(cache.KindSession, fmt.Sprint(i)) }
	listed := func() string { return server.Do(t, "ZCARD", c.sessionsKey()) }
	for i := range 4 {
		must(t, c.Put(t.Context(), name(i), sessionRecord()))
		use(t, c, name(i))
	}
	must(t, c.Delete(t.Context(), name(0).Ref()))
	must(t, c.Put(t.Context(), name(1), &cache.Record{Value: &cachetest.Value{}}))
	old, err := c.Get(t.Context(), name(2))
	must(t, err)
	must(t, c.Replace(t.Context(), name(2), old, &cache.Record{Value: &cachetest.Value{}}))
	if err := c.Replace(t.Context(), name(3), nil, sessionRecord()); !errors.Is(err, cache.ErrConflict) {
		t.Fatal(err)
	}
	if n := listed(); n != "1" {
		t.Errorf("%s are listed, want 1", n)
	}
	short := sessionRecord()
	short.Expires = time.Now().Add(200 * time.Millisecond)
	must(t, c.Put(t.Context(), name(4), short))
	wait.Until(t, "it ends", func() bool {
		n, err := c.Sessions(t.Context())
		must(t, err)
		_, err = c.Label(t.Context(), name(4).Ref())
		return n == 1 && errors.Is(err, cache.ErrNotFound) && sessionsOf(t, c) == 1
	})
	must(t, c.Put(t.Context(), name(5), sessionRecord()))
	if n := listed(); n != "2" {
		t.Errorf("%s are listed, want 2: what had ended was not taken off", n)
	}
	must(t, c.Delete(t.Context(), name(3).Ref()))
	must(t, c.Delete(t.Context(), name(5).Ref()))
	if n := server.Do(t, "EXISTS", c.sessionsKey()); n != "0" {
		t.Error("an empty list is left")
	}
}

func TestListOfSessionsEndsWithTheLastOfThem(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{}, server)
	must(t, c.Put(t.Context(), sessionKey, sessionRecord()))
	short := sessionRecord()
	short.Expires = time.Now().Add(time.Minute)
	must(t, c.Put(t.Context(), key(cache.KindSession, "short"), short))
	left, err := strconv.Atoi(server.Do(t, "PTTL", c.sessionsKey()))
	if must(t, err); left > 3_600_000 || left < 3_500_000 {
		t.Errorf("the list is left for %d ms", left)
	}
}

// A session that is stored without being listed could not be found and ended.
func TestSessionThatCannotBeListedIsNotStored(t *testing.T) {
	server := redistest.Start(t)
	server.Do(t, "ACL", "SETUSER", "node", "on", ">password", "~*", "+@all", "-zadd")
	c := node(t, Options{Username: "node", Password: "password", Timeout: timeout}, server)
	if err := c.Put(t.Context(), sessionKey, sessionRecord()); !isFailure(err) {
		t.Errorf("Put = %v", err)
	}
	if err := c.Replace(t.Context(), sessionKey, nil, sessionRecord()); !isFailure(err) {
		t.Errorf("Replace = %v", err)
	}
	if n := server.Do(t, "DBSIZE"); n != "0" {
		t.Errorf("%s keys are stored", n)
	}
}

// A walk goes from early ends to late ones. One that is used on nodes whose clocks differ
// must not step back behind a walk.
func TestSessionUsedOnNodesWhoseClocksDifferNeverEndsEarlierInTheList(t *testing.T) {
	server := redistest.Start(t)
	right, behind := node(t, Options{}, server), node(t, Options{Now: wrong(-time.Minute)}, server)
	must(t, right.Put(t.Context(), sessionKey, sessionRecord()))
	last := ends(t, right, server)
	for i := range 6 {
		use(t, []*Cache{right, behind}[i%2], sessionKey)
		now := ends(t, right, server)
		if now < last {
			t.Errorf("use %d: it ends %d ms earlier", i, last-now)
		}
		last = now
	}
	if late := time.Until(time.UnixMilli(last)); late > time.Hour+2*time.Minute {
		t.Errorf("it is listed for %v", late)
	}
}

// An older version stores sessions and lists none.
func TestSessionOfAnOlderVersionIsListedOnceItIsUsed(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{}, server)
	must(t, c.Put(t.Context(), sessionKey, sessionRecord()))
	server.Do(t, "DEL", c.sessionsKey())
	if n := sessionsOf(t, c); n != 0 {
		t.Fatalf("%d are visited", n)
	}
	use(t, c, sessionKey)
	if n := sessionsOf(t, c); n != 1 {
		t.Errorf("%d are visited", n)
	}
}

// A walk that finds no server half-way must not look like one that has seen everything.
func TestServerThatHangsDuringAWalkIsAnError(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{Timeout: timeout}, server)
	for i := range 2 * walkPage {
		must(t, c.Put(t.Context(), key(cache.KindSession, fmt.Sprint(i)), sessionRecord()))
	}
	visited := 0
	err := c.Walk(t.Context(), func(cache.Ref) error {
		if visited++; visited == walkPage {
			server.Hang(t)
		}
		return nil
	})
	server.Resume(t)
	if !isFailure(err) {
		t.Errorf("Walk = %v after %d visits", err, visited)
	}
}

// A server that takes over has the same list, but not the same place in a scan of it.
func TestWalkGoesOnWithTheServerThatTakesOver(t *testing.T) {
	const sessions = 3 * walkPage
	nodes := redistest.Cluster(t)
	c := node(t, Options{Prefix: prefixOn(t, nodes[0]), Timeout: 5 * time.Second}, nodes...)
	for i := range sessions {
		must(t, c.Put(t.Context(), key(cache.KindSession, fmt.Sprint(i)), sessionRecord()))
	}
	visited := make(map[cache.Ref]bool)
	must(t, c.Walk(t.Context(), func(ref cache.Ref) error {
		visited[ref] = true
		if len(visited) == walkPage {
			nodes[3].Do(t, "CLUSTER", "FAILOVER")
			leads(t, nodes[3])
		}
		return nil
	}))
	if len(visited) != sessions {
		t.Errorf("%d of %d are visited", len(visited), sessions)
	}
}
