package cachetest_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
)

// getThenPut is a cache whose Replace reads and then writes. Another caller may write
// in between: two callbacks take one attempt.
type getThenPut struct{ cache.Cache }

func (c getThenPut) Replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	there, err := c.Get(ctx, key)
	if err != nil && !errors.Is(err, cache.ErrNotFound) {
		return err
	}
	if (there == nil) != (old == nil) || there != nil && there.Version != old.Version {
		return cache.ErrConflict
	}
	runtime.Gosched()
	return c.Put(ctx, key, rec)
}

// stale is a cache that returns what it has read before, and notices changes late: a
// session goes on after its sign-out.
type stale struct {
	cache.Cache
	held  *sync.Map
	reads *atomic.Int64
}

func (c stale) Get(ctx context.Context, key cache.Key) (*cache.Record, error) {
	if rec, ok := c.held.Load(key); ok && c.reads.Add(1)%4 != 0 {
		return rec.(*cache.Record), nil
	}
	rec, err := c.Cache.Get(ctx, key)
	if err == nil {
		c.held.Store(key, rec)
	}
	return rec, err
}

// forgetful is a cache that answers some writes without doing them.
type forgetful struct {
	cache.Cache
	writes *atomic.Int64
}

func (c forgetful) Put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	if c.writes.Add(1)%10 == 0 {
		return nil
	}
	return c.Cache.Put(ctx, key, rec)
}

// undead is a cache whose Delete leaves some records where they are.
type undead struct {
	cache.Cache
	deletes *atomic.Int64
}

func (c undead) Delete(ctx context.Context, ref cache.Ref) error {
	if c.deletes.Add(1)%5 == 0 {
		return nil
	}
	return c.Cache.Delete(ctx, ref)
}

// oneByOne is a cache that counts by one limit after the other, and takes back the
// first if the second is reached. Meanwhile it refuses others although there is room.
type oneByOne struct{ cache.Cache }

func (c oneByOne) Count(ctx context.Context, limits []cache.Limit) (all []cache.Counted, err error) {
	for i := range limits {
		counted, err := c.Cache.Count(ctx, limits[i:i+1])
		if err != nil {
			return nil, errors.Join(err, c.Uncount(ctx, all))
		}
		all = append(all, counted...)
		runtime.Gosched()
	}
	return all, nil
}

// lookThenCount is a cache that reads a counter and then writes it. Another caller may
// count in between.
type lookThenCount struct {
	cache.Cache
	mu     *sync.Mutex
	counts map[cache.Key]*cache.Count
}

func (c lookThenCount) Count(_ context.Context, limits []cache.Limit) (all []cache.Counted, err error) {
	for i := range limits {
		limit, counter, now := &limits[i], limits[i].Counter(), time.Now()
		c.mu.Lock()
		old := c.counts[counter]
		c.mu.Unlock()
		runtime.Gosched()
		with, total, retry := limit.Add(old, now)
		if with == nil {
			return nil, &cache.LimitError{Limit: i, Retry: retry}
		}
		c.mu.Lock()
		c.counts[counter] = with
		c.mu.Unlock()
		all = append(all, cache.Counted{Counter: counter, Slot: limit.Slot(now), Total: total})
	}
	return all, nil
}

func (c lookThenCount) Uncount(_ context.Context, counted []cache.Counted) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, event := range counted {
		c.counts[event.Counter] = c.counts[event.Counter].Without(event.Slot)
	}
	return nil
}

// mixed is a cache that returns half of a value.
type mixed struct{ cache.Cache }

func (c mixed) Get(ctx context.Context, key cache.Key) (*cache.Record, error) {
	rec, err := c.Cache.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	half := *rec.Value.(*cachetest.Value)
	half.Bytes = nil
	rec.Value = &half
	return rec, nil
}

// labelsLate is a cache that reads the labels of records as they were before.
type labelsLate struct {
	cache.Cache
	read *sync.Map
}

func (c labelsLate) Label(ctx context.Context, ref cache.Ref) ([]byte, error) {
	label, err := c.Cache.Label(ctx, ref)
	if before, ok := c.read.Swap(ref, label); ok && before != nil {
		return before.([]byte), nil
	}
	return label, err
}

// listedLate is a cache that lists a session only after it was stored, and others delete
// it from the list meanwhile.
type listedLate struct {
	cache.Cache
	listed *sync.Map
}

func (c listedLate) Put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	err := c.Cache.Put(ctx, key, rec)
	runtime.Gosched()
	c.listed.Store(key.Ref(), true)
	return err
}

func (c listedLate) Replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	err := c.Cache.Replace(ctx, key, old, rec)
	c.listed.Store(key.Ref(), true)
	return err
}

func (c listedLate) Delete(ctx context.Context, ref cache.Ref) error {
	err := c.Cache.Delete(ctx, ref)
	runtime.Gosched()
	c.listed.Delete(ref)
	return err
}

func (c listedLate) Walk(ctx context.Context, visit func(cache.Ref) error) error {
	return c.Cache.Walk(ctx, func(ref cache.Ref) error {
		if _, ok := c.listed.Load(ref); !ok {
			return nil
		}
		return visit(ref)
	})
}

// A check that no cache fails shows nothing. Each of these caches is wrong in a way
// in which a real one could be.
func TestHistoriesOfBrokenCachesAreFoundOut(t *testing.T) {
	whole := func() cache.Cache { return newTable(cachetest.Codec{}, time.Now) }
	for name, broken := range map[string]cache.Cache{
		"Replace is Get, then Put":        getThenPut{whole()},
		"Get is stale":                    stale{whole(), new(sync.Map), new(atomic.Int64)},
		"Put is told and not done":        forgetful{whole(), new(atomic.Int64)},
		"Delete is told and not done":     undead{whole(), new(atomic.Int64)},
		"Count takes limits one by one":   oneByOne{whole()},
		"Count looks, then counts":        lookThenCount{whole(), new(sync.Mutex), make(map[cache.Key]*cache.Count)},
		"Get returns a mixture of values": mixed{whole()},
		"Label is stale":                  labelsLate{whole(), new(sync.Map)},
		"Walk goes by a list apart":       listedLate{whole(), new(sync.Map)},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // some need luck to be found out
				h := &cachetest.History{Kind: cache.KindSession}
				h.Run(t.Context(), broken, 8, 100)
				if err := h.Check(); err != nil {
					t.Log(err)
					return
				}
			}
			t.Error("it passes")
		})
	}
}

// failing is a cache that returns an error for every tenth write, and has done half of
// these.
type failing struct {
	cache.Cache
	writes *atomic.Int64
}

var errFailed = errors.New("connection lost")

func (c failing) Put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	switch c.writes.Add(1) % 20 {
	case 0:
		return errFailed
	case 10:
		return errors.Join(errFailed, c.Cache.Put(ctx, key, rec))
	default:
		return c.Cache.Put(ctx, key, rec)
	}
}

func TestCallThatFailedMayHaveBeenDoneOrNot(t *testing.T) {
	c := failing{newTable(cachetest.Codec{}, time.Now), new(atomic.Int64)}
	h := new(cachetest.History)
	for range 10 {
		h.Run(t.Context(), c, 4, 50)
	}
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}

// The check notices that all records were lost, and says what was answered before.
func TestStoreThatComesBackEmptyIsFoundOut(t *testing.T) {
	h := new(cachetest.History)
	for range 2 {
		h.Run(t.Context(), newTable(cachetest.Codec{}, time.Now), 4, 20)
	}
	err := h.Check()
	if err == nil || !strings.Contains(err.Error(), "no order of the calls explains the last answer of:") {
		t.Errorf("Check = %v", err)
	}
}

func TestHistoryOfAnotherProcess(t *testing.T) {
	const put, get = `{"ID":1,"Call":{"Method":"Put","On":"record 0","New":7}}`, `{"ID":2,"Call":{"Method":"Get","On":"record 0"}}`
	const told, none, seven = `{"ID":1,"Answer":{}}`, `{"ID":2,"Answer":{}}`, `{"ID":2,"Answer":{"Value":7}}`
	again := func(events string) string { return strings.ReplaceAll(events, `"ID":2`, `"ID":1`) }
	for name, test := range map[string]struct {
		processes []string
		ok        bool
	}{
		"what was told is read":                      {[]string{put + told + get + seven}, true},
		"what was told is missed":                    {[]string{put + told + get + none}, false},
		"at the same time, before":                   {[]string{put + get + none + told}, true},
		"at the same time, after":                    {[]string{put + get + seven + told}, true},
		"read before it was put":                     {[]string{get + seven + put + told}, false},
		"killed, and it was done":                    {[]string{put, again(get + seven)}, true},
		"killed, and it was not done":                {[]string{put, again(get + none)}, true},
		"killed, and it was done after":              {[]string{put, again(get + none), again(get + seven)}, false},
		"killed, and it was undone after":            {[]string{put, again(get + seven), again(get + none)}, false},
		"killed when told, and it was not done":      {[]string{put + told, again(get + none)}, false},
		"killed while it was read, which tells none": {[]string{put + told + get, again(get + seven)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := new(cachetest.History)
			for _, events := range test.processes {
				if err := h.Read(strings.NewReader(events)); err != nil {
					t.Fatal(err)
				}
			}
			if err := h.Check(); (err == nil) != test.ok {
				t.Errorf("Check = %v", err)
			}
		})
	}
	if err := new(cachetest.History).Read(strings.NewReader(put + `{"ID":`)); err == nil {
		t.Error("a line that was cut is read")
	}
}

func TestTracedHistoryIsReadAsItWas(t *testing.T) {
	var trace strings.Builder
	c := forgetful{newTable(cachetest.Codec{}, time.Now), new(atomic.Int64)}
	first := &cachetest.History{Trace: &trace}
	first.Run(t.Context(), c, 1, 3000) // enough that what is forgotten is asked for
	again := new(cachetest.History)
	if err := again.Read(strings.NewReader(trace.String())); err != nil {
		t.Fatal(err)
	}
	want, got := first.Check(), again.Check()
	if want == nil || got == nil || want.Error() != got.Error() {
		t.Errorf("Check = %v, want %v", got, want)
	}
}
