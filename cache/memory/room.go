package memory

import (
	"sync/atomic"

	"github.com/numberverify/caddy-number-verify/cache"
)

// room counts places up to a bound. Many goroutines may use it.
type room struct {
	used atomic.Int64
	max  int64
}

// take takes a place, and returns false if there is none left.
func (r *room) take() bool {
	for {
		n := r.used.Load()
		if n >= r.max {
			return false
		}
		if r.used.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// add takes a place even past the bound.
func (r *room) add() { r.used.Add(1) }

// give gives a place back.
func (r *room) give() { r.used.Add(-1) }

// admit takes a place for e, unless e replaces there and so needs none. It returns
// false if no place is left. The lock of e's shard is held.
func (c *Cache) admit(e, there *entry) bool {
	held := &c.held[e.kind]
	switch {
	case there != nil:
		return true
	case e.kind == cache.KindSession:
		held.add()
		return true
	default:
		return held.take()
	}
}

// dismiss gives back the place that admit has taken for e.
func (c *Cache) dismiss(e, there *entry) {
	if there == nil {
		c.held[e.kind].give()
	}
}
