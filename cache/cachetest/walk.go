package cachetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// labelled returns a record that has a label, and ends if it is not used for a minute.
func (b bench) labelled(label string) *cache.Record {
	rec := b.idle()
	rec.Label = []byte(label)
	return rec
}

// use stores a use of the session under key.
func (b bench) use(t *testing.T, key cache.Key) {
	t.Helper()
	old := b.get(t, key)
	used := *old
	used.Touched = b.now()
	b.replaces(t, key, old, &used, nil)
}

// hasLabel checks that the label of the record under key is want.
func (b bench) hasLabel(t *testing.T, key cache.Key, want string) {
	t.Helper()
	if label, err := b.Label(t.Context(), key.Ref()); err != nil || string(label) != want {
		t.Fatalf("Label = %q, %v, want %q", label, err, want)
	}
}

// hasNoLabel checks that there is no record under key.
func (b bench) hasNoLabel(t *testing.T, key cache.Key) {
	t.Helper()
	if label, err := b.Label(t.Context(), key.Ref()); label != nil || !errors.Is(err, cache.ErrNotFound) {
		t.Fatalf("Label = %q, %v, want ErrNotFound", label, err)
	}
}

var labelTests = []scenario{
	{"a label is found without the key, and read with it", func(t *testing.T, b bench) {
		b.hasNoLabel(t, sessionKey)
		b.put(t, sessionKey, b.labelled("one"))
		b.put(t, second, b.labelled("two"))
		b.put(t, third, b.record(value(1)))
		b.hasLabel(t, sessionKey, "one")
		b.hasLabel(t, second, "two")
		b.hasLabel(t, third, "")
		if rec := b.get(t, second); string(rec.Label) != "two" {
			t.Errorf("Get returns the label %q", rec.Label)
		}
		b.hasLabel(t, second, "two")
	}},
	{"a label goes with its record", func(t *testing.T, b bench) {
		old := b.put(t, sessionKey, b.labelled("one"))
		b.replaces(t, sessionKey, nil, b.labelled("two"), cache.ErrConflict)
		b.hasLabel(t, sessionKey, "one")
		b.replaces(t, sessionKey, old, b.labelled("three"), nil)
		b.hasLabel(t, sessionKey, "three")
		b.put(t, sessionKey, b.record(value(1)))
		b.hasLabel(t, sessionKey, "")
		b.put(t, sessionKey, b.labelled("four"))
		b.delete(t, sessionKey)
		b.hasNoLabel(t, sessionKey)
		b.put(t, sessionKey, b.labelled("five"))
		b.put(t, sessionKey, &cache.Record{Value: value(1)})
		b.hasNoLabel(t, sessionKey)
	}},
	{"a use keeps the label", func(t *testing.T, b bench) {
		b.put(t, sessionKey, b.labelled("one"))
		for range 3 {
			b.add(40 * time.Second)
			b.use(t, sessionKey)
			b.hasLabel(t, sessionKey, "one")
		}
	}},
	{"a label of any bytes and usual length", func(t *testing.T, b bench) {
		label := string(bytes.Repeat([]byte{0, 0xff, '\n'}, 100))
		b.put(t, sessionKey, b.labelled(label))
		b.hasLabel(t, sessionKey, label)
	}},
}

// visits returns the sessions that a walk visits, each once.
func (b bench) visits(t *testing.T) map[cache.Ref]bool {
	t.Helper()
	visited := make(map[cache.Ref]bool)
	err := b.Walk(t.Context(), func(ref cache.Ref) error { visited[ref] = true; return nil })
	if err != nil {
		t.Fatalf("Walk: %v", err)
	}
	return visited
}

// walks checks that a walk visits exactly the sessions under keys, and that they are
// counted.
func (b bench) walks(t *testing.T, keys ...cache.Key) {
	t.Helper()
	visited := b.visits(t)
	for _, key := range keys {
		if !visited[key.Ref()] {
			t.Fatalf("the walk misses %q", key.Secret)
		}
	}
	if len(visited) != len(keys) {
		t.Fatalf("the walk visits %d sessions, want %d", len(visited), len(keys))
	}
	if n, err := b.Sessions(t.Context()); err != nil || n != int64(len(keys)) {
		t.Fatalf("Sessions = %d, %v, want %d", n, err, len(keys))
	}
}

var walkTests = []scenario{
	{"a walk visits sessions and nothing else", func(t *testing.T, b bench) {
		b.walks(t)
		for _, kind := range kinds {
			b.put(t, key(kind, "record"), b.tagged(1, 2))
		}
		b.counts(t, perNumber)
		b.walks(t, key(cache.KindSession, "record"))
		b.put(t, second, b.labelled("two"))
		b.replaces(t, third, nil, b.record(value(1)), nil)
		b.walks(t, key(cache.KindSession, "record"), second, third)
	}},
	{"what was deleted is not visited", func(t *testing.T, b bench) {
		old := b.put(t, sessionKey, b.record(value(1)))
		b.put(t, second, b.record(value(1)))
		b.put(t, third, b.record(value(1)))
		b.delete(t, sessionKey)
		b.walks(t, second, third)
		b.replaces(t, sessionKey, old, b.record(value(2)), cache.ErrConflict)
		b.walks(t, second, third)
		b.put(t, second, &cache.Record{Value: value(1)})
		b.walks(t, third)
		b.replaces(t, third, b.get(t, third), &cache.Record{Value: value(1)}, nil)
		b.walks(t)
		b.put(t, sessionKey, b.record(value(3)))
		b.walks(t, sessionKey)
	}},
	{"what was replaced is visited and counts once", func(t *testing.T, b bench) {
		old := b.put(t, sessionKey, b.record(value(1)))
		b.replaces(t, sessionKey, nil, b.record(value(2)), cache.ErrConflict)
		b.replaces(t, sessionKey, old, b.record(value(3)), nil)
		b.put(t, sessionKey, b.record(value(4)))
		b.walks(t, sessionKey)
	}},
	{"what is used goes on to be visited", func(t *testing.T, b bench) {
		b.put(t, sessionKey, b.idle())
		for range 3 {
			b.add(40 * time.Second)
			b.use(t, sessionKey)
			b.walks(t, sessionKey)
		}
	}},
	{"what has ended is soon neither visited nor counted", func(t *testing.T, b bench) {
		b.put(t, sessionKey, b.record(value(1)))
		b.put(t, second, b.idle())
		b.put(t, third, &cache.Record{Value: value(1), Expires: b.in(3 * time.Hour)})
		b.walks(t, sessionKey, second, third)
		for _, left := range []struct {
			keys []cache.Key
			past time.Duration
		}{
			{[]cache.Key{sessionKey, third}, minute},
			{[]cache.Key{third}, hour},
			{nil, 2 * hour},
		} {
			b.add(left.past)
			if visited := b.visits(t); len(visited) != len(left.keys) {
				t.Errorf("%v later %d are visited, want %d", left.past, len(visited), len(left.keys))
			}
		}
	}},
	{"a walk ends where its visitor says so", func(t *testing.T, b bench) {
		for i := range 10 {
			b.put(t, key(cache.KindSession, fmt.Sprint(i)), b.record(value(i)))
		}
		enough, visited := errors.New("enough"), 0
		err := b.Walk(t.Context(), func(cache.Ref) error {
			if visited++; visited == 3 {
				return enough
			}
			return nil
		})
		if err != enough || visited != 3 {
			t.Errorf("Walk = %v after %d visits", err, visited)
		}
	}},
	{"a visitor may use the cache, and end what it visits", func(t *testing.T, b bench) {
		for i := range 300 {
			b.put(t, key(cache.KindSession, fmt.Sprint(i)), b.labelled(fmt.Sprint(i)))
		}
		var labels []string
		err := b.Walk(t.Context(), func(ref cache.Ref) error {
			label, err := b.Label(t.Context(), ref)
			labels = append(labels, string(label))
			return errors.Join(err, b.Delete(t.Context(), ref))
		})
		slices.Sort(labels)
		if err != nil || len(labels) != 300 || len(slices.Compact(labels)) != 300 {
			t.Errorf("Walk = %v, with %d labels", err, len(labels))
		}
		b.walks(t)
	}},
	{"a walk misses no session, whatever is used, stored and deleted meanwhile", testWalkAmidWrites},
	{"after writes and deletes at the same time just what lives is visited and counted", testWalkAfterWrites},
}

// testWalkAmidWrites walks over sessions that are used all the time, and so end later
// and later, while others come and go.
func testWalkAmidWrites(t *testing.T, b bench) {
	const sessions, walks = 1_100, 4
	name := func(i int) cache.Key { return key(cache.KindSession, fmt.Sprint("session ", i)) }
	for i := range sessions {
		b.put(t, name(i), b.labelled("label"))
	}
	if visited := b.visits(t); len(visited) != sessions {
		t.Fatalf("of %d that end at the same time %d are visited", sessions, len(visited))
	}
	var over atomic.Bool
	var writing sync.WaitGroup
	write := func(do func(n int) error) {
		writing.Go(func() {
			for n := 0; !over.Load(); n++ {
				if err := do(n); err != nil && !errors.Is(err, cache.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	write(func(n int) error {
		old, err := b.Get(t.Context(), name(n*7%sessions))
		if err != nil {
			return err
		}
		if n%100 == 0 && n < 100*1000 {
			b.add(moment) // up to a second
		}
		used := *old
		used.Touched = b.now()
		return b.Replace(t.Context(), name(n*7%sessions), old, &used)
	})
	write(func(n int) error {
		return b.Put(t.Context(), name(sessions+n%1000), b.labelled("another"))
	})
	write(func(n int) error {
		return b.Delete(t.Context(), name(sessions+n%1000).Ref())
	})
	for range walks {
		visited := b.visits(t)
		for i := range sessions {
			if !visited[name(i).Ref()] {
				t.Errorf("session %d is missed", i)
			}
		}
		if n, err := b.Sessions(t.Context()); err != nil || n < sessions {
			t.Errorf("Sessions = %d, %v", n, err)
		}
	}
	over.Store(true)
	writing.Wait()
}

// testWalkAfterWrites has many store and delete the same few sessions.
func testWalkAfterWrites(t *testing.T, b bench) {
	const sessions, rounds = 4, 30
	name := func(i int) cache.Key { return key(cache.KindSession, fmt.Sprint("session ", i)) }
	for range rounds {
		together(3*sessions, func(i int) {
			key := name(i % sessions)
			switch i / sessions {
			case 0:
				must(t, b.Put(t.Context(), key, b.record(value(i))))
			case 1:
				must(t, b.Delete(t.Context(), key.Ref()))
			default:
				old, err := b.Get(t.Context(), key)
				if errors.Is(err, cache.ErrNotFound) {
					err = nil
				}
				must(t, err)
				err = b.Replace(t.Context(), key, old, b.record(value(i)))
				if !errors.Is(err, cache.ErrConflict) {
					must(t, err)
				}
			}
		})
		var live []cache.Key
		for i := range sessions {
			if _, err := b.Get(t.Context(), name(i)); err == nil {
				live = append(live, name(i))
			}
		}
		b.walks(t, live...)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
