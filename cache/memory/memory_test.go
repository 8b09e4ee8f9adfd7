package memory

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
)

func newCache(tb testing.TB, opts Options) *Cache {
	tb.Helper()
	c := New(opts)
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func TestConformance(t *testing.T) {
	cachetest.Run(t, func(t *testing.T, now func() time.Time) cache.Cache { return New(Options{Now: now}) })
}

func TestConformanceWhenFull(t *testing.T) {
	cachetest.RunFull(t, func(t *testing.T, now func() time.Time) cache.Cache { return New(Options{Now: now, Records: 100}) })
}

func TestGetDoesNotAllocate(t *testing.T) {
	c := newCache(t, Options{})
	keys := fill(t, c, 1000, time.Now().Add(time.Hour))
	ctx, missing := t.Context(), sessionKey(-1)
	for name, key := range map[string]cache.Key{"a hit": keys[500], "a miss": missing} {
		n := testing.AllocsPerRun(100, func() { _, _ = c.Get(ctx, key) })
		if n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestUnknownKindIsRefused(t *testing.T) {
	c := newCache(t, Options{})
	for _, kind := range []cache.Kind{0, cache.KindCount, cache.KindCount + 1, 255} {
		key := cache.Key{Kind: kind, Realm: "www.example.com", Secret: "secret"}
		if err := c.Put(t.Context(), key, sessionRecord(time.Now().Add(time.Hour))); err == nil {
			t.Errorf("kind %d was stored", kind)
		}
		if _, err := c.Get(t.Context(), key); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("kind %d: Get = %v", kind, err)
		}
	}
}

func attemptKey(i int) cache.Key {
	return cache.Key{Kind: cache.KindAttempt, Realm: "www.example.com", Secret: fmt.Sprint("attempt-", i)}
}

func attemptRecord() *cache.Record {
	return &cache.Record{Value: &cachetest.Value{Text: "attempt"}, Expires: time.Now().Add(10 * time.Minute)}
}

// begin begins attempt i and checks the answer.
func begin(t *testing.T, c *Cache, i int, want error) *cache.Record {
	t.Helper()
	rec := attemptRecord()
	if err := c.Replace(t.Context(), attemptKey(i), nil, rec); !errors.Is(err, want) {
		t.Fatalf("begin attempt %d = %v, want %v", i, err, want)
	}
	return rec
}

// elapse lets d pass in a synctest bubble, until the sweeper has nothing left to do.
func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAttemptThatWasBegunIsNeverRefused(t *testing.T) {
	c := newCache(t, Options{Records: 1})
	old := begin(t, c, 0, nil)
	fill(t, c, 2, time.Now().Add(time.Hour))
	for range 4 {
		rec := attemptRecord()
		must(t, c.Replace(t.Context(), attemptKey(0), old, rec))
		old = rec
	}
	must(t, c.Put(t.Context(), attemptKey(0), attemptRecord()))
	checkCounts(t, c)
}

func TestSessionsAlwaysFindRoomAndAreCounted(t *testing.T) {
	const sessions = 25
	c := newCache(t, Options{Records: 10})
	keys := fill(t, c, sessions, time.Now().Add(time.Hour))
	for _, key := range keys {
		if _, err := c.Get(t.Context(), key); err != nil {
			t.Fatalf("a session was lost: %v", err)
		}
	}
	must(t, c.Delete(t.Context(), keys[0].Ref()))
	if n := c.Held(); n != sessions-1 {
		t.Errorf("%d sessions are held", n)
	}
	checkCounts(t, c)
}

// A stranger can make records of any of these kinds.
func TestFloodOfAnyKindIsBounded(t *testing.T) {
	for kind := cache.KindSession + 1; kind.Stored(); kind++ {
		const most = 1_000
		c := newCache(t, Options{Records: most})
		key := func(i int) cache.Key {
			return cache.Key{Kind: kind, Realm: "www.example.com", Secret: fmt.Sprint(i)}
		}
		record := func() *cache.Record {
			return &cache.Record{Value: &cachetest.Value{}, Expires: time.Now().Add(time.Hour)}
		}
		for i := range most {
			must(t, c.Put(t.Context(), key(i), record()))
		}
		if err := c.Put(t.Context(), key(most), record()); !errors.Is(err, cache.ErrFull) {
			t.Errorf("kind %d: Put = %v", kind, err)
		}
		if err := c.Replace(t.Context(), key(most), nil, record()); !errors.Is(err, cache.ErrFull) {
			t.Errorf("kind %d: Replace = %v", kind, err)
		}
		if err := c.Put(t.Context(), key(0), record()); err != nil {
			t.Errorf("kind %d: Put in place of another = %v", kind, err)
		}
		must(t, c.Put(t.Context(), sessionKey(0), sessionRecord(time.Now().Add(time.Hour))))
		must(t, c.Close())
	}
}

func TestRoomIsNeverOverfull(t *testing.T) {
	const bound = 2
	r := room{max: bound}
	var inside atomic.Int64
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for range 100_000 {
				if !r.take() {
					continue
				}
				if n := inside.Add(1); n > bound {
					t.Errorf("%d have taken a place", n)
				}
				inside.Add(-1)
				r.give()
			}
		})
	}
	running.Wait()
	if n := r.used.Load(); n != 0 {
		t.Errorf("%d places are taken in the end", n)
	}
}

func TestRecordWithoutLifeLeftTakesNoRoom(t *testing.T) {
	c := newCache(t, Options{})
	must(t, c.Put(t.Context(), sessionKey(0), sessionRecord(time.Now())))
	must(t, c.Replace(t.Context(), attemptKey(0), nil, &cache.Record{Value: &cachetest.Value{}}))
	for kind := range c.held {
		if n := c.held[kind].used.Load(); n != 0 {
			t.Errorf("kind %d: %d held", kind, n)
		}
	}
	checkCounts(t, c)
}

func TestParallelBurstBeginsExactlyTheBound(t *testing.T) {
	const bound, burst = 100, 400
	c := newCache(t, Options{Records: bound})
	for round := range 5 {
		var begun atomic.Int64
		var running sync.WaitGroup
		for i := range burst {
			running.Go(func() {
				err := c.Replace(t.Context(), attemptKey(round*burst+i), nil, attemptRecord())
				switch {
				case err == nil:
					begun.Add(1)
				case !errors.Is(err, cache.ErrFull):
					t.Errorf("Replace: %v", err)
				}
			})
		}
		running.Wait()
		if n := begun.Load(); n != bound {
			t.Fatalf("%d attempts were begun", n)
		}
		checkCounts(t, c)
		for i := range burst {
			must(t, c.Delete(t.Context(), attemptKey(round*burst+i).Ref()))
		}
	}
}

// checkCounts compares the counts of records with the records.
func checkCounts(t *testing.T, c *Cache) {
	t.Helper()
	var held [len(c.held)]int64
	tagged := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, item := range s.items.Items() {
			e := item.Object.(*entry)
			held[e.kind]++
			for _, tag := range e.tags() {
				if tag != (cache.Tag{}) {
					tagged++
				}
			}
		}
		s.mu.Unlock()
	}
	for kind := range held {
		if n := c.held[kind].used.Load(); n != held[kind] {
			t.Errorf("kind %d: %d counted, %d held", kind, n, held[kind])
		}
	}
	c.tags.mu.Lock()
	defer c.tags.mu.Unlock()
	listed := 0
	for tag := range c.tags.first {
		refs := c.tags.list(tag)
		for _, ref := range refs {
			if e := c.shard(ref).get(ref); e == nil || !slices.Contains(e.Tags[:], tag) {
				t.Errorf("%x is listed by a tag that it has not", ref[:4])
			}
		}
		listed += len(refs)
	}
	if listed != tagged {
		t.Errorf("%d are listed by tags, of which they have %d", listed, tagged)
	}
}

func TestCountsStayExact(t *testing.T) {
	var clock atomic.Int64
	c := newCache(t, Options{
		Records: 20,
		Now:     func() time.Time { return time.Unix(clock.Load(), 0) },
	})
	var running sync.WaitGroup
	for worker := range 8 {
		running.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			for range 5_000 {
				change(t, c, &clock, random)
			}
		})
	}
	running.Wait()
	checkCounts(t, c)

	clock.Add(1_000)
	for i := range c.shards {
		c.sweepShard(&c.shards[i])
	}
	checkCounts(t, c)
	for kind := range c.held {
		if n := c.held[kind].used.Load(); n != 0 {
			t.Errorf("kind %d: %d counted after all have expired", kind, n)
		}
	}
}

// change changes one of a few records at random.
func change(t *testing.T, c *Cache, clock *atomic.Int64, random *rand.Rand) {
	now := clock.Load()
	key := sessionKey(random.IntN(50))
	if random.IntN(2) == 0 {
		key = attemptKey(random.IntN(50))
	}
	rec := &cache.Record{
		Value: &cachetest.Value{}, Expires: time.Unix(now+random.Int64N(20)-2, 0),
		Tags: [2]cache.Tag{{byte(random.IntN(4))}, {byte(random.IntN(4))}},
	}
	var err error
	switch random.IntN(8) {
	case 0:
		err = c.Delete(t.Context(), key.Ref())
	case 1:
		clock.Add(1)
	case 2:
		c.sweepShard(c.shard(key.Ref()))
	case 3, 4:
		old, _ := c.Get(t.Context(), key)
		err = c.Replace(t.Context(), key, old, rec)
	default:
		err = c.Put(t.Context(), key, rec)
	}
	if err != nil && !errors.Is(err, cache.ErrFull) && !errors.Is(err, cache.ErrConflict) {
		t.Error(err)
	}
}

func TestSweeperRemovesWhatHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Options{})
		fill(t, c, 1_000, time.Now().Add(time.Hour))
		idle := sessionRecord(time.Now().Add(24 * time.Hour))
		idle.Idle, idle.Touched = time.Minute, time.Now()
		must(t, c.Put(t.Context(), sessionKey(1_000), idle))
		lives := sessionKey(1_001)
		must(t, c.Put(t.Context(), lives, sessionRecord(time.Now().Add(24*time.Hour))))

		held := func() int64 { return c.held[cache.KindSession].used.Load() }
		elapse(time.Minute + sweepRound)
		if n := held(); n != 1_001 {
			t.Errorf("%d sessions are held after the idle end of one", n)
		}
		elapse(time.Hour)
		if n := held(); n != 1 {
			t.Errorf("%d sessions are held after the end of all but one", n)
		}
		checkCounts(t, c)
		if _, err := c.Get(t.Context(), lives); err != nil {
			t.Errorf("the live session: %v", err)
		}
	})
}

// synctest.Test fails where a goroutine is left.
func TestCloseEndsTheSweeper(t *testing.T) {
	for _, age := range []time.Duration{0, sweepRound / shardCount, 10 * sweepRound} {
		synctest.Test(t, func(t *testing.T) {
			c := New(Options{})
			elapse(age)
			must(t, c.Close())
			select {
			case <-c.stopped:
			default:
				t.Error("Close did not wait for the sweeper")
			}
		})
	}
}

func TestClosedCacheHoldsNothing(t *testing.T) {
	c := New(Options{})
	fill(t, c, 1_000, time.Now().Add(time.Hour))
	must(t, c.Close())
	for i := range c.shards {
		if n := c.shards[i].items.ItemCount(); n != 0 {
			t.Fatalf("a shard still holds %d records", n)
		}
	}
}

func TestClosedCacheIsCollected(t *testing.T) {
	c := New(Options{})
	fill(t, c, 10, time.Now().Add(time.Hour))
	left := weak.Make(c)
	must(t, c.Close())
	c = nil
	runtime.GC()
	if left.Value() != nil {
		t.Error("something still refers to the cache")
	}
}

func TestEndedContextIsNoMissOnceClosed(t *testing.T) {
	c := New(Options{})
	must(t, c.Close())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Get(ctx, sessionKey(0)); err == nil || errors.Is(err, cache.ErrNotFound) {
		t.Errorf("Get = %v", err)
	}
}
