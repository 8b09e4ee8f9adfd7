// Package redis is the cache that several Caddy nodes share, in Redis or Valkey, a
// single server or a Cluster. A node holds the sessions that it has read, and the
// server tells it when one has changed.
package redis

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/sealed"
)

// versionSize is the number of random bytes before a sealed record. They are its
// Version, and new with each write.
const versionSize = 8

var (
	errNotConnected = errors.New("not connected yet")
	errAnswer       = errors.New("answer not understood")
)

// Cache is a cache.Cache on a server. The server's key of a record is <prefix><ref>,
// and expires with the record. That of a counter is <prefix>{count}<ref>, so that a
// Cluster keeps all counters together. <prefix>tag<tag> lists the records with a tag, and
// <prefix>sessions all sessions.
type Cache struct {
	opts   Options
	now    func() time.Time
	codec  cache.Codec
	log    *zap.Logger
	client atomic.Pointer[rueidis.Client] // nil until the first connection
	held   *held
	closed atomic.Bool
	stop   chan struct{}
	done   chan struct{} // closed when connect has ended
	end    func()        // ends the client's connections
}

// Get implements cache.Cache. A session that this node holds is answered without
// asking the server.
func (c *Cache) Get(ctx context.Context, key cache.Key) (*cache.Record, error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	var rec *cache.Record
	if key.Kind == cache.KindSession {
		rec, err = c.session(ctx, key)
	} else {
		rec, err = c.read(ctx, key)
	}
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	if rec == nil || !rec.Live(c.now()) {
		return nil, cache.ErrNotFound
	}
	return rec, nil
}

// session returns a session, or nil if there is none. While the server does not answer,
// a session that this node holds is served for a while.
func (c *Cache) session(ctx context.Context, key cache.Key) (*cache.Record, error) {
	client, err := c.connected()
	if err != nil {
		return nil, err
	}
	ref := key.Ref()
	if c.held.get(key) == nil {
		if there, err := c.trackable(ctx, ref); err != nil || !there {
			return nil, err
		}
	}
	before := c.held.mark()
	// a static TTL avoids a MULTI, which a full server refuses
	get := client.B().Get().Key(c.recordKey(ref)).Cache().ToStaticTTL()
	answer := client.DoCache(ctx, get, c.opts.StaleIfError)
	raw, err := answer.ToString()
	switch {
	case rueidis.IsRedisNil(err):
		c.held.drop(ref)
		return nil, nil
	case err != nil:
		if rec := c.held.spare(key, err); rec != nil && !c.closed.Load() {
			return rec, nil
		}
		return nil, err
	}
	if rec := c.held.confirm(key, raw, before, answer.IsCacheHit()); rec != nil {
		return rec, nil
	}
	rec := c.open(key, raw)
	if rec != nil {
		c.held.hold(key, raw, rec, before)
	}
	return rec, nil
}

// trackable tells whether anything is stored under ref. If not, the key must not be
// read with tracking: the server remembers tracked keys, and strangers could fill its
// memory with keys that do not exist. It is an error if this user may not track keys.
func (c *Cache) trackable(ctx context.Context, ref cache.Ref) (bool, error) {
	client, err := c.connected()
	if err != nil {
		return false, err
	}
	exists := client.B().Exists().Key(c.recordKey(ref)).Build()
	answers := client.DoMulti(ctx, append(rueidis.Commands{exists}, askTracking(client)...)...)
	if err := answers[1].Error(); err != nil {
		return false, err
	}
	return answers[0].AsBool()
}

// askTracking returns two commands. The answer to the first says whether this user may
// track keys; rueidis itself does not read it. The first command applies to the one
// after it, so the second is one without keys.
func askTracking(client rueidis.Client) rueidis.Commands {
	return rueidis.Commands{
		client.B().ClientCaching().Yes().Build().ToRetryable(),
		client.B().Ping().Build().ToRetryable(),
	}
}

// read returns the record under key from the server, or nil if there is none, or key
// does not open it.
func (c *Cache) read(ctx context.Context, key cache.Key) (*cache.Record, error) {
	raw, err := c.raw(ctx, key.Ref())
	if err != nil || raw == "" {
		return nil, err
	}
	return c.open(key, raw), nil
}

// raw returns the content stored under ref, or "" if there is none.
func (c *Cache) raw(ctx context.Context, ref cache.Ref) (string, error) {
	client, err := c.connected()
	if err != nil {
		return "", err
	}
	raw, err := client.Do(ctx, client.B().Get().Key(c.recordKey(ref)).Build()).ToString()
	if rueidis.IsRedisNil(err) {
		return "", nil
	}
	return raw, err
}

// open opens the raw content of a record. It returns nil if key does not open it.
func (c *Cache) open(key cache.Key, raw string) *cache.Record {
	if len(raw) < versionSize {
		return nil
	}
	rec, err := sealed.Open(c.codec, key, []byte(raw[versionSize:]))
	if err != nil {
		return nil // fail closed
	}
	rec.Version = binary.BigEndian.Uint64([]byte(raw))
	return rec
}

// Put implements cache.Cache.
func (c *Cache) Put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return c.failed(ctx, c.put(ctx, key, rec))
}

func (c *Cache) put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	raw, life, err := c.seal(key, rec)
	if err != nil {
		return err
	}
	if life > 0 {
		if err := c.list(ctx, key, nil, rec); err != nil {
			return err
		}
	}
	return c.set(ctx, key.Kind, key.Ref(), raw, life)
}

// set stores raw for life milliseconds, or deletes if life is 0, whatever stood there.
func (c *Cache) set(ctx context.Context, kind cache.Kind, ref cache.Ref, raw string, life int64) error {
	client, err := c.connected()
	if err != nil {
		return err
	}
	args := []string{raw, strconv.FormatInt(life, 10)}
	old, err := setScript.Exec(ctx, client, []string{c.recordKey(ref)}, args).ToString()
	if err != nil {
		return err
	}
	return c.settle(ctx, kind, ref, old)
}

// Replace implements cache.Cache.
func (c *Cache) Replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if old != nil && !old.Live(c.now()) {
		return cache.ErrConflict
	}
	return c.failed(ctx, c.replace(ctx, key, old, rec))
}

func (c *Cache) replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	raw, life, err := c.seal(key, rec)
	if err != nil {
		return err
	}
	if life > 0 {
		if err := c.list(ctx, key, old, rec); err != nil {
			return err
		}
	}
	expected := ""
	if old != nil {
		expected = version(old)
	}
	err = c.swap(ctx, key.Ref(), expected, raw, life)
	if old == nil && errors.Is(err, cache.ErrConflict) {
		if expected, err = c.deadVersion(ctx, key); err == nil {
			err = c.swap(ctx, key.Ref(), expected, raw, life)
		}
	}
	if errors.Is(err, cache.ErrConflict) {
		// what was listed is not stored; if that fails, it counts until its end
		_ = c.settle(ctx, key.Kind, key.Ref(), version(rec))
	}
	if err != nil {
		return err
	}
	return c.settle(ctx, key.Kind, key.Ref(), expected)
}

// deadVersion returns the version of the content under key, or "" without content, if
// no record lives there: it has ended by this node's clock, or key does not open it.
// If one lives there, or a claim does not open, the error is cache.ErrConflict.
func (c *Cache) deadVersion(ctx context.Context, key cache.Key) (string, error) {
	raw, err := c.raw(ctx, key.Ref())
	if err != nil {
		return "", err
	}
	rec := c.open(key, raw)
	if rec != nil && rec.Live(c.now()) || rec == nil && raw != "" && key.Kind == cache.KindClaim {
		return "", cache.ErrConflict
	}
	return raw[:min(versionSize, len(raw))], nil
}

// swap stores raw for life milliseconds, or deletes if life is 0. It does so only if the
// content under ref begins with expected, or, if expected is "", there is no content.
// Otherwise the error is cache.ErrConflict.
func (c *Cache) swap(ctx context.Context, ref cache.Ref, expected, raw string, life int64) error {
	client, err := c.connected()
	if err != nil {
		return err
	}
	args := []string{expected, raw, strconv.FormatInt(life, 10)}
	swapped, err := swapScript.Exec(ctx, client, []string{c.recordKey(ref)}, args).AsBool()
	if err == nil && !swapped {
		return cache.ErrConflict
	}
	return err
}

// Delete implements cache.Cache.
func (c *Cache) Delete(ctx context.Context, ref cache.Ref) error {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return c.failed(ctx, c.set(ctx, cache.KindSession, ref, "", 0))
}

// settle takes the version gone of a session off the list of sessions; "" is none. It
// also waits until the server has told this node that the session, which it may hold, has
// changed. The message comes after the answer to the write, but before the answer to any
// later command.
func (c *Cache) settle(ctx context.Context, kind cache.Kind, ref cache.Ref, gone string) error {
	if kind != cache.KindSession {
		return nil
	}
	client, err := c.connected()
	if err != nil {
		return err
	}
	ask := rueidis.Commands{client.B().Exists().Key(c.recordKey(ref)).Build()}
	if gone != "" {
		ask = append(ask, client.B().Zrem().Key(c.sessionsKey()).Member(member(ref, gone)).Build())
	}
	for _, answer := range client.DoMulti(ctx, ask...) {
		if err := answer.Error(); err != nil {
			return err
		}
	}
	return nil
}

// Close implements cache.Cache.
func (c *Cache) Close() error {
	if c.closed.Swap(true) {
		return cache.ErrClosed
	}
	close(c.stop)
	<-c.done
	if client := c.client.Load(); client != nil {
		(*client).Close()
		c.end()
	}
	return c.held.sessions.Close()
}

// begin bounds the time of a call.
func (c *Cache) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if c.closed.Load() {
		return nil, nil, cache.ErrClosed
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.Timeout, errTimeout)
	return ctx, cancel, nil
}

var errTimeout = errors.New("no answer in time")

// failed returns the error that a call returns for err. Errors of package cache and of
// ctx remain what they are; any other error loses the text that the server has sent.
func (c *Cache) failed(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, cache.ErrConflict), errors.As(err, new(*cache.LimitError)):
		return err
	case c.closed.Load():
		return cache.ErrClosed
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errTimeout):
		return ctx.Err()
	case ctx.Err() != nil:
		return fmt.Errorf("redis: %w", errTimeout)
	}
	if refused, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(refused.Error(), "OOM ") {
		return fmt.Errorf("redis: maxmemory is reached: %w", cache.ErrFull)
	}
	return fmt.Errorf("redis: %w", plain(err))
}

// connected returns the client, or an error as long as there is none.
func (c *Cache) connected() (rueidis.Client, error) {
	client := c.client.Load()
	if client == nil {
		return nil, errNotConnected
	}
	return *client, nil
}

// seal returns the content to store for a record, with a new version, and how many
// milliseconds the record has to live, 0 if it has ended.
func (c *Cache) seal(key cache.Key, rec *cache.Record) (raw string, life int64, err error) {
	if !key.Kind.Stored() {
		return "", 0, fmt.Errorf("unknown kind %d", key.Kind)
	}
	now := c.now()
	if rec.Live(now) {
		life = max(1, rec.End().Sub(now).Milliseconds())
	}
	box, err := sealed.Seal(c.codec, key, rec)
	if err != nil {
		return "", 0, err
	}
	var fresh [versionSize]byte
	_, _ = rand.Read(fresh[:]) // never fails, by its documentation
	rec.Version = binary.BigEndian.Uint64(fresh[:])
	return string(fresh[:]) + string(box), life, nil
}

func version(rec *cache.Record) string {
	return string(binary.BigEndian.AppendUint64(nil, rec.Version))
}

func (c *Cache) recordKey(ref cache.Ref) string { return c.opts.Prefix + encode(ref) }

func (c *Cache) counterKey(ref cache.Ref) string { return c.opts.Prefix + "{count}" + encode(ref) }

func (c *Cache) tagKey(tag cache.Tag) string { return c.opts.Prefix + "tag" + encode(tag) }

func (c *Cache) sessionsKey() string { return c.opts.Prefix + "sessions" }

func encode(sum [32]byte) string { return base64.RawURLEncoding.EncodeToString(sum[:]) }

// Interface guards
var (
	_ cache.Cache   = (*Cache)(nil)
	_ cache.Totaler = (*Cache)(nil)
)
