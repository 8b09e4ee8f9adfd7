package memory

import (
	"context"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Label implements cache.Cache.
func (c *Cache) Label(ctx context.Context, ref cache.Ref) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e := c.shard(ref).get(ref)
	// asked after the look-up: in a cache that is being closed a miss proves nothing
	if c.closed.Load() {
		return nil, cache.ErrClosed
	}
	if e == nil || !e.Live(c.now()) {
		return nil, cache.ErrNotFound
	}
	return e.Label, nil
}

// Walk implements cache.Cache.
func (c *Cache) Walk(ctx context.Context, visit func(cache.Ref) error) error {
	for i := range c.shards {
		refs, err := c.sessionsIn(ctx, cache.Ref{byte(i)})
		if err != nil {
			return err
		}
		for _, ref := range refs {
			if err := visit(ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// sessionsIn returns the live sessions in the shard of ref. Like sweepShard it locks
// the shard only while go-cache copies it.
func (c *Cache) sessionsIn(ctx context.Context, ref cache.Ref) (refs []cache.Ref, err error) {
	s, err := c.lock(ctx, ref)
	if err != nil {
		return nil, err
	}
	items := s.items.Items()
	s.mu.Unlock()
	now := c.now()
	for key, item := range items {
		if e := item.Object.(*entry); e.kind == cache.KindSession && e.Live(now) {
			refs = append(refs, cache.Ref([]byte(key)))
		}
	}
	return refs, nil
}

// Sessions implements cache.Cache.
func (c *Cache) Sessions(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	n := c.Held()
	if c.closed.Load() {
		return 0, cache.ErrClosed
	}
	return n, nil
}
