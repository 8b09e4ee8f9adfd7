package memory

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// soakSessions is how many sessions the soak holds: as many as the cache does
// before it begins no more attempts.
const soakSessions = defaultSessions

// BenchmarkSoak fills the cache with live sessions, lets them all expire at once,
// and reads on while they are swept. It reports the memory that a session takes,
// and the longest that a read took.
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
		passed.Store(int64(2 * time.Hour))
		ctx, end := context.WithCancel(b.Context())
		worst := make(chan time.Duration)
		go func() { worst <- readUntil(ctx, c) }()
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

func soakRecord(n int, expires time.Time) *cache.Record {
	return &cache.Record{
		Value: cache.NewSession(cache.Session{
			PublicID: "0123456789ab", Account: "dqe/0123456789abcdef", Number: "+33639980001", Region: "FR",
			Operator: "SFR", VerifiedAt: expires.Add(-time.Hour),
		}),
		Expires: expires, Tag: cache.Tag{1, byte(n), byte(n >> 8), byte(n >> 16)},
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// readUntil reads all the time and returns the longest that a read took.
func readUntil(ctx context.Context, c *Cache) (worst time.Duration) {
	for n := 0; ctx.Err() == nil; n++ {
		began := time.Now()
		_, _ = c.Get(context.Background(), sessionKey(n%soakSessions))
		worst = max(worst, time.Since(began))
	}
	return worst
}
