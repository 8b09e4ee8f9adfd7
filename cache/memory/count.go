package memory

import (
	"context"
	"slices"

	"github.com/numberverify/caddy-number-verify/cache"
)

// counter is a counter that is about to be written: e replaces there.
type counter struct {
	key      cache.Key
	ref      cache.Ref
	e, there *entry
}

// Count implements cache.Cache.
func (c *Cache) Count(ctx context.Context, limits []cache.Limit) ([]cache.Counted, error) {
	keys, err := cache.Counters(limits)
	if err != nil {
		return nil, err
	}
	counters := make([]counter, len(limits))
	refs := make([]cache.Ref, len(limits))
	for i, key := range keys {
		counters[i] = counter{key: key, ref: key.Ref()}
		refs[i] = counters[i].ref
	}
	unlock, err := c.lockAll(ctx, refs)
	if err != nil {
		return nil, err
	}
	defer unlock()
	counted, err := c.add(limits, counters)
	if err != nil {
		return nil, err
	}
	if err := c.keep(counters); err != nil {
		return nil, err
	}
	return counted, nil
}

// add sets the new entries of counters, with one more event in each, and stores
// nothing. It returns a *cache.LimitError if a limit is reached. All shards are
// locked.
func (c *Cache) add(limits []cache.Limit, counters []counter) ([]cache.Counted, error) {
	now := c.now()
	counted := make([]cache.Counted, len(limits))
	var reached *cache.LimitError
	for i := range limits {
		limit, n := &limits[i], &counters[i]
		var old *cache.Count
		old, n.there = c.count(c.shard(n.ref), n.key, n.ref)
		count, total, retry := limit.Add(old, now)
		if count == nil {
			if reached == nil || retry > reached.Retry {
				reached = &cache.LimitError{Limit: i, Retry: retry}
			}
			continue
		}
		slot := limit.Slot(now)
		counted[i] = cache.Counted{Counter: n.key, Slot: slot, Total: total}
		n.e = &entry{kind: cache.KindCount, Record: cache.Record{Value: count, Expires: limit.Leaves(slot)}}
	}
	if reached != nil {
		return nil, reached
	}
	return counted, nil
}

// keep stores all counters, or none. All shards are locked.
func (c *Cache) keep(counters []counter) error {
	for i, n := range counters {
		if !c.admit(n.e, n.there) {
			c.dismissAll(counters[:i])
			return cache.ErrFull
		}
	}
	for _, n := range counters {
		if c.backing == nil {
			break
		}
		// stored late, like a use: the attempt that is counted is written next, in
		// one transaction with the count
		if err := c.backing.Store(n.key, n.ref, &n.e.Record, true); err != nil {
			c.dismissAll(counters)
			return err
		}
	}
	for _, n := range counters {
		s := c.shard(n.ref)
		n.e.Version = s.next()
		c.set(s, n.ref, n.e, n.there)
	}
	return nil
}

func (c *Cache) dismissAll(counters []counter) {
	for _, n := range counters {
		c.dismiss(n.e, n.there)
	}
}

// Total implements cache.Totaler.
func (c *Cache) Total(ctx context.Context, limit cache.Limit) (int64, error) {
	key := limit.Counter()
	ref := key.Ref()
	s, err := c.lock(ctx, ref)
	if err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	count, _ := c.count(s, key, ref)
	return limit.Total(count, c.now()), nil
}

// Uncount implements cache.Cache.
func (c *Cache) Uncount(ctx context.Context, counted []cache.Counted) error {
	for _, event := range counted {
		if err := c.uncount(ctx, event); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) uncount(ctx context.Context, event cache.Counted) error {
	n := counter{key: event.Counter, ref: event.Counter.Ref()}
	s, err := c.lock(ctx, n.ref)
	if err != nil {
		return err
	}
	defer s.mu.Unlock()
	var count *cache.Count
	count, n.there = c.count(s, n.key, n.ref)
	if count == nil {
		return nil
	}
	n.e = &entry{kind: cache.KindCount, Record: cache.Record{Value: count.Without(event.Slot), Expires: n.there.Expires}}
	return c.keep([]counter{n})
}

// count returns the counter under ref and its entry. The counter is nil if the entry
// does not open; both are nil if there is none. s is locked.
func (c *Cache) count(s *shard, key cache.Key, ref cache.Ref) (*cache.Count, *entry) {
	e := c.open(s, key, ref)
	if e == nil {
		return nil, s.get(ref)
	}
	count, _ := e.Value.(*cache.Count)
	return count, e
}

// lockAll locks the shards of all refs, always in the same order, so that two
// callers never wait for each other.
func (c *Cache) lockAll(ctx context.Context, refs []cache.Ref) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var shards []byte
	for _, ref := range refs {
		shards = append(shards, ref[0])
	}
	slices.Sort(shards)
	shards = slices.Compact(shards)
	for _, i := range shards {
		c.shards[i].mu.Lock()
	}
	unlock = func() {
		for _, i := range shards {
			c.shards[i].mu.Unlock()
		}
	}
	if c.closed.Load() {
		unlock()
		return nil, cache.ErrClosed
	}
	return unlock, nil
}
