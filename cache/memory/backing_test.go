package memory

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/cache/sealed"
)

// shelf is a Backing in memory that fails when told to.
type shelf struct {
	mu     sync.Mutex
	held   map[cache.Ref]Sealed
	failed error
}

func (s *shelf) Load(found func(cache.Ref, Sealed)) error {
	for ref, kept := range s.held {
		found(ref, kept)
	}
	return nil
}

func (s *shelf) Store(key cache.Key, ref cache.Ref, rec *cache.Record, _ bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	box, err := sealed.Seal(cachetest.Codec{}, key, rec)
	s.held[ref] = Sealed{Kind: key.Kind, Ends: rec.End(), Tags: rec.Tags, Label: rec.Label, Box: box}
	return err
}

func (*shelf) Open(key cache.Key, box []byte) (*cache.Record, error) {
	return sealed.Open(cachetest.Codec{}, key, box)
}

func (s *shelf) Delete(ref cache.Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		delete(s.held, ref)
	}
	return s.failed
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
}

func (*shelf) Close() error { return nil }

func newShelf() *shelf { return &shelf{held: make(map[cache.Ref]Sealed)} }

func backed(t *testing.T, s *shelf, opts Options) *Cache {
	t.Helper()
	c, err := NewBacked(opts, s)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestWriteThatFailsChangesNothing(t *testing.T) {
	s := newShelf()
	c := backed(t, s, Options{})
	must(t, c.Put(t.Context(), sessionKey(0), sessionRecord(time.Now().Add(time.Hour))))
	limit := []cache.Limit{{Key: cache.Key{Kind: cache.KindCount, Secret: "number"}, Max: 1, Window: time.Hour}}
	broken := errors.New("no disk")
	s.fail(broken)
	for name, call := range map[string]func() error{
		"Put":     func() error { return c.Put(t.Context(), sessionKey(1), sessionRecord(time.Now().Add(time.Hour))) },
		"Replace": func() error { return c.Replace(t.Context(), attemptKey(1), nil, attemptRecord()) },
		"Delete":  func() error { return c.Delete(t.Context(), sessionKey(0).Ref()) },
		"Count":   func() error { _, err := c.Count(t.Context(), limit); return err },
	} {
		if err := call(); !errors.Is(err, broken) {
			t.Errorf("%s = %v", name, err)
		}
		checkCounts(t, c)
	}
	if _, err := c.Get(t.Context(), sessionKey(0)); err != nil {
		t.Errorf("a session whose sign-out was refused: %v", err)
	}
	s.fail(nil)
	if _, err := c.Count(t.Context(), limit); err != nil {
		t.Errorf("an event that failed has counted: %v", err)
	}
}

func TestCountsAreExactAfterLoading(t *testing.T) {
	s := newShelf()
	c := backed(t, s, Options{Records: 3})
	for i := range 2 {
		must(t, c.Put(t.Context(), sessionKey(i), sessionRecord(time.Now().Add(time.Hour))))
		must(t, c.Replace(t.Context(), attemptKey(i), nil, attemptRecord()))
	}
	must(t, c.Close())
	c = backed(t, s, Options{Records: 3})
	checkCounts(t, c)
	must(t, c.Replace(t.Context(), attemptKey(2), nil, attemptRecord()))
	if err := c.Replace(t.Context(), attemptKey(3), nil, attemptRecord()); !errors.Is(err, cache.ErrFull) {
		t.Errorf("a fourth attempt: %v", err)
	}
	if _, err := c.Get(t.Context(), attemptKey(0)); err != nil {
		t.Fatal(err)
	}
	checkCounts(t, c)
	must(t, c.Delete(t.Context(), attemptKey(0).Ref()))
	must(t, c.Replace(t.Context(), attemptKey(3), nil, attemptRecord()))
	checkCounts(t, c)
}

func TestUnknownKindsOfABackingAreLeftAlone(t *testing.T) {
	s := newShelf()
	for _, kind := range []cache.Kind{0, cache.KindCount + 1, 255} {
		s.held[cache.Ref{byte(kind)}] = Sealed{Kind: kind, Ends: time.Now().Add(time.Hour)}
	}
	checkCounts(t, backed(t, s, Options{}))
}

// While the clock ran ahead, the session was swept in memory, but not in the backing.
// A sign-out must delete it there too, or a restart would bring it back.
func TestSignOutAfterAClockThatRanAheadReachesTheBacking(t *testing.T) {
	var ahead atomic.Int64
	began := time.Now()
	s := newShelf()
	c := backed(t, s, Options{Now: func() time.Time { return began.Add(time.Duration(ahead.Load())) }})
	must(t, c.Put(t.Context(), sessionKey(0), sessionRecord(began.Add(time.Hour))))
	ahead.Store(int64(2 * time.Hour))
	c.sweepShard(c.shard(sessionKey(0).Ref()))
	ahead.Store(0)
	must(t, c.Delete(t.Context(), sessionKey(0).Ref()))
	if len(s.held) != 0 {
		t.Error("the backing still holds the session")
	}
}

func TestDamagedRecordIsReplacedButAClaimStays(t *testing.T) {
	s := newShelf()
	claim := cache.Key{Kind: cache.KindClaim, Secret: "token"}
	for _, key := range []cache.Key{sessionKey(0), claim} {
		s.held[key.Ref()] = Sealed{Kind: key.Kind, Ends: time.Now().Add(time.Hour), Box: []byte("damaged")}
	}
	c := backed(t, s, Options{})
	if _, err := c.Get(t.Context(), sessionKey(0)); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("Get = %v", err)
	}
	must(t, c.Replace(t.Context(), sessionKey(0), nil, sessionRecord(time.Now().Add(time.Hour))))
	err := c.Replace(t.Context(), claim, nil, &cache.Record{Value: &cachetest.Value{}, Expires: time.Now().Add(time.Hour)})
	if !errors.Is(err, cache.ErrConflict) {
		t.Errorf("a value that was claimed is claimed again: %v", err)
	}
	checkCounts(t, c)
}

func TestCacheThatClosesWhileUnsealingNeverAnswersWithAMiss(t *testing.T) {
	const sessions, rounds = 2_000, 30
	s := newShelf()
	c := backed(t, s, Options{})
	fill(t, c, sessions, time.Now().Add(time.Hour))
	must(t, c.Close())
	var reading sync.WaitGroup
	for round := range rounds {
		c := backed(t, s, Options{})
		read := make(chan struct{}, sessions)
		for part := range 4 {
			reading.Go(func() {
				for i := part; i < sessions; i += 4 {
					_, err := c.Get(context.WithoutCancel(t.Context()), sessionKey(i))
					if errors.Is(err, cache.ErrNotFound) {
						t.Errorf("session %d is not found", i)
					}
					read <- struct{}{}
				}
			})
		}
		for range round * sessions / rounds {
			<-read
		}
		must(t, c.Close())
		reading.Wait()
	}
}
