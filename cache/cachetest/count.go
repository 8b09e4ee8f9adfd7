package cachetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Limits as the gate sets them.
var (
	perNumber = limit("number", 3, time.Hour)
	perClient = limit("client", 5, 10*time.Minute)
	endless   = limit("endless", 1<<40, time.Hour)
)

func limit(what string, most int64, window time.Duration) cache.Limit {
	return cache.Limit{Key: key(cache.KindCount, what), Max: most, Window: window}
}

// counts counts an event, which no limit may refuse.
func (b bench) counts(t *testing.T, limits ...cache.Limit) []cache.Counted {
	t.Helper()
	counted, err := b.Count(t.Context(), limits)
	if err != nil {
		t.Fatalf("Count: %v", err)
	}
	return counted
}

// limited checks that limits[which] is reached, and returns the time until it has
// room.
func (b bench) limited(t *testing.T, which int, limits ...cache.Limit) time.Duration {
	t.Helper()
	counted, err := b.Count(t.Context(), limits)
	var reached *cache.LimitError
	if !errors.As(err, &reached) || counted != nil {
		t.Fatalf("Count = %v, %v, want a LimitError", counted, err)
	}
	if reached.Limit != which {
		t.Fatalf("limit %d is reached, want %d", reached.Limit, which)
	}
	return reached.Retry
}

var countTests = []scenario{
	{"up to the limit and not beyond", func(t *testing.T, b bench) {
		for i := range perNumber.Max {
			if counted := b.counts(t, perNumber); len(counted) != 1 || counted[0].Total != i+1 {
				t.Fatalf("counted %+v, want a total of %d", counted, i+1)
			}
		}
		b.limited(t, 0, perNumber)
		b.counts(t, limit("another number", 3, time.Hour))
		b.counts(t, limit("number", 3, 2*time.Hour))
	}},
	{"of several limits all count or none", func(t *testing.T, b bench) {
		for range perNumber.Max {
			b.counts(t, perClient, perNumber)
		}
		for range 5 {
			b.limited(t, 1, perClient, perNumber)
		}
		b.counts(t, perClient)
		b.counts(t, perClient)
		if retry := b.limited(t, 1, perClient, perNumber); retry < 50*time.Minute {
			t.Errorf("free again in %v, but the number takes an hour", retry)
		}
		b.limited(t, 0, perClient)
	}},
	{"an event does not count twice", func(t *testing.T, b bench) {
		if counted, err := b.Count(t.Context(), []cache.Limit{perNumber, perClient, perNumber}); err == nil {
			t.Errorf("Count = %v", counted)
		}
		if counted := b.counts(t, perNumber); counted[0].Total != 1 {
			t.Errorf("%d are counted", counted[0].Total)
		}
	}},
	{"free again when the oldest has left, as Retry says", testRetry},
	{"a clock that steps back frees nothing, one that stepped forth does not count for ever", func(t *testing.T, b bench) {
		for range perNumber.Max {
			b.counts(t, perNumber)
		}
		b.add(-30 * time.Minute)
		b.limited(t, 0, perNumber)
		b.add(-30 * time.Minute)
		b.add(1000 * time.Hour)
		for range perNumber.Max {
			b.counts(t, perNumber)
		}
		b.add(-1000 * time.Hour)
		for range perNumber.Max {
			b.counts(t, perNumber)
		}
		b.limited(t, 0, perNumber)
		b.add(2 * time.Hour)
		b.counts(t, perNumber)
	}},
	{"what was taken back frees its place", testUncount},
	{"a total, where it can be read, is what the limit counts", testTotal},
	{"a parallel burst gets exactly its limits", testBurst},
}

func testRetry(t *testing.T, b bench) {
	const part = time.Hour / 64
	b.counts(t, perNumber)
	b.add(20 * time.Minute)
	b.counts(t, perNumber)
	b.counts(t, perNumber)
	retry := b.limited(t, 0, perNumber)
	if least := 40 * time.Minute; retry < least || retry > least+part {
		t.Fatalf("free again in %v, want %v to %v", retry, least, least+part)
	}
	b.add(retry - time.Millisecond)
	b.limited(t, 0, perNumber)
	b.add(time.Millisecond)
	b.counts(t, perNumber)
	retry = b.limited(t, 0, perNumber)
	b.add(retry)
	b.counts(t, perNumber)
	b.counts(t, perNumber)
	b.limited(t, 0, perNumber)
	b.add(2 * time.Hour)
	for range perNumber.Max {
		b.counts(t, perNumber)
	}
}

func testUncount(t *testing.T, b bench) {
	uncount := func(counted []cache.Counted) {
		t.Helper()
		if err := b.Uncount(t.Context(), counted); err != nil {
			t.Fatalf("Uncount: %v", err)
		}
	}
	first := b.counts(t, perNumber, perClient)
	b.add(10 * time.Minute)
	b.counts(t, perNumber)
	b.counts(t, perNumber)
	b.limited(t, 0, perNumber)
	uncount(first)
	b.counts(t, perNumber)
	b.limited(t, 0, perNumber)
	b.add(3 * time.Hour)
	for range perNumber.Max {
		b.counts(t, perNumber)
	}
	uncount(first) // counts no more: frees nothing
	b.limited(t, 0, perNumber)
	uncount([]cache.Counted{{Counter: key(cache.KindCount, "never counted")}})
	uncount(nil)
}

// testTotal passes where the cache is no cache.Totaler.
func testTotal(t *testing.T, b bench) {
	totaler, ok := b.Cache.(cache.Totaler)
	if !ok {
		return
	}
	is := func(want int64) {
		t.Helper()
		if n, err := totaler.Total(t.Context(), perNumber); n != want || err != nil {
			t.Fatalf("Total = %d, %v, want %d", n, err, want)
		}
	}
	is(0)
	b.counts(t, perClient)
	b.counts(t, limit("number", 3, 2*time.Hour))
	is(0)
	first := b.counts(t, perNumber)
	b.add(20 * time.Minute)
	b.counts(t, perNumber)
	b.counts(t, perNumber)
	is(perNumber.Max)
	b.limited(t, 0, perNumber)
	b.add(42 * time.Minute)
	is(2)
	if err := b.Uncount(t.Context(), append(first, b.counts(t, perNumber)...)); err != nil {
		t.Fatal(err)
	}
	is(2)
	b.add(2 * time.Hour)
	is(0)
}

func testBurst(t *testing.T, b bench) {
	const burst = 200
	all, own := limit("all", 60, time.Hour), make([]cache.Limit, 4)
	for i := range own {
		own[i] = limit(fmt.Sprint("own ", i), 20, time.Hour)
	}
	var passed atomic.Int64
	each := make([]atomic.Int64, len(own))
	together(burst, func(i int) {
		which := i % len(own)
		_, err := b.Count(t.Context(), []cache.Limit{own[which], all})
		var reached *cache.LimitError
		switch {
		case err == nil:
			passed.Add(1)
			each[which].Add(1)
		case !errors.As(err, &reached):
			t.Errorf("Count: %v", err)
		}
	})
	if n := passed.Load(); n != all.Max {
		t.Errorf("%d of %d passed, want %d", n, burst, all.Max)
	}
	for i := range each {
		if n := each[i].Load(); n > own[i].Max {
			t.Errorf("%d passed the limit of %d", n, own[i].Max)
		}
	}
}
