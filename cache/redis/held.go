package redis

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

// held are the sessions that this node has read, opened: a request finds its own
// without opening it again, and goes on with it for a while when the server no
// longer answers. Whether one still holds is not decided here while the server
// answers.
type held struct {
	ctx      context.Context // never ends: what is held is at hand when a call has timed out
	prefix   string
	stale    time.Duration
	sessions *memory.Cache
	// changes counts what the server said has changed.
	changes atomic.Uint64

	// losses counts the connections that were lost; ends is until when what was
	// confirmed before each of the last of them is good.
	losses atomic.Uint64
	mu     sync.Mutex
	ends   [256]time.Time
}

// session is the value of a record in held.sessions.
type session struct {
	raw string
	rec *cache.Record
	// losses is held.losses when the server last confirmed it, read when that
	// was, since began.
	losses atomic.Uint64
	read   atomic.Int64
}

func (s *session) confirmed(before mark) {
	s.losses.Store(before.losses)
	s.read.Store(int64(time.Since(began)))
}

// mark is what was known before the server was asked.
type mark struct{ changes, losses uint64 }

func newHeld(opts Options) *held {
	return &held{
		ctx: context.Background(), prefix: opts.Prefix, stale: opts.StaleIfError,
		sessions: memory.New(memory.Options{Now: opts.Now}),
	}
}

func (h *held) mark() mark {
	return mark{h.changes.Load(), h.losses.Load()}
}

func (h *held) get(key cache.Key) *session {
	rec, err := h.sessions.Get(h.ctx, key)
	if err != nil {
		return nil
	}
	s, _ := rec.Value.(*session)
	return s
}

// confirm returns the session if it is held just as it was found now: at the
// server, or local, by what it has said earlier, which confirms nothing: the
// connection may just be gone.
func (h *held) confirm(key cache.Key, raw string, before mark, local bool) *cache.Record {
	s := h.get(key)
	if s == nil || s.raw != raw {
		return nil
	}
	if !local {
		s.confirmed(before)
	}
	return s.rec
}

// hold keeps a session, unless something has changed since the server was asked:
// it may have been just this.
func (h *held) hold(key cache.Key, raw string, rec *cache.Record, before mark) {
	s := &session{raw: raw, rec: rec}
	s.confirmed(before)
	_ = h.sessions.Put(h.ctx, key, &cache.Record{Value: s, Expires: rec.Expires})
	if h.changes.Load() != before.changes {
		h.drop(key.Ref())
	}
}

// spare returns the session if it is held and still good although the server did
// not answer, or answered with an error.
func (h *held) spare(key cache.Key, err error) *cache.Record {
	s := h.get(key)
	if s == nil {
		return nil
	}
	now := time.Now()
	if _, answered := rueidis.IsRedisErr(err); answered && !now.Before(began.Add(time.Duration(s.read.Load())).Add(h.stale)) {
		return nil
	}
	if !h.good(s.losses.Load(), now) {
		return nil
	}
	return s.rec
}

// good tells whether what was confirmed when so many connections had been lost
// may be used at now: for a while after the first loss since then. Before that
// the server has not been silent for long, since a silent connection is given up.
func (h *held) good(confirmed uint64, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	since, remembered := h.losses.Load()-confirmed, uint64(len(h.ends))
	if since == 0 {
		return true
	}
	return since <= remembered && now.Before(h.ends[(confirmed+1)%remembered])
}

// lost notes that a connection was lost that last gave an answer at answered.
func (h *held) lost(answered time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	losses := h.losses.Load() + 1
	h.ends[losses%uint64(len(h.ends))] = answered.Add(h.stale)
	h.losses.Store(losses)
}

func (h *held) drop(ref cache.Ref) { _ = h.sessions.Delete(h.ctx, ref) }

// invalidated is called with the keys that have changed on the server; without
// any all may have, as after FLUSHALL, or the connection is lost.
func (h *held) invalidated(keys []rueidis.RedisMessage) {
	h.changes.Add(1)
	if keys == nil {
		h.lost(time.Now())
		return
	}
	for i := range keys {
		name, err := keys[i].ToString()
		if ref, ok := parseKey(strings.TrimPrefix(name, h.prefix)); err == nil && ok {
			h.drop(ref)
		}
	}
}
