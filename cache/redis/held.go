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

// held holds the sessions that this node has read, already opened: a request need not
// open its session again, and can go on with it for a while if the server does not
// answer. As long as the server answers, it alone decides whether a session lives.
type held struct {
	ctx      context.Context // never ends: sessions are looked up when a call has timed out
	prefix   string
	stale    time.Duration
	sessions *memory.Cache
	// changes counts the server's messages about changed keys.
	changes atomic.Uint64

	// losses counts lost connections. ends[i] is when sessions confirmed before
	// lost connection i stop being served; it holds the last 256, by i modulo 256.
	losses atomic.Uint64
	mu     sync.Mutex
	ends   [256]time.Time
}

// session is the value of a record in held.sessions.
type session struct {
	raw string
	rec *cache.Record
	// losses is what held.losses was when the server last confirmed the session,
	// and read is when that was, since began.
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

// confirm returns the record of the session if it is held with the same raw content
// as was read now. Read from the server, it is confirmed; read from what the server
// has sent earlier (local) it is not, since the connection may just have been lost.
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

// hold holds a session, unless the server has told of a change since it was asked:
// that may have been to this session.
func (h *held) hold(key cache.Key, raw string, rec *cache.Record, before mark) {
	s := &session{raw: raw, rec: rec}
	s.confirmed(before)
	_ = h.sessions.Put(h.ctx, key, &cache.Record{Value: s, Expires: rec.Expires})
	if h.changes.Load() != before.changes {
		h.drop(key.Ref())
	}
}

// spare returns the session for use while the server does not answer, or answers with
// an error: if it is held and still good.
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

// good tells whether a session may be used at now that was confirmed when confirmed
// connections had been lost. It may until the end that the first loss since then has
// set. If there was none the server has not been silent for long, since a silent
// connection is given up.
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

// invalidated is called with the keys that have changed on the server. With none, all
// may have changed, as after FLUSHALL, or the connection is lost.
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
