// Package cache defines where the gate keeps what must outlive one request:
// attempts, sessions, and what explains them. A cache for Caddy is a module of
// the namespace http.number_verify.caches that implements Opener; see package
// memory. Package cachetest holds the conformance suite.
package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"go.uber.org/zap"
)

// What a cache answers beside success. Any other error is a failure of the
// cache: nothing is known then, and the gate refuses.
var (
	// ErrNotFound: there is no live record under the key.
	ErrNotFound = errors.New("cache: not found")
	// ErrConflict: the record has changed since it was read.
	ErrConflict = errors.New("cache: changed meanwhile")
	// ErrFull: there is no room for another attempt.
	ErrFull = errors.New("cache: full")
	// ErrClosed: the cache has been closed.
	ErrClosed = errors.New("cache: closed")
)

// Cache stores records. Its methods are called from many goroutines at once, and
// each call is one step: it is done at some moment between its beginning and its
// answer, and whoever asks later finds it done. Where a method returns none of the
// errors above, the call may have been done, or may be done later, or never.
//
// Calls give up when ctx ends, but for a write to a disk, which is waited for. What
// a call has done outlives a crash where the store does, but for uses (see Replace)
// and counts (see Count). Where nodes share a store, each with a Cache of its own, a
// node may return a session as it was up to a second ago, and longer while the
// store does not answer.
//
// A record that Get returned, and its value, are shared: nobody changes them. Put
// and Replace store the record they are given and set its Version, so the caller
// hands over a fresh one and lets go of it.
type Cache interface {
	// Get returns the live record under key, or ErrNotFound.
	Get(ctx context.Context, key Key) (*Record, error)

	// Put stores rec under key, whatever stood there. A record without life
	// left deletes.
	Put(ctx context.Context, key Key, rec *Record) error

	// Replace stores rec under key if the record there is still old (the same
	// Version), or if none lives there where old is nil; otherwise it changes
	// nothing and returns ErrConflict. Of any number of callers with the same
	// old exactly one succeeds: this is how an attempt is taken. With old nil
	// and the kind Attempt it returns ErrFull where no more may be begun. A rec
	// with the very Value and end of old only says that it was used, which a
	// crash may undo.
	Replace(ctx context.Context, key Key, old, rec *Record) error

	// Delete removes the record; that there is none is no error.
	Delete(ctx context.Context, ref Ref) error

	// Find returns where the live records are that have that tag, each once; it
	// misses none that was stored before it was called. It may return a record
	// that has just ended, or had the tag earlier.
	Find(ctx context.Context, tag Tag) ([]Ref, error)

	// Count counts one event against every limit, checking and counting in one
	// step: where one of them is reached nothing is counted and the error is a
	// *LimitError. It returns the event as each limit counts it, or ErrFull
	// where there is no room for another counter. A crash may undo what has
	// been counted, or taken back, until a later Put or Replace has returned.
	Count(ctx context.Context, limits []Limit) ([]Counted, error)

	// Uncount takes back events, one after the other. Each may be taken back
	// once; those that count no more are no error.
	Uncount(ctx context.Context, counted []Counted) error

	// Close ends the cache; what is called later returns ErrClosed.
	Close() error
}

// Sized is a Cache whose records take room in this process.
type Sized interface {
	// Sessions is how many sessions it holds. What has expired may count for a
	// minute longer.
	Sessions() int64
}

// Opener is what a cache module is: a configuration that opens its cache when
// Caddy starts, never while a configuration is only adapted or validated.
type Opener interface {
	// StoreName names the store. Modules with equal names share one open
	// Cache, and it lives on through a reload of the configuration.
	StoreName() string
	// Secret is the secret from which index keys are derived, as configured: the
	// keys under which numbers and addresses are found. It is "" where the
	// verifier's secret serves. A module that also has HasSecret() bool is asked
	// that before it is provisioned, so that caddy adapt can tell.
	Secret() string
	// Open opens the store. A cache that stores bytes turns values into bytes
	// and back with codec; one that keeps the values themselves ignores it.
	Open(logger *zap.Logger, codec Codec) (Cache, error)
}

// Codec turns the values of records into bytes and back. It serves many
// goroutines at once, and all kinds that are Stored.
type Codec interface {
	// Encode returns the value of a record of that kind as JSON text. A value of
	// another kind is an error.
	Encode(kind Kind, value any) ([]byte, error)
	// Decode returns a new value, equal to the one that Encode wrote as data. Its
	// error means that data holds no value of that kind.
	Decode(kind Kind, data []byte) (any, error)
}

// Kind is what a record is about. The values are the gate's own, and no cache
// looks into them; what a cache must know of a kind is said with each.
type Kind uint8

const (
	// KindSession: a visitor's verification. It is never refused for want of
	// room, since somebody has paid for it, and is what Sized counts.
	KindSession Kind = iota + 1
	// KindAttempt: a verification under way. A new one may be refused with
	// ErrFull, one that was begun never.
	KindAttempt
	// KindPress: a press of the start button.
	KindPress
	// KindRefusal: why the last attempt of a browser failed.
	KindRefusal
	// KindGrant: a session that its browser may come for once more.
	KindGrant
	// KindClaim: something that may serve once only. A damaged record of this
	// kind is not taken for none: Replace with old nil returns ErrConflict.
	KindClaim
	// KindFingerprint: what must be equal on all nodes.
	KindFingerprint
	// KindCount: a counter, which Count and Uncount alone read and write. Its
	// value is the cache's own, a *Count where one is needed. A new counter may
	// be refused with ErrFull.
	KindCount
)

// Stored tells whether Get, Put and Replace know the kind.
func (k Kind) Stored() bool { return KindSession <= k && k < KindCount }

// Key names a record.
type Key struct {
	Kind Kind
	// Realm is the scope of the cookies, a host or a cookie domain, and their
	// name.
	Realm string
	// Secret is what only the owner of the record knows, at least 128 random
	// bits. A cache never stores it: it stores Ref, and one outside this
	// process seals the record with a key that is derived from Secret.
	Secret string
}

// Ref is the name under which a cache stores a record.
type Ref [sha256.Size]byte

// Tag is what records can be found by without their keys: an HMAC of a number,
// or a hash of a browser cookie.
type Tag [sha256.Size]byte

// Ref hashes the key. It does not allocate for realms of usual length.
func (k Key) Ref() Ref {
	buf := make([]byte, 0, 320)
	buf = append(buf, byte(k.Kind), byte(len(k.Realm)>>8), byte(len(k.Realm)))
	buf = append(buf, k.Realm...)
	buf = append(buf, k.Secret...)
	return sha256.Sum256(buf)
}

// Record is a value and how long it lives.
type Record struct {
	// Value is a pointer that means nothing to the cache: a Codec knows which
	// type belongs to the key's Kind.
	Value any
	// Expires is the absolute end.
	Expires time.Time
	// Idle ends the record when it was not touched for so long; 0: never.
	Idle time.Duration
	// Touched is when it was last used, as far as Idle is concerned.
	Touched time.Time
	// Tags are what Find finds the record by; the zero Tag is none.
	Tags [2]Tag
	// Version changes with each write; the cache sets it.
	Version uint64
}

// End is when the record ends if it is not touched again.
func (r *Record) End() time.Time {
	if r.Idle == 0 {
		return r.Expires
	}
	if idle := r.Touched.Add(r.Idle); idle.Before(r.Expires) {
		return idle
	}
	return r.Expires
}

// IsUseOf tells whether r only says that old, which it replaces, was used.
func (r *Record) IsUseOf(old *Record) bool {
	return r.Value == old.Value && r.Expires.Equal(old.Expires)
}

// Live tells whether the record still holds at now. A clock that was set back
// does not lengthen an idle record's life beyond Expires.
func (r *Record) Live(now time.Time) bool { return now.Before(r.End()) }
