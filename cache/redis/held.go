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

// held holds the sessions that this node has read, decrypted. A request need not
// decrypt its session again, and is served with it for a while if the server does not
// answer. As long as the server answers, it alone decides whether a session lives.
type held struct {
	ctx      context.Context // never ends: sessions are looked up even after a call timed out
	prefix   string
	stale    time.Duration
	sessions *memory.Cache
	// changes counts the server's messages about changed keys.
	changes atomic.Uint64

	// losses counts lost connections. ends[i modulo 256] is the time until which
	// sessions confirmed before loss number i are served, for the last 256 losses.
	losses atomic.Uint64
	mu     sync.Mutex
	ends   [256]time.Time
}

// session is the value of a record in held.sessions.
type session struct {
	raw string
	rec *cache.Record
	// losses is the value of held.losses when the server last confirmed the
	// session, and read the time of that, in nanoseconds since began.
	losses atomic.Uint64
	read   atomic.Int64
}

func (s *session) confirmed(before mark) {
	s.losses.Store(before.losses)
	s.read.Store(int64(time.Since(began)))
}

// mark is the state of held before the server is asked.
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

// confirm returns the record of the session if it is held with the content raw, which
// was just read, and else nil. If raw came from the server, that confirms the session.
// If it came from the client's own cache (local), it does not: the connection may just
// have been lost. before is the mark from before the read.
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

// hold holds a session, unless the server has reported a change since before: it may
// have been a change of this session.
func (h *held) hold(key cache.Key, raw string, rec *cache.Record, before mark) {
	s := &session{raw: raw, rec: rec}
	s.confirmed(before)
	_ = h.sessions.Put(h.ctx, key, &cache.Record{Value: s, Expires: rec.Expires})
	if h.changes.Load() != before.changes {
		h.drop(key.Ref())
	}
}

// spare returns the record of a held session that may be served although the server
// has failed with err, be it an answer or not. It returns nil if there is none.
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

// good tells whether a session may be served at the time now; confirmed is the number
// of losses up to its last confirmation. It may be served until the end that the next
// loss has set. Without a later loss it may be served too: the server has not been
// silent for long, since a silent connection is given up.
func (h *held) good(confirmed uint64, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	since, remembered := h.losses.Load()-confirmed, uint64(len(h.ends))
	if since == 0 {
		return true
	}
	return since <= remembered && now.Before(h.ends[(confirmed+1)%remembered])
}

// lost notes the loss of a connection whose last answer came at answered.
func (h *held) lost(answered time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	losses := h.losses.Load() + 1
	h.ends[losses%uint64(len(h.ends))] = answered.Add(h.stale)
	h.losses.Store(losses)
}

func (h *held) drop(ref cache.Ref) { _ = h.sessions.Delete(h.ctx, ref) }

// invalidated is called with the keys that have changed on the server. Without keys,
// all may have changed, as after FLUSHALL, or the connection is lost.
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
