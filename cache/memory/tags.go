package memory

import (
	"context"
	"slices"
	"sync"

	"github.com/numberverify/caddy-number-verify/cache"
)

// index finds records by their tags. Whoever holds the lock of a shard may take the
// lock of the index, but not the other way round.
type index struct {
	mu sync.Mutex
	// first holds one record of each tag, and more the others: most tags have just
	// one, and a large map without pointers costs the garbage collector nothing.
	first map[cache.Tag]cache.Ref
	more  map[cache.Tag][]cache.Ref
}

// move takes ref off the lists of the old entry's tags (was), and adds it to those of
// the new entry's tags (now). Either entry may be nil.
func (x *index) move(ref cache.Ref, was, now *entry) {
	before, after := was.tags(), now.tags()
	if before == after {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, tag := range before {
		if !slices.Contains(after[:], tag) {
			x.remove(tag, ref)
		}
	}
	for _, tag := range after {
		if !slices.Contains(before[:], tag) {
			x.add(tag, ref)
		}
	}
}

// tags returns the tags of e, which may be nil. If both are the same, it returns only
// the first.
func (e *entry) tags() (tags [len(cache.Record{}.Tags)]cache.Tag) {
	if e == nil {
		return tags
	}
	tags = e.Tags
	if tags[0] == tags[1] {
		tags[1] = cache.Tag{}
	}
	return tags
}

// add lists ref under tag. x is locked.
func (x *index) add(tag cache.Tag, ref cache.Ref) {
	if tag == (cache.Tag{}) {
		return
	}
	if _, ok := x.first[tag]; ok {
		x.more[tag] = append(x.more[tag], ref)
		return
	}
	x.first[tag] = ref
}

// remove takes ref off the list of tag. x is locked.
func (x *index) remove(tag cache.Tag, ref cache.Ref) {
	first, ok := x.first[tag]
	if !ok {
		return
	}
	more := x.more[tag]
	switch i := slices.Index(more, ref); {
	case i >= 0:
		more = slices.Delete(more, i, i+1)
	case first != ref:
		return
	case len(more) == 0:
		delete(x.first, tag)
		return
	default:
		x.first[tag] = more[len(more)-1]
		more = more[:len(more)-1]
	}
	x.more[tag] = more
	if len(more) == 0 {
		delete(x.more, tag)
	}
}

// list returns a copy of the list of tag. x is locked.
func (x *index) list(tag cache.Tag) []cache.Ref {
	first, ok := x.first[tag]
	if !ok {
		return nil
	}
	return append([]cache.Ref{first}, x.more[tag]...)
}

func (x *index) find(tag cache.Tag) []cache.Ref {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.list(tag)
}

func (x *index) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.first)
	clear(x.more)
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
	// asked after the look-up: in a cache that is being closed a miss proves nothing
	if c.closed.Load() {
		return nil, cache.ErrClosed
	}
	return live, nil
}
