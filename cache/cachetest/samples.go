package cachetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"reflect"
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

// sample is a value of a kind: full has no zero field, empty has no other.
type sample struct {
	name        string
	kind        cache.Kind
	full, empty any
}

func samples() []sample {
	at := time.Now().Truncate(time.Millisecond)
	session := &cache.Session{
		PublicID: "k3vQ", Account: "dqe:LICENCE", Number: "+33639980001", Region: "FR",
		Operator: "SFR", VerifiedAt: at,
	}
	return []sample{
		{"Session", cache.KindSession, session, &cache.Session{}},
		{"Attempt", cache.KindAttempt, &cache.Attempt{
			Phase: cache.PhaseEnded, Browser: sha256.Sum256([]byte("browser")),
			Account: "dqe:LICENCE", Number: "+33639980001", Region: "FR", Operator: "Opérateur", Client: "client",
			Return: "/account?q=é&b=%00", State: []byte{0, 0xff, '"'}, Deadline: at.Add(time.Minute), AskUntil: at.Add(time.Hour),
			ReturnedAt: at, AskAt: at.Add(time.Second), Asked: 3, Failed: 2,
			ProvenAt: at.Add(2 * time.Second), Outcome: "verified",
			InFlight: []cache.Counted{{Counter: perClient.Counter(), Slot: 1, Total: 2}},
			Counted:  []cache.Counted{{Counter: perNumber.Counter(), Slot: 3, Total: 4}},
		}, &cache.Attempt{}},
		{"Press", cache.KindPress, &cache.Press{
			Attempt: "attempt", URL: "https://operator.example/check?a=1&b=<2>", Code: "busy", RetryAt: at.Add(time.Hour),
		}, &cache.Press{}},
		{"Refusal", cache.KindRefusal, &cache.Refusal{Code: "number_mismatch"}, &cache.Refusal{}},
		{"Grant", cache.KindGrant, &cache.Grant{
			Attempt: "attempt", Session: session, Given: 1,
		}, &cache.Grant{}},
		{"Claim", cache.KindClaim, &cache.Claim{}, &cache.Claim{}},
		{"Fingerprint", cache.KindFingerprint, &cache.Fingerprint{Sum: []byte{1, 0xff}}, &cache.Fingerprint{}},
	}
}

// attempt returns an attempt in flight all of whose parts tell n, so that a
// mixture of two is seen.
func attempt(n int) *cache.Attempt {
	return &cache.Attempt{
		Phase: cache.PhaseStarted, Number: fmt.Sprintf("+336399%05d", n%10_000+80_000),
		Return: fmt.Sprintf("/%d", n), State: []byte(fmt.Sprint(n)), Asked: n, Failed: n,
		Deadline: deadline,
	}
}

// deadline is that of all attempts in flight.
var deadline = time.Now().Add(time.Hour).Truncate(time.Millisecond)

// whole tells whether a is one attempt that attempt returned.
func whole(a *cache.Attempt) bool {
	return equal(a, attempt(a.Asked))
}

// equal compares two values as a store may hand them back: a time without its
// monotonic reading, its zone and what is below a millisecond, no bytes as nil.
func equal(got, want any) bool {
	return equalValues(reflect.ValueOf(got), reflect.ValueOf(want))
}

func equalValues(got, want reflect.Value) bool {
	if got.Type() != want.Type() {
		return false
	}
	switch want := want.Interface().(type) {
	case time.Time:
		got := got.Interface().(time.Time)
		return got.IsZero() == want.IsZero() && got.Sub(want).Abs() < time.Millisecond
	case []byte:
		return bytes.Equal(got.Bytes(), want)
	}
	switch want.Kind() {
	case reflect.Pointer, reflect.Interface:
		if got.IsNil() || want.IsNil() {
			return got.IsNil() && want.IsNil()
		}
		return equalValues(got.Elem(), want.Elem())
	case reflect.Struct:
		for i := range want.NumField() {
			if want.Type().Field(i).IsExported() && !equalValues(got.Field(i), want.Field(i)) {
				return false
			}
		}
		return true
	default:
		return reflect.DeepEqual(got.Interface(), want.Interface())
	}
}
