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

func testFind(t *testing.T, open Opener) {
	one, other := cache.Tag{1}, cache.Tag{2}
	second := key(cache.KindSession, "second session")
	tagged := func(b bench, tag cache.Tag) *cache.Record {
		rec := b.record(&cache.Session{Number: "+33639980001"})
		rec.Tag = tag
		return rec
	}
	t.Run("records of all kinds by their tag", func(t *testing.T) {
		b := setUp(t, open)
		b.finds(t, one)
		b.put(t, sessionKey, tagged(b, one))
		b.put(t, second, tagged(b, one))
		started := b.record(attempt(1))
		started.Tag = one
		b.replaces(t, attemptKey, nil, started, nil)
		b.put(t, otherKey, b.record(attempt(2)))
		b.put(t, key(cache.KindSession, "third session"), tagged(b, other))
		b.finds(t, one, sessionKey, second, attemptKey)
		b.finds(t, cache.Tag{})
	})
	t.Run("what was deleted is not found", func(t *testing.T) {
		b := setUp(t, open)
		b.put(t, sessionKey, tagged(b, one))
		b.put(t, second, tagged(b, one))
		b.delete(t, sessionKey)
		b.finds(t, one, second)
		b.put(t, second, &cache.Record{Value: &cache.Session{}, Tag: one})
		b.finds(t, one)
	})
	t.Run("what was replaced is found by its new tag", func(t *testing.T) {
		b := setUp(t, open)
		old := b.put(t, sessionKey, tagged(b, one))
		again := tagged(b, one)
		b.replaces(t, sessionKey, old, again, nil)
		b.finds(t, one, sessionKey)
		b.replaces(t, sessionKey, again, tagged(b, other), nil)
		b.finds(t, other, sessionKey)
	})
	t.Run("a use keeps the tag", func(t *testing.T) {
		b := setUp(t, open)
		rec := tagged(b, one)
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
	})
	t.Run("what lost a conflict is found once", func(t *testing.T) {
		b := setUp(t, open)
		b.put(t, sessionKey, tagged(b, one))
		b.replaces(t, sessionKey, nil, tagged(b, one), cache.ErrConflict)
		b.finds(t, one, sessionKey)
	})
}
