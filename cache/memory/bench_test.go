package memory

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
)

func sessionKey(i int) cache.Key {
	return cache.Key{Kind: cache.KindSession, Realm: "www.example.com", Secret: "session-" + strconv.Itoa(i)}
}

func sessionRecord(expires time.Time) *cache.Record {
	return &cache.Record{Value: &cachetest.Value{Text: "+33639980001"}, Expires: expires}
}

// fill puts n sessions into c and returns their keys.
func fill(tb testing.TB, c *Cache, n int, expires time.Time) []cache.Key {
	tb.Helper()
	keys := make([]cache.Key, n)
	for i := range keys {
		keys[i] = sessionKey(i)
		if err := c.Put(tb.Context(), keys[i], sessionRecord(expires)); err != nil {
			tb.Fatal(err)
		}
	}
	return keys
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		c := newCache(b, Options{})
		keys := fill(b, c, n, time.Now().Add(time.Hour))
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			for i := 0; b.Loop(); i++ {
				if _, err := c.Get(ctx, keys[i%n]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("records=%d,parallel", n), func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := c.Get(ctx, keys[i%n]); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkRef measures the part of Get that hashes the key.
func BenchmarkRef(b *testing.B) {
	b.ReportAllocs()
	key := sessionKey(1)
	for b.Loop() {
		_ = key.Ref()
	}
}

// BenchmarkGetWhileSweeping reports the longest that a Get and a Put waited
// while a million expired records were removed without a pause.
func BenchmarkGetWhileSweeping(b *testing.B) {
	const records = 1_000_000
	var now atomic.Int64
	c := newCache(b, Options{Now: func() time.Time { return time.Unix(now.Load(), 0) }})
	var worstGet, worstPut time.Duration
	for b.Loop() {
		b.StopTimer()
		now.Store(0)
		keys := fill(b, c, records, time.Unix(60, 0))
		now.Store(60)
		b.StartTimer()
		swept := make(chan struct{})
		go func() {
			defer close(swept)
			for i := range c.shards {
				c.sweepShard(&c.shards[i])
			}
		}()
		for i, sweeping := 0, true; sweeping; i++ {
			began := time.Now()
			_, _ = c.Get(b.Context(), keys[i%records])
			worstGet = max(worstGet, time.Since(began))
			began = time.Now()
			if err := c.Put(b.Context(), sessionKey(records+i%records), sessionRecord(time.Unix(120, 0))); err != nil {
				b.Fatal(err)
			}
			worstPut = max(worstPut, time.Since(began))
			select {
			case <-swept:
				sweeping = false
			default:
			}
		}
	}
	b.ReportMetric(float64(worstGet.Microseconds()), "worst-get-µs")
	b.ReportMetric(float64(worstPut.Microseconds()), "worst-put-µs")
}
