package memory

import (
	"context"
	"slices"
	"sync"

	"github.com/numberverify/caddy-number-verify/cache"
)

// index finds records by their tags. Its lock is taken within that of a shard.
type index struct {
	mu   sync.Mutex
	refs map[cache.Tag][]cache.Ref
}

func (x *index) add(tag cache.Tag, ref cache.Ref) {
	if tag == (cache.Tag{}) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.refs[tag] = append(x.refs[tag], ref)
}

func (x *index) remove(tag cache.Tag, ref cache.Ref) {
	if tag == (cache.Tag{}) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	refs := x.refs[tag]
	i := slices.Index(refs, ref)
	if i < 0 {
		return
	}
	if len(refs) == 1 {
		delete(x.refs, tag)
		return
	}
	x.refs[tag] = slices.Delete(refs, i, i+1)
}

// find returns a copy of what is stored with tag.
func (x *index) find(tag cache.Tag) []cache.Ref {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.refs[tag])
}

func (x *index) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.refs)
}

// Find implements cache.Cache.
func (c *Cache) Find(ctx context.Context, tag cache.Tag) ([]cache.Ref, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := c.now()
	live := slices.DeleteFunc(c.tags.find(tag), func(ref cache.Ref) bool {
		e := c.shard(ref).get(ref)
		return e == nil || !e.Live(now)
	})
	// after the look-up: in a cache that is being closed a miss means nothing
	if c.closed.Load() {
		return nil, cache.ErrClosed
	}
	return live, nil
}
