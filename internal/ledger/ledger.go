// Package ledger keeps the records of attempts and sessions in a cache, with typed
// access to them. The records are in values.go, the form in which they are stored
// in codec.go, their keys in key.go, how they are found without a key in index.go,
// what nodes share in shared.go, and what administrators see and end in revoke.go.
package ledger

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/internal/tracing"
)

// Config is what a Ledger needs.
type Config struct {
	// Account is the verifier account that the records belong to.
	Account string
	// Secrets encrypt the index key: the current one, and previous ones with which it
	// may still be encrypted.
	Secrets []string
	// Cache returns the opened cache. It may wait a little for one that is being
	// opened, and returns an error while there is none.
	Cache func(context.Context) (cache.Cache, error)
	// Panicked is called when a method of the cache panics, with the panic's
	// value. The caller of the ledger gets an error.
	Panicked func(method string, value any)
	// Failed is called when a method of the cache fails: when it returns an error
	// that is none of the answers that package cache names.
	Failed func(method string)
	// OtherSecret is called when another node of the account has another secret: the
	// two do not find or count what the other one stores.
	OtherSecret func()
	// NotErased is called when sessions that were revoked could not be erased. It is
	// tried again.
	NotErased func(error)
}

// Ledger reads and writes the records of one verifier account. All its errors
// but ErrNotFound and ErrConflict carry a code for the visitor, see package
// refusal.
type Ledger struct {
	cfg     Config
	secrets []secret

	mu sync.Mutex // of learn and stop
	// known is what this node has read last of the shared record; nil before the first
	// time. Trusted is the same, or nil while that is too long ago.
	known, trusted atomic.Pointer[agreed]
	// stopped says that Watch has ended, so that nothing is trusted any more.
	stopped bool        // guarded by mu
	erasing atomic.Bool // see erase
}

// Errors of the cache that callers have to handle.
var (
	ErrNotFound = cache.ErrNotFound
	ErrConflict = cache.ErrConflict
)

// New returns a ledger. It is an error if there is no secret.
func New(cfg Config) (*Ledger, error) {
	l := &Ledger{cfg: cfg}
	for _, s := range cfg.Secrets {
		secret, err := newSecret(s, cfg.Account)
		if err != nil {
			return nil, err
		}
		l.secrets = append(l.secrets, secret)
	}
	if len(l.secrets) == 0 {
		return nil, errNoSecret
	}
	return l, nil
}

// Life is how long a record is kept, and the tags by which it is found.
type Life struct {
	Expires time.Time
	// Idle is how long after its last use the record ends; 0: no limit. Touched
	// is its last use.
	Idle    time.Duration
	Touched time.Time
	Tags    [2]cache.Tag
	// Label is what an administrator can read without the key.
	Label []byte
}

// Entry is a record as it was read. Swap replaces it.
type Entry[T any] struct {
	Key   Key[T]
	Value *T // shared: it must not be changed
	// Record is the cache's record; nil where there is none.
	Record *cache.Record
}

// Get reads a record. The error is ErrNotFound where there is none.
func Get[T any](ctx context.Context, l *Ledger, key Key[T]) (entry Entry[T], err error) {
	ctx, span := tracing.Call(ctx, "cache", "get")
	defer func() { endSpan(span, err) }()
	return GetUntraced(ctx, l, key)
}

// GetUntraced does what Get does and leaves no span. Every request comes here, and looking
// for its span would be a good part of what it costs.
func GetUntraced[T any](ctx context.Context, l *Ledger, key Key[T]) (Entry[T], error) {
	entry := Entry[T]{Key: key}
	rec, err := l.get(ctx, key.Key)
	if err != nil {
		return entry, err
	}
	value, ok := rec.Value.(*T)
	if !ok || value == nil {
		return entry, l.coded("get", errors.New("cache: record of another type"))
	}
	entry.Value, entry.Record = value, rec
	return entry, nil
}

// Put stores a record, in place of any that is there. Value must not be changed
// afterwards.
func Put[T any](ctx context.Context, l *Ledger, key Key[T], value *T, life Life) error {
	return l.do(ctx, "put", func(c cache.Cache) error {
		if key.Kind == 0 {
			return ErrUnknownRealm
		}
		return c.Put(ctx, key.Key, life.record(value))
	})
}

// Swap stores value in place of an entry, and returns the new entry. ErrConflict
// means that the record has changed since it was read; if entry is Nothing, that
// there is a record.
func Swap[T any](ctx context.Context, l *Ledger, entry Entry[T], value *T, life Life) (Entry[T], error) {
	rec := life.record(value)
	err := l.do(ctx, "replace", func(c cache.Cache) error {
		if entry.Key.Kind == 0 {
			return ErrUnknownRealm
		}
		return c.Replace(ctx, entry.Key.Key, entry.Record, rec)
	})
	return Entry[T]{entry.Key, value, rec}, err
}

// Nothing is the entry of a key without a record. Swap with it makes a record.
func Nothing[T any](key Key[T]) Entry[T] { return Entry[T]{Key: key} }

// Touch notes that a record was used. It is no error if the record has changed
// meanwhile.
func Touch[T any](ctx context.Context, l *Ledger, entry Entry[T], now time.Time) error {
	rec := entry.Record
	_, err := Swap(ctx, l, entry, entry.Value, Life{rec.Expires, rec.Idle, now, rec.Tags, rec.Label})
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

func (life Life) record(value any) *cache.Record {
	return &cache.Record{Value: value, Expires: life.Expires, Idle: life.Idle, Touched: life.Touched, Tags: life.Tags, Label: life.Label}
}

// Find returns the places of all live records that have a tag. It misses none that
// was stored before the call.
func (l *Ledger) Find(ctx context.Context, tag cache.Tag) (refs []cache.Ref, err error) {
	err = l.do(ctx, "find", func(c cache.Cache) (err error) {
		refs, err = c.Find(ctx, tag)
		return err
	})
	return refs, err
}

// Remove removes records. It is no error if one does not exist. Where one cannot be
// removed, the others still are.
func (l *Ledger) Remove(ctx context.Context, refs ...cache.Ref) error {
	var errs []error
	for _, ref := range refs {
		errs = append(errs, l.do(ctx, "delete", func(c cache.Cache) error { return c.Delete(ctx, ref) }))
	}
	return errors.Join(errs...)
}

// Count counts one event against every limit in one step. If one is reached, nothing
// is counted, and the error is a *cache.LimitError.
func (l *Ledger) Count(ctx context.Context, limits []cache.Limit) (counted []cache.Counted, err error) {
	err = l.do(ctx, "count", func(c cache.Cache) (err error) {
		counted, err = c.Count(ctx, limits)
		if err == nil && len(counted) != len(limits) {
			return errors.New("cache: not as many events as limits")
		}
		if reached, ok := errors.AsType[*cache.LimitError](err); ok && (reached.Limit < 0 || reached.Limit >= len(limits)) {
			return errors.New("cache: no such limit")
		}
		return err
	})
	return counted, err
}

// Uncount takes back events.
func (l *Ledger) Uncount(ctx context.Context, counted []cache.Counted) error {
	return l.do(ctx, "uncount", func(c cache.Cache) error { return c.Uncount(ctx, counted) })
}

// Held returns how many sessions take room in this process; 0 where the cache keeps them
// elsewhere.
func (l *Ledger) Held(ctx context.Context) (n int64, err error) {
	err = l.do(ctx, "sessions", func(c cache.Cache) error {
		if sized, ok := c.(cache.Sized); ok {
			n = sized.Held()
		}
		return nil
	})
	return n, err
}

// Sessions returns how many sessions the cache has.
func (l *Ledger) Sessions(ctx context.Context) (n int64, err error) {
	err = l.do(ctx, "sessions", func(c cache.Cache) (err error) {
		n, err = c.Sessions(ctx)
		return err
	})
	return n, err
}

// Total returns how many events a limit counts now. It is not known where the cache
// cannot tell.
func (l *Ledger) Total(ctx context.Context, limit cache.Limit) (n int64, isKnown bool, err error) {
	err = l.do(ctx, "total", func(c cache.Cache) (err error) {
		var totaler cache.Totaler
		if totaler, isKnown = c.(cache.Totaler); isKnown {
			n, err = totaler.Total(ctx, limit)
		}
		return err
	})
	return n, isKnown, err
}

// get does what do does, without a closure: every request comes here.
func (l *Ledger) get(ctx context.Context, key cache.Key) (rec *cache.Record, err error) {
	defer l.catch("get", &err)
	if key.Kind == 0 {
		return nil, l.coded("get", ErrUnknownRealm)
	}
	c, err := l.cfg.Cache(ctx)
	if err != nil {
		return nil, l.coded("get", err)
	}
	if rec, err = c.Get(ctx, key); err == nil && rec == nil {
		err = errNothing
	}
	return rec, l.coded("get", err)
}

// do calls a method of the cache. Its panic becomes an error.
func (l *Ledger) do(ctx context.Context, method string, call func(cache.Cache) error) (err error) {
	ctx, span := tracing.Call(ctx, "cache", method)
	defer func() { endSpan(span, err) }()
	defer l.catch(method, &err)
	c, err := l.cfg.Cache(ctx)
	if err != nil {
		return l.coded(method, err)
	}
	return l.coded(method, call(c))
}

var (
	errPanicked = errors.New("the cache panicked")
	errNoSecret = errors.New("there is no secret to derive keys from")
	errNothing  = errors.New("cache: neither a record nor an error")
	// ErrUnknownRealm says that it could not be read what was revoked.
	ErrUnknownRealm = errors.New("it is not known what was revoked")
)

// catch turns a panic of the cache into an error. Caches may be modules of others,
// and some calls are made in goroutines, where a panic would end Caddy.
func (l *Ledger) catch(method string, err *error) {
	if p := recover(); p != nil {
		l.cfg.Panicked(method, p)
		*err = refusal.New(refusal.CacheUnavailable, errPanicked)
	}
}

// coded gives an error of the cache its code, and reports a failure. After a conflict
// callers try again. Just one tells the visitor Busy: a start whose attempt a sign-out
// in another tab has removed meanwhile.
func (l *Ledger) coded(method string, err error) error {
	if err == nil || errors.Is(err, cache.ErrNotFound) {
		return err
	}
	if _, ok := errors.AsType[*cache.LimitError](err); ok {
		return err
	}
	if errors.Is(err, cache.ErrConflict) || errors.Is(err, cache.ErrFull) {
		return refusal.New(refusal.Busy, err)
	}
	if !errors.Is(err, context.Canceled) { // the visitor went away
		l.cfg.Failed(method)
	}
	return refusal.New(refusal.CacheUnavailable, err)
}

// endSpan ends the span of a call of the cache, which returned err.
func endSpan(span tracing.Span, err error) {
	var reached *cache.LimitError
	switch {
	case err == nil:
		span.End("ok", tracing.Facts{})
	case errors.Is(err, cache.ErrNotFound):
		span.End("not_found", tracing.Facts{})
	case errors.Is(err, cache.ErrConflict):
		span.End("conflict", tracing.Facts{})
	case errors.As(err, &reached), errors.Is(err, cache.ErrFull):
		span.End("full", tracing.Facts{})
	case errors.Is(err, context.Canceled):
		span.End("canceled", tracing.Facts{})
	default:
		span.End("failed", tracing.Facts{Code: refusal.CacheUnavailable})
	}
}
