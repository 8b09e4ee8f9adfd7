package cachetest

import (
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// valueTests test that records of each kind come back as they were stored.
func valueTests() (tests []scenario) {
	for name, kind := range kinds {
		tests = append(tests, scenario{name, func(t *testing.T, b bench) {
			full, empty := key(kind, "full"), key(kind, "empty")
			b.misses(t, full)
			want := cache.Record{
				Value: value(1), Expires: b.in(time.Hour), Idle: time.Minute, Touched: b.now(), Tags: tags(1, 2), Label: []byte("label"),
			}
			stored := want
			b.put(t, full, &stored)
			b.put(t, empty, b.record(&Value{}))
			b.holds(t, empty, &Value{})

			got := b.get(t, full)
			if !sameRecord(got, &want) {
				t.Fatalf("Get returns %+v, Put stored %+v", got, want)
			}
			b.replaces(t, full, got, b.record(&Value{}), nil)
			b.holds(t, full, &Value{})
			b.delete(t, full)
			b.misses(t, full)
			b.holds(t, empty, &Value{})
		}})
	}
	return tests
}

var writeTests = []scenario{
	{"Put takes the place of whatever stood there", func(t *testing.T, b bench) {
		b.put(t, attemptKey, b.record(value(1)))
		b.put(t, attemptKey, b.record(value(2)))
		b.holds(t, attemptKey, value(2))
	}},
	{"Put of a record without life left deletes", func(t *testing.T, b bench) {
		for name, dead := range dead(b) {
			t.Run(name, func(t *testing.T) {
				b.put(t, attemptKey, b.record(value(1)))
				b.put(t, attemptKey, dead)
				b.misses(t, attemptKey)
				b.put(t, attemptKey, dead)
				b.misses(t, attemptKey)
			})
		}
	}},
	{"Delete of nothing is no error", func(t *testing.T, b bench) {
		b.delete(t, attemptKey)
		b.put(t, attemptKey, b.record(value(1)))
		b.delete(t, attemptKey)
		b.delete(t, attemptKey)
		b.misses(t, attemptKey)
	}},
	{"records of other kinds, realms and secrets stay apart", func(t *testing.T, b bench) {
		apart := []cache.Key{
			attemptKey,
			{Kind: cache.KindPress, Realm: attemptKey.Realm, Secret: attemptKey.Secret},
			{Kind: attemptKey.Kind, Realm: "www.example.org", Secret: attemptKey.Secret},
			{Kind: attemptKey.Kind, Realm: attemptKey.Realm, Secret: attemptKey.Secret + "s"},
			{Kind: attemptKey.Kind, Realm: attemptKey.Realm + "a", Secret: attemptKey.Secret[1:]},
		}
		for i, key := range apart {
			b.misses(t, key)
			b.put(t, key, b.record(value(i)))
		}
		for i, key := range apart {
			b.holds(t, key, value(i))
			b.delete(t, key)
			b.misses(t, key)
		}
	}},
	{"a record that was read does not change with later writes", func(t *testing.T, b bench) {
		b.put(t, attemptKey, b.record(value(1)))
		read := b.get(t, attemptKey)
		version, expires := read.Version, read.Expires
		later := b.record(value(2))
		later.Expires = b.in(2 * time.Hour)
		b.replaces(t, attemptKey, read, later, nil)
		b.put(t, attemptKey, b.record(value(3)))
		b.delete(t, attemptKey)
		if !sameValue(read.Value, value(1)) || read.Version != version || !read.Expires.Equal(expires) {
			t.Errorf("the record became %+v", read)
		}
	}},
}

// dead returns records that have no life left.
func dead(b bench) map[string]*cache.Record {
	return map[string]*cache.Record{
		"ends now":      {Value: value(9), Expires: b.now()},
		"has ended":     {Value: value(9), Expires: b.in(-time.Hour)},
		"has no end":    {Value: value(9)},
		"idle so long":  {Value: value(9), Expires: b.in(time.Hour), Idle: time.Minute, Touched: b.in(-time.Minute)},
		"never touched": {Value: value(9), Expires: b.in(time.Hour), Idle: time.Minute},
	}
}

var replaceTests = []scenario{
	{"nil stores where nothing lives", func(t *testing.T, b bench) {
		b.replaces(t, attemptKey, nil, b.record(value(1)), nil)
		b.holds(t, attemptKey, value(1))
		b.replaces(t, attemptKey, nil, b.record(value(2)), cache.ErrConflict)
		b.holds(t, attemptKey, value(1))
	}},
	{"nil stores where the record has expired", func(t *testing.T, b bench) {
		b.put(t, attemptKey, b.record(value(1)))
		b.add(time.Hour)
		b.replaces(t, attemptKey, nil, b.record(value(2)), nil)
		b.holds(t, attemptKey, value(2))
	}},
	{"nil stores where the claim has expired", func(t *testing.T, b bench) {
		claim := key(cache.KindClaim, "token")
		b.replaces(t, claim, nil, b.record(value(1)), nil)
		b.add(time.Hour - time.Millisecond)
		b.replaces(t, claim, nil, b.record(value(2)), cache.ErrConflict)
		b.add(time.Millisecond)
		b.replaces(t, claim, nil, b.record(value(2)), nil)
	}},
	{"nil stores after Delete", func(t *testing.T, b bench) {
		b.put(t, attemptKey, b.record(value(1)))
		b.delete(t, attemptKey)
		b.replaces(t, attemptKey, nil, b.record(value(2)), nil)
		b.holds(t, attemptKey, value(2))
	}},
	{"the record that was read is replaced once", func(t *testing.T, b bench) {
		b.put(t, attemptKey, b.record(value(1)))
		old := b.get(t, attemptKey)
		b.replaces(t, attemptKey, old, b.record(value(2)), nil)
		b.replaces(t, attemptKey, old, b.record(value(3)), cache.ErrConflict)
		b.holds(t, attemptKey, value(2))
	}},
	{"the record that was stored stands for the one read", func(t *testing.T, b bench) {
		first, second := b.record(value(1)), b.record(value(2))
		b.replaces(t, attemptKey, nil, first, nil)
		b.replaces(t, attemptKey, first, second, nil)
		b.replaces(t, attemptKey, second, b.record(value(3)), nil)
		b.replaces(t, attemptKey, second, b.record(value(4)), cache.ErrConflict)
		b.holds(t, attemptKey, value(3))
	}},
	{"a record that was never stored conflicts", func(t *testing.T, b bench) {
		b.put(t, attemptKey, b.record(value(1)))
		b.replaces(t, attemptKey, b.record(value(1)), b.record(value(2)), cache.ErrConflict)
		b.holds(t, attemptKey, value(1))
	}},
	{"a record without life left deletes what it replaces", func(t *testing.T, b bench) {
		for name, dead := range dead(b) {
			t.Run(name, func(t *testing.T) {
				old := b.put(t, attemptKey, b.record(value(1)))
				b.replaces(t, attemptKey, nil, dead, cache.ErrConflict)
				b.holds(t, attemptKey, value(1))
				b.replaces(t, attemptKey, old, dead, nil)
				b.misses(t, attemptKey)
				b.replaces(t, attemptKey, old, dead, cache.ErrConflict)
				b.replaces(t, attemptKey, nil, dead, nil)
				b.misses(t, attemptKey)
			})
		}
	}},
	{"the version changes with each write", func(t *testing.T, b bench) {
		seen := make(map[uint64]bool)
		for i := range 20 {
			if i%5 == 4 {
				b.delete(t, attemptKey)
			}
			b.put(t, attemptKey, b.record(value(1)))
			read := b.get(t, attemptKey)
			replacing := b.record(value(1))
			b.replaces(t, attemptKey, read, replacing, nil)
			if again := b.get(t, attemptKey); again.Version != replacing.Version {
				t.Fatalf("version is %d, Replace said %d", again.Version, replacing.Version)
			}
			if seen[read.Version] || seen[replacing.Version] || read.Version == replacing.Version {
				t.Fatalf("version %d or %d was used before", read.Version, replacing.Version)
			}
			seen[read.Version], seen[replacing.Version] = true, true
		}
	}},
}

// staleTests test that a record that was read before a change cannot be replaced after
// it, even if the same value is back: a burned attempt stays burned.
func staleTests() (tests []scenario) {
	for name, change := range map[string]struct {
		make func(*testing.T, bench)
		want *Value // what lives then; nil for nothing
	}{
		"Put":             {func(t *testing.T, b bench) { b.put(t, attemptKey, b.record(value(2))) }, value(2)},
		"Put of the same": {func(t *testing.T, b bench) { b.put(t, attemptKey, b.record(value(1))) }, value(1)},
		"Delete":          {func(t *testing.T, b bench) { b.delete(t, attemptKey) }, nil},
		"Delete and Put of the same": {func(t *testing.T, b bench) {
			b.delete(t, attemptKey)
			b.put(t, attemptKey, b.record(value(1)))
		}, value(1)},
		"Put without life left and a new beginning": {func(t *testing.T, b bench) {
			b.put(t, attemptKey, &cache.Record{Value: value(1), Expires: b.now()})
			b.replaces(t, attemptKey, nil, b.record(value(1)), nil)
		}, value(1)},
		"its end": {func(_ *testing.T, b bench) { b.add(time.Hour) }, nil},
	} {
		tests = append(tests, scenario{"after " + name, func(t *testing.T, b bench) {
			b.put(t, attemptKey, b.record(value(1)))
			old := b.get(t, attemptKey)
			change.make(t, b)
			b.replaces(t, attemptKey, old, b.record(value(3)), cache.ErrConflict)
			if change.want == nil {
				b.misses(t, attemptKey)
				return
			}
			b.holds(t, attemptKey, change.want)
		}})
	}
	return tests
}
