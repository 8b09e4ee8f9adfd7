// Package ledger keeps the records of attempts and sessions in a cache: which
// there are (values.go), their keys (key.go), what else they are found by
// (index.go), and typed access to them.
package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// Config is what a Ledger needs.
type Config struct {
	// Account is the verifier account that the records belong to.
	Account string
	// Secret is the secret from which the keys of the index are derived.
	Secret string
	// Cache returns the opened cache. It may wait a little for one that is being
	// opened, and returns an error while there is none.
	Cache func(context.Context) (cache.Cache, error)
	// Panicked is told of panics of the cache, which become errors: the method
	// and the value.
	Panicked func(method string, value any)
}

// Ledger reads and writes the records of one verifier account. All its errors
// but ErrNotFound and ErrConflict carry a code for the visitor: see package
// refusal.
type Ledger struct {
	cfg   Config
	index []byte // the key of the index
}

// The answers of a cache that its callers expect.
var (
	ErrNotFound = cache.ErrNotFound
	ErrConflict = cache.ErrConflict
)

// New derives the keys of the index from the secret.
func New(cfg Config) (*Ledger, error) {
	index, err := indexKey(cfg.Secret, cfg.Account)
	if err != nil {
		return nil, err
	}
	return &Ledger{cfg: cfg, index: index}, nil
}

// Life is how long a record is kept, and what else it is found by.
type Life struct {
	Expires time.Time
	// Idle ends the record when it was not used for so long; 0: never. Touched
	// is when it was last used.
	Idle    time.Duration
	Touched time.Time
	Tags    [2]cache.Tag
}

// Entry is a record as it was read, which Swap replaces.
type Entry[T any] struct {
	Key   Key[T]
	Value *T // shared: nobody changes it
	// Record is how the cache keeps it; nil where there is none.
	Record *cache.Record
}

// Get reads a record. Where there is none the error is ErrNotFound.
func Get[T any](ctx context.Context, l *Ledger, key Key[T]) (Entry[T], error) {
	entry := Entry[T]{Key: key}
	rec, err := l.get(ctx, key.Key)
	if err != nil {
		return entry, err
	}
	value, ok := rec.Value.(*T)
	if !ok || value == nil {
		return entry, refusal.New(refusal.CacheUnavailable, errors.New("cache: record of another type"))
	}
	entry.Value, entry.Record = value, rec
	return entry, nil
}

// Put stores a record, whatever stood there. Nobody changes value afterwards.
func Put[T any](ctx context.Context, l *Ledger, key Key[T], value *T, life Life) error {
	return l.do(ctx, "put", func(c cache.Cache) error { return c.Put(ctx, key.Key, life.record(value)) })
}

// Swap stores value in place of an entry: ErrConflict means that the record has
// changed since, or, where entry is Nothing, that there is one. It returns the new
// entry.
func Swap[T any](ctx context.Context, l *Ledger, entry Entry[T], value *T, life Life) (Entry[T], error) {
	rec := life.record(value)
	err := l.do(ctx, "replace", func(c cache.Cache) error { return c.Replace(ctx, entry.Key.Key, entry.Record, rec) })
	return Entry[T]{entry.Key, value, rec}, err
}

// Nothing is the entry under a key where there is no record: Swap with it makes
// one.
func Nothing[T any](key Key[T]) Entry[T] { return Entry[T]{Key: key} }

// Touch notes that a record was used. That it has changed meanwhile is no error.
func Touch[T any](ctx context.Context, l *Ledger, entry Entry[T], now time.Time) error {
	rec := entry.Record
	_, err := Swap(ctx, l, entry, entry.Value, Life{rec.Expires, rec.Idle, now, rec.Tags})
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

func (life Life) record(value any) *cache.Record {
	return &cache.Record{Value: value, Expires: life.Expires, Idle: life.Idle, Touched: life.Touched, Tags: life.Tags}
}

// Find returns where the live records are that have a tag; it misses none that
// was stored before.
func (l *Ledger) Find(ctx context.Context, tag cache.Tag) (refs []cache.Ref, err error) {
	err = l.do(ctx, "find", func(c cache.Cache) (err error) {
		refs, err = c.Find(ctx, tag)
		return err
	})
	return refs, err
}

// Remove removes records. That one is not there is no error; where one cannot be
// removed the others are, all the same.
func (l *Ledger) Remove(ctx context.Context, refs ...cache.Ref) error {
	var errs []error
	for _, ref := range refs {
		errs = append(errs, l.do(ctx, "delete", func(c cache.Cache) error { return c.Delete(ctx, ref) }))
	}
	return errors.Join(errs...)
}

// Count counts one event against every limit in one step. Where one is reached
// the error is a *cache.LimitError.
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

// Sessions is how many sessions take room in this process; 0 where the cache
// keeps them elsewhere.
func (l *Ledger) Sessions(ctx context.Context) (n int64, err error) {
	err = l.do(ctx, "sessions", func(c cache.Cache) error {
		if sized, ok := c.(cache.Sized); ok {
			n = sized.Sessions()
		}
		return nil
	})
	return n, err
}

// get is do for Get, without a closure: every request comes here.
func (l *Ledger) get(ctx context.Context, key cache.Key) (rec *cache.Record, err error) {
	defer l.catch("get", &err)
	c, err := l.cfg.Cache(ctx)
	if err != nil {
		return nil, coded(err)
	}
	if rec, err = c.Get(ctx, key); err == nil && rec == nil {
		err = errNothing
	}
	return rec, coded(err)
}

func (l *Ledger) do(ctx context.Context, method string, call func(cache.Cache) error) (err error) {
	defer l.catch(method, &err)
	c, err := l.cfg.Cache(ctx)
	if err != nil {
		return coded(err)
	}
	return coded(call(c))
}

var (
	errPanicked = errors.New("the cache panicked")
	errNothing  = errors.New("cache: neither a record nor an error")
)

// catch makes an error of a panic: caches are modules, too, and some are called
// in goroutines where nobody else would stop it.
func (l *Ledger) catch(method string, err *error) {
	if p := recover(); p != nil {
		l.cfg.Panicked(method, p)
		*err = refusal.New(refusal.CacheUnavailable, errPanicked)
	}
}

// coded gives an error of the cache its code. A conflict is told to no visitor but
// one who has signed out meanwhile, in another tab.
func coded(err error) error {
	if err == nil || errors.Is(err, cache.ErrNotFound) {
		return err
	}
	if _, ok := errors.AsType[*cache.LimitError](err); ok {
		return err
	}
	if errors.Is(err, cache.ErrConflict) || errors.Is(err, cache.ErrFull) {
		return refusal.New(refusal.Busy, err)
	}
	return refusal.New(refusal.CacheUnavailable, err)
}
