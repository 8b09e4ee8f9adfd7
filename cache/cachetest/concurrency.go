package cachetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// together calls f(0) to f(n-1) at the same time, and waits for all of them.
func together(n int, f func(i int)) {
	begin := make(chan struct{})
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			<-begin
			f(i)
		})
	}
	close(begin)
	running.Wait()
}

var concurrencyTests = []scenario{
	{"of 300 who begin the same attempt exactly one succeeds", func(t *testing.T, b bench) {
		testOneWins(t, b, nil)
	}},
	{"of 300 who replace the same record exactly one succeeds", func(t *testing.T, b bench) {
		testOneWins(t, b, b.put(t, attemptKey, b.record(value(1000))))
	}},
	{"2,000 single-use records are taken exactly once each", testTakenOnce},
	{"no reader sees a mixture of two records", testWhole},
	{"no update is lost", testNoneLost},
	{"the answers about attempts fit one order of the calls", func(t *testing.T, b bench) {
		testHistory(t, b, cache.KindAttempt)
	}},
	{"the answers about sessions fit one order of the calls", func(t *testing.T, b bench) {
		testHistory(t, b, cache.KindSession)
	}},
}

func testOneWins(t *testing.T, b bench, old *cache.Record) {
	var winner, winners atomic.Int64
	together(300, func(i int) {
		err := b.Replace(t.Context(), attemptKey, old, b.record(value(i)))
		switch {
		case err == nil:
			winners.Add(1)
			winner.Store(int64(i))
		case !errors.Is(err, cache.ErrConflict):
			t.Errorf("Replace: %v", err)
		}
	})
	if n := winners.Load(); n != 1 {
		t.Fatalf("%d succeeded", n)
	}
	b.holds(t, attemptKey, value(int(winner.Load())))
}

// testTakenOnce repeats a callback: each taker reads an attempt and tries to end it,
// and only one may succeed.
func testTakenOnce(t *testing.T, b bench) {
	const records, takers = 2_000, 8
	ended := &Value{Text: "ended"}
	name := func(i int) cache.Key { return key(cache.KindAttempt, fmt.Sprint("attempt ", i)) }
	together(takers, func(part int) {
		for i := part; i < records; i += takers {
			if err := b.Put(t.Context(), name(i), b.record(value(i))); err != nil {
				t.Errorf("Put: %v", err)
			}
		}
	})
	taken := make([]atomic.Int64, records)
	together(takers, func(int) {
		for i := range records {
			old, err := b.Get(t.Context(), name(i))
			if err != nil {
				t.Errorf("Get: %v", err)
				return
			}
			if sameValue(old.Value, ended) {
				continue
			}
			err = b.Replace(t.Context(), name(i), old, b.record(ended))
			switch {
			case err == nil:
				taken[i].Add(1)
			case !errors.Is(err, cache.ErrConflict):
				t.Errorf("Replace: %v", err)
			}
		}
	})
	for i := range taken {
		if n := taken[i].Load(); n != 1 {
			t.Fatalf("attempt %d was taken %d times", i, n)
		}
	}
}

func testWhole(t *testing.T, b bench) {
	const rounds = 100
	b.put(t, attemptKey, b.record(value(0)))
	together(8, func(i int) {
		for n := range rounds {
			if i%2 == 0 {
				if err := b.Put(t.Context(), attemptKey, b.record(value(i*rounds+n))); err != nil {
					t.Errorf("Put: %v", err)
				}
				continue
			}
			rec, err := b.Get(t.Context(), attemptKey)
			if err != nil {
				t.Errorf("Get: %v", err)
				return
			}
			if v, ok := rec.Value.(*Value); !ok || !v.whole() {
				t.Errorf("read %+v", rec.Value)
				return
			}
		}
	})
}

// testNoneLost counts in one record, where the sum would show a lost update.
func testNoneLost(t *testing.T, b bench) {
	const writers, each = 8, 50
	b.put(t, attemptKey, b.record(&Value{}))
	together(writers, func(int) {
		for done := 0; done < each; {
			old, err := b.Get(t.Context(), attemptKey)
			if err != nil {
				t.Errorf("Get: %v", err)
				return
			}
			more := &Value{N: old.Value.(*Value).N + 1}
			err = b.Replace(t.Context(), attemptKey, old, b.record(more))
			switch {
			case err == nil:
				done++
			case !errors.Is(err, cache.ErrConflict):
				t.Errorf("Replace: %v", err)
				return
			}
		}
	})
	b.holds(t, attemptKey, &Value{N: writers * each})
}

func testHistory(t *testing.T, b bench, kind cache.Kind) {
	h := &History{Kind: kind}
	h.Run(t.Context(), b, 4, 250)
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}

var closeTests = []scenario{
	{"what is called later returns ErrClosed", func(t *testing.T, b bench) {
		old := b.put(t, attemptKey, b.record(value(1)))
		if err := b.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		for name, call := range calls(t.Context(), b, old) {
			if err := call(); !errors.Is(err, cache.ErrClosed) {
				t.Errorf("%s = %v, want ErrClosed", name, err)
			}
		}
		if err := b.Close(); !errors.Is(err, cache.ErrClosed) {
			t.Errorf("second Close = %v, want ErrClosed", err)
		}
	}},
	{"a cache that is closed while in use never answers with a miss", testCloseInUse},
}

// calls returns a call of each method of a cache except Close. old is under
// attemptKey, and no call deletes it.
func calls(ctx context.Context, b bench, old *cache.Record) map[string]func() error {
	return map[string]func() error{
		"Get":              func() error { _, err := b.Get(ctx, attemptKey); return err },
		"Put":              func() error { return b.Put(ctx, attemptKey, b.record(value(4))) },
		"Replace":          func() error { return b.Replace(ctx, attemptKey, old, b.record(value(2))) },
		"Replace with nil": func() error { return b.Replace(ctx, attemptKey, nil, b.record(value(3))) },
		"Delete":           func() error { return b.Delete(ctx, otherKey.Ref()) },
		"Find":             func() error { _, err := b.Find(ctx, cache.Tag{1}); return err },
		"Label":            func() error { _, err := b.Label(ctx, attemptKey.Ref()); return err },
		"Walk":             func() error { return b.Walk(ctx, func(cache.Ref) error { return nil }) },
		"Sessions":         func() error { _, err := b.Sessions(ctx); return err },
		"Count":            func() error { _, err := b.Count(ctx, []cache.Limit{endless}); return err },
		"Uncount":          func() error { return b.Uncount(ctx, []cache.Counted{{Counter: endless.Counter()}}) },
	}
}

func testCloseInUse(t *testing.T, b bench) {
	old := b.put(t, attemptKey, b.record(value(1)))
	var users sync.WaitGroup
	var used, closed atomic.Int64
	enough := make(chan struct{})
	for name, call := range calls(t.Context(), b, old) {
		for range 4 {
			users.Go(func() {
				for closed.Load() == 0 {
					err := call()
					if used.Add(1) == 500 {
						close(enough)
					}
					if err == nil || errors.Is(err, cache.ErrConflict) {
						continue
					}
					if !errors.Is(err, cache.ErrClosed) {
						t.Errorf("%s = %v", name, err)
					}
					return
				}
				if err := call(); !errors.Is(err, cache.ErrClosed) {
					t.Errorf("%s after Close = %v, want ErrClosed", name, err)
				}
			})
		}
	}
	select {
	case <-enough:
	case <-time.After(30 * time.Second):
		t.Error("the cache hangs")
	}
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	closed.Store(1)
	users.Wait()
}
