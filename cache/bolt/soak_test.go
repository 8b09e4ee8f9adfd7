package bolt

import (
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

const (
	soakSessions = 100_000
	// soakVisitors is how many visitors wait for the disk at the same time.
	soakVisitors = 200
)

// BenchmarkSoak lets many visitors be verified at once, and then opens the file. It
// reports the bytes of a session on disk and in memory, the sessions written in a
// second, and how long it takes to open the file.
func BenchmarkSoak(b *testing.B) {
	for b.Loop() {
		path := newPath(b)
		c := opened(b, path, nil)
		began := time.Now()
		var visitors sync.WaitGroup
		for first := range soakVisitors {
			visitors.Go(func() {
				for n := first; n < soakSessions; n += soakVisitors {
					rec := sessionRecord(n, time.Now().Add(time.Hour))
					rec.Label = make([]byte, 150)
					rec.Tags = [2]cache.Tag{{1, byte(n), byte(n >> 8), byte(n >> 16)}, {2, byte(n), byte(n >> 8), byte(n >> 16)}}
					if err := c.Put(b.Context(), sessionKey(n), rec); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		visitors.Wait()
		b.ReportMetric(soakSessions/time.Since(began).Seconds(), "written/s")
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(info.Size())/soakSessions, "disk-B/session")
		before := heap()
		began = time.Now()
		again, err := Open(path, memory.Options{}, cachetest.Codec{}, zap.NewNop())
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "load-ms")
		b.ReportMetric(float64(heap()-before)/soakSessions, "B/session")
		if _, err := again.Get(b.Context(), sessionKey(soakSessions-1)); err != nil {
			b.Fatal(err)
		}
		if err := again.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
