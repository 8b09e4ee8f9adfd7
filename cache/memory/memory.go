// Package memory is the cache that keeps everything in this process, on
// patrickmn/go-cache. What it holds outlives a reload of Caddy's configuration,
// not a restart.
package memory

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	gocache "github.com/patrickmn/go-cache"

	"github.com/numberverify/caddy-number-verify/cache"
)

// The bounds, and how often what has expired is removed.
const (
	defaultRecords = 250_000
	sweepRound     = time.Minute
	shardCount     = 256 // one for each value of a Ref's first byte
)

// Options adjust a Cache; the zero value holds the defaults.
type Options struct {
	// Now is the clock that records expire by. Default: time.Now.
	Now func() time.Time
	// Records is how many records of each kind but sessions may be held, what
	// has ended included. Default: 250,000.
	Records int
}

// Cache is a cache.Cache in memory.
//
// It is bounded: beyond Options.Records of its kind a new record is refused with
// cache.ErrFull. One that takes the place of a live one never is, nor is a
// session: somebody has paid for it, and the gate begins no attempt while there
// are too many. What has expired is gone at once for readers, and makes room
// within a minute.
type Cache struct {
	now     func() time.Time
	shards  [shardCount]shard
	held    [cache.KindCount + 1]room // by kind; what was not yet swept counts
	tags    index
	backing Backing // nil: none
	closed  atomic.Bool
	stop    chan struct{}
	stopped chan struct{}
}

// shard is a part of the cache. Readers go straight to items; mu is for writers
// and the sweeper, so that a look and the write that depends on it are one step.
type shard struct {
	mu      sync.Mutex
	items   *gocache.Cache // of *entry, which does not expire by itself
	version uint64
}

// entry is a stored record. The record in it is never changed.
type entry struct {
	cache.Record
	kind   cache.Kind
	sealed []byte // in place of Value until somebody comes with the key
}

// New returns an empty cache. It must be closed.
func New(opts Options) *Cache {
	c := build(opts)
	go c.sweep()
	return c
}

// NewBacked returns a cache that holds what backing does, and writes to it before
// a change is seen. Closing it closes backing.
func NewBacked(opts Options, backing Backing) (*Cache, error) {
	c := build(opts)
	if err := backing.Load(c.load); err != nil {
		return nil, err
	}
	c.backing = backing
	go c.sweep()
	return c, nil
}

func build(opts Options) *Cache {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Records == 0 {
		opts.Records = defaultRecords
	}
	c := &Cache{
		now:     opts.Now,
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	for kind := range c.held {
		c.held[kind].max = int64(opts.Records)
	}
	c.tags.first, c.tags.more = make(map[cache.Tag]cache.Ref), make(map[cache.Tag][]cache.Ref)
	for i := range c.shards {
		// Only Record.Live decides what has expired: go-cache knows neither
		// idleness nor c.now, and an entry that it hid would still be counted.
		c.shards[i].items = gocache.New(gocache.NoExpiration, 0)
	}
	return c
}

// Get implements cache.Cache.
func (c *Cache) Get(ctx context.Context, key cache.Key) (*cache.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ref := key.Ref()
	e := c.shard(ref).get(ref)
	// after the look-up: in a cache that is being closed a miss means nothing
	if c.closed.Load() {
		return nil, cache.ErrClosed
	}
	if e != nil && e.sealed != nil {
		if e = c.unseal(key, ref); c.closed.Load() {
			return nil, cache.ErrClosed
		}
	}
	if e == nil || !e.Live(c.now()) {
		return nil, cache.ErrNotFound
	}
	return &e.Record, nil
}

// Put implements cache.Cache.
func (c *Cache) Put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	return c.put(ctx, key, rec, func(*entry) bool { return true })
}

// Replace implements cache.Cache.
func (c *Cache) Replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	return c.put(ctx, key, rec, func(there *entry) bool {
		if there == nil || old == nil {
			return there == nil && old == nil
		}
		return there.Version == old.Version
	})
}

// put stores rec, or deletes what is there where rec has no life left, if the
// live entry under key fits; there is nil where there is none.
func (c *Cache) put(ctx context.Context, key cache.Key, rec *cache.Record, fits func(there *entry) bool) error {
	if !key.Kind.Stored() {
		return fmt.Errorf("cache: unknown kind %d", key.Kind)
	}
	ref := key.Ref()
	s, err := c.lock(ctx, ref)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	now := c.now()
	there := s.get(ref)
	// what does not open is as good as gone, but for what was used up
	damaged := there != nil && key.Kind != cache.KindClaim && c.open(s, key, ref) == nil
	if there != nil && (damaged || !there.Live(now)) {
		c.remove(s, string(ref[:]), there)
		there = nil
	}
	if !fits(there) {
		return cache.ErrConflict
	}
	if !rec.Live(now) {
		return c.forget(s, ref, there)
	}
	e := &entry{kind: key.Kind}
	if !c.admit(e, there) {
		return cache.ErrFull
	}
	if err := c.store(key, ref, there, rec); err != nil {
		c.dismiss(e, there)
		return err
	}
	rec.Version = s.next()
	e.Record = *rec
	c.set(s, ref, e, there)
	return nil
}

// Delete implements cache.Cache.
func (c *Cache) Delete(ctx context.Context, ref cache.Ref) error {
	s, err := c.lock(ctx, ref)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	return c.forget(s, ref, s.get(ref))
}

// Sessions implements cache.Sized.
func (c *Cache) Sessions() int64 { return c.held[cache.KindSession].used.Load() }

// Close implements cache.Cache. It waits for the sweeper and forgets all
// records.
func (c *Cache) Close() error {
	if c.closed.Swap(true) {
		return cache.ErrClosed
	}
	close(c.stop)
	<-c.stopped
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.items.Flush()
		s.mu.Unlock()
	}
	c.tags.forget()
	if c.backing != nil {
		return c.backing.Close()
	}
	return nil
}

func (c *Cache) shard(ref cache.Ref) *shard { return &c.shards[ref[0]] }

// lock locks the shard of ref for writing, unless ctx or the cache has ended.
func (c *Cache) lock(ctx context.Context, ref cache.Ref) (*shard, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := c.shard(ref)
	s.mu.Lock()
	if c.closed.Load() {
		s.mu.Unlock()
		return nil, cache.ErrClosed
	}
	return s, nil
}

// get returns the entry under ref, expired or not, or nil. The conversion
// within the call is what keeps it from allocating.
func (s *shard) get(ref cache.Ref) *entry {
	item, _ := s.items.Get(string(ref[:]))
	e, _ := item.(*entry)
	return e
}

// next is the version of the next write. s is locked.
func (s *shard) next() uint64 {
	s.version++
	return s.version
}

// set puts e, which admit has counted, in the place of there, which may be nil. s
// is locked.
func (c *Cache) set(s *shard, ref cache.Ref, e, there *entry) {
	c.tags.move(ref, there, e)
	s.items.Set(string(ref[:]), e, gocache.NoExpiration)
}

// remove deletes e, which may be nil, and its count. s is locked.
func (c *Cache) remove(s *shard, key string, e *entry) {
	if e == nil {
		return
	}
	c.tags.move(cache.Ref([]byte(key)), e, nil)
	s.items.Delete(key)
	c.held[e.kind].give()
}

// sweep removes what has expired, one shard after the other, until Close.
func (c *Cache) sweep() {
	defer close(c.stopped)
	tick := time.NewTicker(sweepRound / shardCount)
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % shardCount {
		select {
		case <-c.stop:
			return
		case <-tick.C:
			c.sweepShard(&c.shards[i])
		}
	}
}

// sweepShard removes what has expired. Holding s.mu it keeps writers away from
// go-cache's lock, where a waiting writer would hold up readers for the scan.
func (c *Cache) sweepShard(s *shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := c.now()
	for key, item := range s.items.Items() {
		if e := item.Object.(*entry); !e.Live(now) {
			c.remove(s, key, e)
		}
	}
}

// Interface guards
var (
	_ cache.Cache = (*Cache)(nil)
	_ cache.Sized = (*Cache)(nil)
)
