package memory

import (
	"bytes"
	"time"

	gocache "github.com/patrickmn/go-cache"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Backing is a store that keeps the records of a Cache as well, so that they survive
// this process. The Cache makes no two calls for one record at the same time.
type Backing interface {
	// Load calls found for every record. It is called once, before the others.
	Load(found func(cache.Ref, Sealed)) error
	// Store stores rec, durably when it returns. If used is set, rec only records
	// a use of the stored record (Record.IsUseOf), and may be stored later.
	Store(key cache.Key, ref cache.Ref, rec *cache.Record, used bool) error
	// Open returns the record in a Sealed.Box that was stored under key, and an
	// error for any other box. It may be called at any time.
	Open(key cache.Key, box []byte) (*cache.Record, error)
	// Delete deletes a record, durably when it returns. A Backing deletes expired
	// records by itself.
	Delete(ref cache.Ref) error
	// Close ends the backing.
	Close() error
}

// Sealed is a record as a Backing finds it, without the key that opens it.
type Sealed struct {
	Kind cache.Kind
	// Ends is the time at which the record ends if it is not used again.
	Ends time.Time
	// Tags are those of the record.
	Tags [2]cache.Tag
	// Label is that of the record. It may be a part of Box.
	Label []byte
	// Box holds the record for Backing.Open. It is not empty.
	Box []byte
}

// load takes in a record of the backing, even beyond the bound.
func (c *Cache) load(ref cache.Ref, kept Sealed) {
	now := c.now()
	if !now.Before(kept.Ends) || kept.Kind < cache.KindSession || kept.Kind > cache.KindCount {
		return
	}
	e := &entry{
		Record: cache.Record{Value: box(kept.Box), Expires: kept.Ends, Tags: kept.Tags, Label: kept.Label}, kind: kept.Kind,
	}
	c.held[e.kind].add()
	s := c.shard(ref)
	e.Version = s.next()
	c.set(s, ref, e, nil)
}

// unseal returns the entry under ref, and opens it if it is still sealed. It returns
// nil if there is no entry, or key does not open it.
func (c *Cache) unseal(key cache.Key, ref cache.Ref) *entry {
	s := c.shard(ref)
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.open(s, key, ref)
}

// open is unseal for a shard that is locked.
func (c *Cache) open(s *shard, key cache.Key, ref cache.Ref) *entry {
	e := s.get(ref)
	if e == nil || e.box() == nil {
		return e
	}
	rec, err := c.backing.Open(key, e.box())
	if err != nil || rec.Tags != e.Tags || !bytes.Equal(rec.Label, e.Label) {
		return nil // fail closed
	}
	rec.Version = e.Version
	opened := &entry{Record: *rec, kind: e.kind}
	s.items.Set(string(ref[:]), opened, gocache.NoExpiration)
	return opened
}

// store writes rec, which replaces there, to the backing.
func (c *Cache) store(key cache.Key, ref cache.Ref, there *entry, rec *cache.Record) error {
	if c.backing == nil {
		return nil
	}
	used := there != nil && there.box() == nil && rec.IsUseOf(&there.Record)
	return c.backing.Store(key, ref, rec, used)
}

// forget deletes e, which may be nil, here and in the backing. s is locked.
func (c *Cache) forget(s *shard, ref cache.Ref, e *entry) error {
	// while the clock was wrong, e may have been swept here, but not in the backing
	if c.backing != nil {
		if err := c.backing.Delete(ref); err != nil {
			return err
		}
	}
	c.remove(s, string(ref[:]), e)
	return nil
}
