package memory

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// soakSessions is how many sessions the soak holds: the default of the limit beyond
// which the gate begins no attempt.
const soakSessions = 1_000_000

// BenchmarkSoak fills the cache with live sessions, and walks over them while others
// write. Then it lets them all expire at once, and reads on while they are swept. It
// reports the memory that a session takes, and the longest that a write and a read took.
func BenchmarkSoak(b *testing.B) {
	for b.Loop() {
		var passed atomic.Int64 // of the clock
		began := time.Now()
		before := heap()
		c := newCache(b, Options{Now: func() time.Time { return began.Add(time.Duration(passed.Load())) }})
		for n := range soakSessions {
			if err := c.Put(b.Context(), sessionKey(n), soakRecord(n, began.Add(time.Hour))); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/soakSessions, "B/session")
		walkOver(b, c, began.Add(time.Hour))
		passed.Store(int64(2 * time.Hour))
		ctx, end := context.WithCancel(b.Context())
		worst := make(chan time.Duration)
		go func() { worst <- worstUntil(ctx, func(n int) { _, _ = c.Get(b.Context(), sessionKey(n)) }) }()
		swept := time.Now()
		for i := range c.shards {
			c.sweepShard(&c.shards[i])
		}
		took := time.Since(swept)
		end()
		b.ReportMetric(float64((<-worst).Microseconds()), "worst-read-µs")
		b.ReportMetric(float64(took.Milliseconds()), "sweep-ms")
		if left := c.held[cache.KindSession].used.Load(); left != 0 {
			b.Fatalf("%d sessions are left", left)
		}
	}
}

// walkOver walks over all sessions while others write.
func walkOver(b *testing.B, c *Cache, expires time.Time) {
	ctx, end := context.WithCancel(b.Context())
	worst := make(chan time.Duration)
	go func() {
		worst <- worstUntil(ctx, func(n int) { _ = c.Put(b.Context(), sessionKey(n), soakRecord(n, expires)) })
	}()
	began, visited := time.Now(), 0
	if err := c.Walk(ctx, func(cache.Ref) error { visited++; return nil }); err != nil || visited != soakSessions {
		b.Errorf("%d are visited, %v", visited, err)
	}
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "walk-ms")
	end()
	b.ReportMetric(float64((<-worst).Microseconds()), "worst-write-µs")
}

// session takes as much memory as a session of the gate does.
type session struct {
	publicID, account, number, region, operator, at string

	verifiedAt time.Time
}

func soakRecord(n int, expires time.Time) *cache.Record {
	return &cache.Record{
		Value: &session{
			publicID: "0123456789ab", account: "dqe/0123456789abcdef", number: "+33639980001", region: "FR",
			operator: "SFR", at: expires.Add(-time.Hour).Format(time.RFC3339), verifiedAt: expires.Add(-time.Hour),
		},
		Expires: expires,
		Label:   make([]byte, 150),
		Tags:    [2]cache.Tag{{1, byte(n), byte(n >> 8), byte(n >> 16)}, {2, byte(n), byte(n >> 8), byte(n >> 16)}},
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// worstUntil calls use with one session after the other until ctx ends, and returns the
// longest time that it took.
func worstUntil(ctx context.Context, use func(n int)) (worst time.Duration) {
	for n := 0; ctx.Err() == nil; n++ {
		began := time.Now()
		use(n % soakSessions)
		worst = max(worst, time.Since(began))
	}
	return worst
}

// A flood of starts, each of another number from another address, must have a
// known price, and cost nobody a session.
func TestFloodOfCountersHasAKnownPrice(t *testing.T) {
	const flood, price = 200_000, 150 << 20
	c := newCache(t, Options{})
	keys := fill(t, c, 1_000, time.Now().Add(time.Hour))
	before := heap()
	refused := 0
	for i := range flood {
		_, err := c.Count(t.Context(), []cache.Limit{
			{Key: cache.Key{Kind: cache.KindCount, Secret: fmt.Sprint("number ", i)}, Max: 30, Window: time.Hour},
			{Key: cache.Key{Kind: cache.KindCount, Secret: fmt.Sprint("client ", i)}, Max: 60, Window: time.Hour},
		})
		if errors.Is(err, cache.ErrFull) {
			refused++
			continue
		}
		must(t, err)
	}
	if cost := heap() - before; cost > price {
		t.Errorf("%d MB", cost>>20)
	} else {
		t.Logf("%d MB, %d refused", cost>>20, refused)
	}
	if refused != flood-defaultRecords/2 {
		t.Errorf("%d were refused", refused)
	}
	for _, key := range keys {
		if _, err := c.Get(t.Context(), key); err != nil {
			t.Fatalf("a session: %v", err)
		}
	}
	checkCounts(t, c)
}
