package cachetest

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// finds checks that exactly the records under keys are found by tag.
func (b bench) finds(t *testing.T, tag cache.Tag, keys ...cache.Key) {
	t.Helper()
	found, err := b.Find(t.Context(), tag)
	if err != nil {
		t.Fatalf("Find: %v", err)
	}
	var want []cache.Ref
	for _, key := range keys {
		want = append(want, key.Ref())
	}
	for _, refs := range [][]cache.Ref{found, want} {
		slices.SortFunc(refs, func(a, b cache.Ref) int { return bytes.Compare(a[:], b[:]) })
	}
	if !slices.Equal(found, want) {
		t.Fatalf("Find returns %d records, want %d: %x, %x", len(found), len(want), found, want)
	}
}

// tags returns the two tags of a record; 0 stands for none.
func tags(one, two byte) [2]cache.Tag { return [2]cache.Tag{{one}, {two}} }

var (
	one, two      = cache.Tag{1}, cache.Tag{2}
	second, third = key(cache.KindSession, "second session"), key(cache.KindSession, "third session")
)

// tagged returns a record that is found by two tags.
func (b bench) tagged(one, two byte) *cache.Record {
	rec := b.record(value(1))
	rec.Tags = tags(one, two)
	return rec
}

var findTests = []scenario{
	{"records of all kinds by each of their tags", func(t *testing.T, b bench) {
		b.finds(t, one)
		b.put(t, sessionKey, b.tagged(1, 3))
		b.put(t, second, b.tagged(0, 1))
		b.replaces(t, attemptKey, nil, b.tagged(2, 1), nil)
		b.put(t, otherKey, b.record(value(2)))
		b.put(t, third, b.tagged(2, 0))
		b.finds(t, one, sessionKey, second, attemptKey)
		b.finds(t, two, attemptKey, third)
		b.finds(t, cache.Tag{3}, sessionKey)
		b.finds(t, cache.Tag{})
	}},
	{"a record with one tag twice is found once", func(t *testing.T, b bench) {
		old := b.put(t, sessionKey, b.tagged(1, 1))
		b.finds(t, one, sessionKey)
		b.replaces(t, sessionKey, old, b.tagged(2, 1), nil)
		b.finds(t, one, sessionKey)
		b.finds(t, two, sessionKey)
		b.delete(t, sessionKey)
		b.finds(t, one)
		b.finds(t, two)
	}},
	{"what was deleted is not found", func(t *testing.T, b bench) {
		b.put(t, sessionKey, b.tagged(1, 2))
		b.put(t, second, b.tagged(1, 2))
		b.delete(t, sessionKey)
		b.finds(t, one, second)
		b.finds(t, two, second)
		b.put(t, second, &cache.Record{Value: value(1), Tags: tags(1, 2)})
		b.finds(t, one)
		b.finds(t, two)
	}},
	{"what was replaced is found by its new tags", func(t *testing.T, b bench) {
		old := b.put(t, sessionKey, b.tagged(1, 3))
		again := b.tagged(1, 3)
		b.replaces(t, sessionKey, old, again, nil)
		b.finds(t, one, sessionKey)
		b.replaces(t, sessionKey, again, b.tagged(2, 3), nil)
		b.finds(t, two, sessionKey)
		b.finds(t, cache.Tag{3}, sessionKey)
	}},
	{"a use keeps the tags", func(t *testing.T, b bench) {
		rec := b.tagged(1, 2)
		rec.Idle, rec.Touched = time.Minute, b.now()
		b.put(t, sessionKey, rec)
		for range 3 {
			b.add(40 * time.Second)
			old := b.get(t, sessionKey)
			used := *old
			used.Touched = b.now()
			b.replaces(t, sessionKey, old, &used, nil)
		}
		b.finds(t, one, sessionKey)
		b.finds(t, two, sessionKey)
	}},
	{"a use does not revive what was deleted", func(t *testing.T, b bench) {
		rec := b.tagged(1, 2)
		rec.Idle, rec.Touched = time.Minute, b.now()
		b.put(t, sessionKey, rec)
		old := b.get(t, sessionKey)
		b.delete(t, sessionKey)
		b.add(time.Second)
		used := *old
		used.Touched = b.now()
		b.replaces(t, sessionKey, old, &used, cache.ErrConflict)
		b.misses(t, sessionKey)
		b.finds(t, one)
		b.finds(t, two)
	}},
	{"what lost a conflict is found once", func(t *testing.T, b bench) {
		b.put(t, sessionKey, b.tagged(1, 2))
		b.replaces(t, sessionKey, nil, b.tagged(1, 2), cache.ErrConflict)
		b.finds(t, one, sessionKey)
	}},
}
