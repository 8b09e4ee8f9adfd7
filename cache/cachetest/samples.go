package cachetest

import (
	"bytes"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Keys as the gate makes them.
var (
	attemptKey = key(cache.KindAttempt, "attempt")
	otherKey   = key(cache.KindAttempt, "other attempt")
	sessionKey = key(cache.KindSession, "session")
)

func key(kind cache.Kind, secret string) cache.Key {
	return cache.Key{Kind: kind, Realm: "www.example.com", Secret: secret}
}

// kinds are the kinds of all records, by name.
var kinds = map[string]cache.Kind{
	"session": cache.KindSession, "attempt": cache.KindAttempt, "press": cache.KindPress, "refusal": cache.KindRefusal,
	"grant": cache.KindGrant, "claim": cache.KindClaim, "shared": cache.KindShared,
}

// sameRecord tells whether got is want, as a store returns it: with times cut to
// milliseconds.
func sameRecord(got, want *cache.Record) bool {
	return sameValue(got.Value, want.Value.(*Value)) && got.Idle == want.Idle && got.Tags == want.Tags &&
		bytes.Equal(got.Label, want.Label) &&
		sameTime(got.Expires, want.Expires) && sameTime(got.Touched, want.Touched)
}

func sameValue(got any, want *Value) bool {
	v, ok := got.(*Value)
	return ok && v.equal(want)
}

func sameTime(got, want time.Time) bool {
	return got.IsZero() == want.IsZero() && got.Sub(want).Abs() < time.Millisecond
}
