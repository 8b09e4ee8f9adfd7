package memory

import (
	"time"

	gocache "github.com/patrickmn/go-cache"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Backing keeps the records of a Cache outside this process as well. Calls for
// one record never overlap.
type Backing interface {
	// Load calls found for every record, before anything else is called.
	Load(found func(cache.Ref, Sealed)) error
	// Store keeps rec, and has done so when it returns. Where used is set only
	// its use is new, which may be kept later.
	Store(key cache.Key, ref cache.Ref, rec *cache.Record, used bool) error
	// Open returns the record that Sealed.Box holds if it was stored under key;
	// its error means that it does not open. It may be called at any time.
	Open(key cache.Key, box []byte) (*cache.Record, error)
	// Delete forgets a record, and has done so when it returns. What has
	// expired a backing forgets by itself.
	Delete(ref cache.Ref) error
	// Close ends the backing.
	Close() error
}

// Sealed is a record as a Backing finds it: it opens with its key alone.
type Sealed struct {
	Kind cache.Kind
	// Ends is when it ends if it is not touched again.
	Ends time.Time
	// Tags are those of the record.
	Tags [2]cache.Tag
	// Box is what Backing.Open opens.
	Box []byte
}

// load takes in what the backing holds, even past the bounds.
func (c *Cache) load(ref cache.Ref, kept Sealed) {
	now := c.now()
	if !now.Before(kept.Ends) || kept.Kind < cache.KindSession || kept.Kind > cache.KindCount {
		return
	}
	e := &entry{
		Record: cache.Record{Expires: kept.Ends, Tags: kept.Tags}, kind: kept.Kind, sealed: kept.Box,
	}
	c.held[e.kind].add()
	s := c.shard(ref)
	e.Version = s.next()
	c.set(s, ref, e, nil)
}

// unseal opens the entry under ref for the first who comes with its key. What
// does not open is no record of that key: nil.
func (c *Cache) unseal(key cache.Key, ref cache.Ref) *entry {
	s := c.shard(ref)
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.open(s, key, ref)
}

// open is unseal in a shard that is locked.
func (c *Cache) open(s *shard, key cache.Key, ref cache.Ref) *entry {
	e := s.get(ref)
	if e == nil || e.sealed == nil {
		return e
	}
	rec, err := c.backing.Open(key, e.sealed)
	if err != nil || rec.Tags != e.Tags {
		return nil // fail closed
	}
	rec.Version = e.Version
	opened := &entry{Record: *rec, kind: e.kind}
	s.items.Set(string(ref[:]), opened, gocache.NoExpiration)
	return opened
}

// store writes rec, which takes the place of there, to the backing.
func (c *Cache) store(key cache.Key, ref cache.Ref, there *entry, rec *cache.Record) error {
	if c.backing == nil {
		return nil
	}
	used := there != nil && there.sealed == nil && rec.IsUseOf(&there.Record)
	return c.backing.Store(key, ref, rec, used)
}

// forget deletes e, which may be nil, here and in the backing. s is locked.
func (c *Cache) forget(s *shard, ref cache.Ref, e *entry) error {
	// also what is not held here: a clock that was wrong for a while may have
	// let it go
	if c.backing != nil {
		if err := c.backing.Delete(ref); err != nil {
			return err
		}
	}
	c.remove(s, string(ref[:]), e)
	return nil
}
