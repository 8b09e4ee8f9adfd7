package cachetest

import (
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// RunDurable tests that records survive the closing of a cache. setUp makes a new
// store and returns how to open it; the tests open it, close it, and open it again.
func RunDurable(t *testing.T, setUp func(t *testing.T, now func() time.Time) (reopen func() cache.Cache)) {
	t.Helper()
	tests := []struct {
		name string
		test func(*testing.T, *durable)
	}{
		{"records of every kind are kept", testValuesKept},
		{"what was deleted or replaced stays so", testEndKept},
		{"lives go on", testLivesKept},
		{"tags and counts are kept", testIndexKept},
		{"labels are kept, and sessions are found, before anybody opens them", testLabelsKept},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clock := newClock()
			d := &durable{reopen: setUp(t, clock.now)}
			d.bench = bench{d.reopen(), clock}
			t.Cleanup(func() { _ = d.Close() })
			test.test(t, d)
		})
	}
}

// durable is a bench whose cache can be closed and opened again.
type durable struct {
	bench
	reopen func() cache.Cache
}

func (d *durable) again(t *testing.T) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	d.Cache = d.reopen()
}

func testValuesKept(t *testing.T, d *durable) {
	for _, kind := range kinds {
		d.put(t, key(kind, "full"), d.record(value(1)))
		d.put(t, key(kind, "empty"), d.record(&Value{}))
	}
	for range 2 {
		d.again(t)
		for _, kind := range kinds {
			d.holds(t, key(kind, "full"), value(1))
			d.holds(t, key(kind, "empty"), &Value{})
		}
	}
}

func testEndKept(t *testing.T, d *durable) {
	d.put(t, sessionKey, d.record(value(1)))
	d.put(t, attemptKey, d.record(value(1)))
	d.again(t)
	d.delete(t, sessionKey) // before anybody has read it with its key
	d.replaces(t, attemptKey, nil, d.record(value(2)), cache.ErrConflict)
	d.replaces(t, attemptKey, d.get(t, attemptKey), d.record(value(3)), nil)
	d.again(t)
	d.misses(t, sessionKey)
	d.holds(t, attemptKey, value(3))
}

func testLivesKept(t *testing.T, d *durable) {
	idle := d.record(value(2))
	idle.Idle, idle.Touched = 10*time.Minute, d.now()
	d.put(t, sessionKey, idle)
	d.put(t, attemptKey, d.record(value(1)))
	d.add(9 * time.Minute)
	used := &cache.Record{Value: idle.Value, Expires: idle.Expires, Idle: idle.Idle, Touched: d.now()}
	d.replaces(t, sessionKey, idle, used, nil)
	d.again(t)
	d.add(9 * time.Minute)
	d.holds(t, sessionKey, value(2))
	d.add(2 * time.Minute)
	d.misses(t, sessionKey)
	d.add(time.Hour)
	d.misses(t, attemptKey)
	d.again(t)
	d.misses(t, sessionKey)
	d.misses(t, attemptKey)
}

func testIndexKept(t *testing.T, d *durable) {
	tagged := d.record(value(1))
	tagged.Tags = tags(1, 2)
	d.put(t, sessionKey, tagged)
	d.counts(t, perNumber)
	counted := d.counts(t, perNumber)
	d.put(t, otherKey, d.record(value(1))) // before it a crash may undo the counts
	d.again(t)
	d.finds(t, cache.Tag{1}, sessionKey)
	d.finds(t, cache.Tag{2}, sessionKey)
	if err := d.Uncount(t.Context(), counted); err != nil {
		t.Fatalf("Uncount: %v", err)
	}
	d.again(t)
	d.counts(t, perNumber)
	d.counts(t, perNumber)
	d.limited(t, 0, perNumber)
	d.delete(t, sessionKey)
	d.again(t)
	d.finds(t, cache.Tag{1})
	d.finds(t, cache.Tag{2})
}

func testLabelsKept(t *testing.T, d *durable) {
	d.put(t, sessionKey, d.labelled("one"))
	d.put(t, second, d.labelled("two"))
	d.put(t, third, d.record(value(1)))
	d.put(t, attemptKey, d.labelled("of an attempt"))
	for range 2 {
		d.again(t)
		d.walks(t, sessionKey, second, third)
		d.hasLabel(t, sessionKey, "one")
		d.hasLabel(t, third, "")
		d.hasLabel(t, attemptKey, "of an attempt")
	}
	d.delete(t, second)
	d.walks(t, sessionKey, third)
	d.add(40 * time.Second)
	d.use(t, sessionKey)
	d.again(t)
	d.add(40 * time.Second)
	d.walks(t, sessionKey, third)
	d.hasLabel(t, sessionKey, "one")
	d.hasNoLabel(t, second)
}
