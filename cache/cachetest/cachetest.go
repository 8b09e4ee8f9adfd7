// Package cachetest holds the tests that every cache.Cache has to pass: Run for all,
// RunDurable for those whose records survive their process, and RunFull for those
// that run out of room. The tests store Values, and Codec turns these into bytes.
//
// History checks what concurrent callers are told. Run uses it; a test of your own
// can use it while it restarts, kills or hangs your store.
//
// The example shows a whole cache that passes Run.
package cachetest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Opener opens an empty cache for one test, which closes it. Records expire by the
// clock now. The cache must have room for 2,500 records of each kind. A cache that
// stores bytes is opened with Codec.
type Opener func(t *testing.T, now func() time.Time) cache.Cache

// Run tests that the caches that open returns do what package cache says.
func Run(t *testing.T, open Opener) {
	for _, part := range []struct {
		name  string
		tests []scenario
	}{
		{"values", valueTests()},
		{"writes", writeTests},
		{"replace", replaceTests},
		{"a stale record conflicts", staleTests()},
		{"concurrency", concurrencyTests},
		{"end of life", lifeTests()},
		{"touch", touchTests},
		{"find", findTests},
		{"label", labelTests},
		{"walk", walkTests},
		{"count", countTests},
		{"ended context", []scenario{{"every call fails", testEndedContext}}},
		{"close", closeTests},
	} {
		t.Run(part.name, func(t *testing.T) {
			for _, test := range part.tests {
				t.Run(test.name, func(t *testing.T) { test.run(t, setUp(t, open)) })
			}
		})
	}
}

// scenario is a test of an open, empty cache.
type scenario struct {
	name string
	run  func(*testing.T, bench)
}

// clock is a clock that a test sets. It starts at the real time, by which a store
// outside this process may expire records. It holds whole milliseconds, which any
// store can keep.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ms.Store(time.Now().UnixMilli())
	return c
}

func (c *clock) now() time.Time               { return time.UnixMilli(c.ms.Load()) }
func (c *clock) add(d time.Duration)          { c.ms.Add(d.Milliseconds()) }
func (c *clock) in(d time.Duration) time.Time { return c.now().Add(d) }

// bench is an open cache, with the steps of the tests as methods.
type bench struct {
	cache.Cache
	*clock
}

func setUp(t *testing.T, open Opener) bench {
	t.Helper()
	clock := newClock()
	c := open(t, clock.now)
	t.Cleanup(func() {
		if err := c.Close(); err != nil && !errors.Is(err, cache.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
	return bench{c, clock}
}

// record returns a record that lives for an hour.
func (b bench) record(value *Value) *cache.Record {
	return &cache.Record{Value: value, Expires: b.in(time.Hour)}
}

// put stores rec and returns it.
func (b bench) put(t *testing.T, key cache.Key, rec *cache.Record) *cache.Record {
	t.Helper()
	if err := b.Put(t.Context(), key, rec); err != nil {
		t.Fatalf("Put: %v", err)
	}
	return rec
}

func (b bench) get(t *testing.T, key cache.Key) *cache.Record {
	t.Helper()
	rec, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return rec
}

// holds checks that the value under key is want.
func (b bench) holds(t *testing.T, key cache.Key, want *Value) {
	t.Helper()
	if got := b.get(t, key).Value; !sameValue(got, want) {
		t.Fatalf("value is %+v, want %+v", got, want)
	}
}

// misses checks that nothing lives under key.
func (b bench) misses(t *testing.T, key cache.Key) {
	t.Helper()
	rec, err := b.Get(t.Context(), key)
	if !errors.Is(err, cache.ErrNotFound) || rec != nil {
		t.Fatalf("Get = %v, %v, want nil and ErrNotFound", rec, err)
	}
}

// replaces checks that Replace returns want.
func (b bench) replaces(t *testing.T, key cache.Key, old, rec *cache.Record, want error) {
	t.Helper()
	if err := b.Replace(t.Context(), key, old, rec); !errors.Is(err, want) {
		t.Fatalf("Replace = %v, want %v", err, want)
	}
}

func (b bench) delete(t *testing.T, key cache.Key) {
	t.Helper()
	if err := b.Delete(t.Context(), key.Ref()); err != nil {
		t.Fatalf("Delete: %v", err)
	}
}

// testEndedContext tests that a call whose caller has gone changes nothing, and that
// its error is no miss, conflict or limit.
func testEndedContext(t *testing.T, b bench) {
	old := b.put(t, attemptKey, b.record(value(1)))
	b.put(t, otherKey, b.record(value(2)))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range calls(ended, b, old) {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want %v", name, err, context.Canceled)
		}
		b.holds(t, attemptKey, value(1))
		b.holds(t, otherKey, value(2))
	}
}
