// Package memory is the cache that keeps everything in the memory of this process,
// in patrickmn/go-cache. Its records survive a reload of Caddy's configuration, but
// not a restart. With a Backing it is the memory in front of a store that survives
// one.
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

const (
	defaultRecords = 250_000
	sweepRound     = time.Minute // for all shards once
	shardCount     = 256         // one for each value of a Ref's first byte
)

// Options adjust a Cache; the zero value holds the defaults.
type Options struct {
	// Now is the clock that records expire by. Default: time.Now.
	Now func() time.Time
	// Records is how many records of each kind may be held, including those that
	// have ended and are not yet swept. Sessions are not bounded. Default:
	// 250,000.
	Records int
}

// Cache is a cache.Cache in memory.
//
// It is bounded: a new record beyond Options.Records of its kind is refused with
// cache.ErrFull. A record that replaces a live one is never refused, nor is a
// session: somebody has paid for it, and the gate begins no attempt while there are
// too many sessions. Readers do not see a record that has expired; its room is free
// again within a minute.
type Cache struct {
	now     func() time.Time
	shards  [shardCount]shard
	held    [cache.KindCount + 1]room // by kind, including records not yet swept
	tags    index
	backing Backing // nil: none
	closed  atomic.Bool
	stop    chan struct{}
	stopped chan struct{}
}

// shard is a part of the cache. Readers go straight to items. Writers and the
// sweeper hold mu, so that reading an entry and writing the next one is one step.
type shard struct {
	mu      sync.Mutex
	items   *gocache.Cache // of *entry, which does not expire by itself
	version uint64
}

// entry is a stored record. It is never changed, only replaced.
type entry struct {
	cache.Record // its Value is a box until a call with its key opens it
	kind         cache.Kind
}

// box is a sealed record.
type box []byte

// box returns the sealed record if e is not open yet, and else nil.
func (e *entry) box() box {
	b, _ := e.Value.(box)
	return b
}

// New returns an empty cache. It must be closed.
func New(opts Options) *Cache {
	c := build(opts)
	go c.sweep()
	return c
}

// NewBacked returns a cache of the records in backing. A change is written to
// backing before anybody sees it here. Closing the cache closes backing. The error is
// that of Backing.Load, after which the caller closes backing.
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
		// go-cache itself expires nothing: it knows neither Record.Idle nor c.now,
		// and an entry that it hid would still count in c.held.
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
	// asked after the look-up: in a cache that is being closed a miss proves nothing
	if c.closed.Load() {
		return nil, cache.ErrClosed
	}
	if e != nil && e.box() != nil {
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

// put stores rec if fits accepts the live entry under key, which is nil if there is
// none. If rec has expired already, put deletes the entry instead.
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
	// an entry that does not open is replaced, unless it is a claim
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

// Held implements cache.Sized.
func (c *Cache) Held() int64 { return c.held[cache.KindSession].used.Load() }

// Close implements cache.Cache. It waits for the sweeper to end, and frees the
// memory of the records.
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

// get returns the entry under ref, even an expired one, or nil. The conversion to
// string stands within the call of Get, where it allocates nothing.
func (s *shard) get(ref cache.Ref) *entry {
	item, _ := s.items.Get(string(ref[:]))
	e, _ := item.(*entry)
	return e
}

// next returns the version of the next write. s is locked.
func (s *shard) next() uint64 {
	s.version++
	return s.version
}

// set replaces there, which may be nil, by e, for which admit has made room. s is
// locked.
func (c *Cache) set(s *shard, ref cache.Ref, e, there *entry) {
	c.tags.move(ref, there, e)
	s.items.Set(string(ref[:]), e, gocache.NoExpiration)
}

// remove deletes e, which may be nil, and gives its room back. s is locked.
func (c *Cache) remove(s *shard, key string, e *entry) {
	if e == nil {
		return
	}
	c.tags.move(cache.Ref([]byte(key)), e, nil)
	s.items.Delete(key)
	c.held[e.kind].give()
}

// sweep removes expired entries, one shard after the other, until Close.
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

// sweepShard removes expired entries. It holds s.mu, so that no writer waits for
// go-cache's own lock during the scan: readers would wait behind that writer.
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
	_ cache.Cache   = (*Cache)(nil)
	_ cache.Sized   = (*Cache)(nil)
	_ cache.Totaler = (*Cache)(nil)
)
