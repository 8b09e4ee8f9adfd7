// Package cache defines the store in which the gate keeps what must outlive one
// request: attempts, sessions, counters. Packages memory, bolt and redis hold the
// built-in ones.
//
// Another one is a module of Caddy in the namespace http.number_verify.caches that
// implements Opener, and opens a Cache. What it stores are records: a Cache sees
// the key of a record, how long it lives and by which tags it is found, but not
// what its value means. A cache that stores bytes gets them from package sealed,
// which has the gate's Codec write the value and then encrypts the record, so that
// the store can neither read nor change it.
//
// The example of package cachetest shows a whole cache; cachetest.Run is its test.
package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"go.uber.org/zap"
)

// The errors of a cache that mean something. Any other is a failure of the cache:
// nothing is known then, and the gate refuses.
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
// A record that Get returned, its value and its Label are shared: nobody changes them. Put
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
	// with the very Value, Label and end of old only says that it was used, which a
	// crash may undo.
	Replace(ctx context.Context, key Key, old, rec *Record) error

	// Delete removes the record; that there is none is no error.
	Delete(ctx context.Context, ref Ref) error

	// Find returns the Refs of the live records with that tag, each once. It
	// misses none that was stored before the call; it may return a record that
	// has just ended, or that had the tag before.
	Find(ctx context.Context, tag Tag) ([]Ref, error)

	// Label returns the Label of the live record under ref, or ErrNotFound. It may
	// still return that of a record that has just ended.
	Label(ctx context.Context, ref Ref) ([]byte, error)

	// Walk calls visit for every live session, until visit returns an error, which
	// Walk returns. It misses none that was stored before the call and lives on; it
	// may visit one more than once, or one that has just ended. visit may use the
	// cache.
	Walk(ctx context.Context, visit func(Ref) error) error

	// Sessions returns how many sessions there are. One that has ended may count
	// for another minute.
	Sessions(ctx context.Context) (int64, error)

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
	// Held is how many sessions it holds. One that has expired may count for
	// another minute.
	Held() int64
}

// Totaler is a Cache that can read a counter. A cache need not: without it there is no
// metric of the attempts under way.
type Totaler interface {
	// Total returns how many events the limit counts now. It counts none, and Max
	// does not matter.
	Total(ctx context.Context, limit Limit) (int64, error)
}

// Opener is what a cache module is: a configuration that opens its cache when
// Caddy starts, never while a configuration is only adapted or validated.
type Opener interface {
	// StoreName names the store. Modules with equal names share one open
	// Cache, and it lives on through a reload of the configuration.
	StoreName() string
	// Secrets returns the configured secrets that protect the index keys, by which
	// numbers and addresses are found: the current one first, then previous ones.
	// There are none where the verifier's secret serves. A module may also have a
	// method HasSecret() bool, which tells before it is provisioned, for caddy
	// adapt, whether there will be one.
	Secrets() []string
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
	// room, since somebody has paid for it, and is what Walk visits.
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
	// KindClaim: something that may be used only once, and has been. As long as
	// such a record is stored, Replace with old nil returns ErrConflict, even if
	// the record is damaged and does not open.
	KindClaim
	// KindShared: what must be equal on all nodes.
	KindShared
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
	// Realm is the scope of the visitors' cookies, a host or a cookie domain, with
	// the name of the cookies.
	Realm string
	// Secret has at least 128 random bits, and only the owner of the record knows
	// it. A cache never stores it: it stores records by their Ref, and seals them
	// with a key derived from Secret where the store is outside this process.
	Secret string
}

// Ref is the name under which a cache stores a record.
type Ref [sha256.Size]byte

// Tag finds records without their keys: it is an HMAC of a phone number, or a hash
// of a browser cookie.
type Tag [sha256.Size]byte

// Ref hashes the key. It does not allocate for realms of usual length.
func (k Key) Ref() Ref {
	buf := make([]byte, 0, 320)
	buf = append(buf, byte(k.Kind), byte(len(k.Realm)>>8), byte(len(k.Realm)))
	buf = append(buf, k.Realm...)
	buf = append(buf, k.Secret...)
	return sha256.Sum256(buf)
}

// Record is a value with the time that it lives.
type Record struct {
	// Value is a pointer that means nothing to the cache: a Codec knows which
	// type belongs to the key's Kind.
	Value any
	// Expires is the latest end of the record, however often it is used.
	Expires time.Time
	// Idle is how long the record lives without being used; 0 for no such end.
	Idle time.Duration
	// Touched is when the record was last used. It matters for Idle only.
	Touched time.Time
	// Tags are those by which Find finds the record; a zero Tag is none.
	Tags [2]Tag
	// Label is stored beside the record, where Label finds it without the key. It
	// is readable there, so the gate encrypts it. nil for most records.
	Label []byte
	// Version differs after each write of the record. The cache sets it.
	Version uint64
}

// End is when the record ends if it is not used again: at Expires, or after being
// idle for too long. A clock that was set back does not lengthen it.
func (r *Record) End() time.Time {
	if r.Idle == 0 {
		return r.Expires
	}
	if idle := r.Touched.Add(r.Idle); idle.Before(r.Expires) {
		return idle
	}
	return r.Expires
}

// IsUseOf tells whether r, which replaces old, says no more than that old was used.
func (r *Record) IsUseOf(old *Record) bool {
	return r.Value == old.Value && r.Expires.Equal(old.Expires) && bytes.Equal(r.Label, old.Label)
}

// Live tells whether now is before End.
func (r *Record) Live(now time.Time) bool { return now.Before(r.End()) }
