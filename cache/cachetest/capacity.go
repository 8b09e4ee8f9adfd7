package cachetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/cache"
)

// RunFull tests what a cache does when it is full: it refuses new attempts, and keeps
// what it holds. The cache that open returns must have room for at least 10 and less
// than 20,000 attempts of a kilobyte each.
func RunFull(t *testing.T, open Opener) {
	b := setUp(t, open)
	b.put(t, sessionKey, b.record(value(1)))
	name := func(i int) cache.Key { return key(cache.KindAttempt, fmt.Sprint("attempt ", i)) }
	begin := func(i int) error {
		large := value(i)
		large.Text = strings.Repeat("state", 200)
		return b.Replace(t.Context(), name(i), nil, b.record(large))
	}
	begun := 0
	for ; begun < 20_000; begun++ {
		err := begin(begun)
		if errors.Is(err, cache.ErrFull) {
			break
		}
		if err != nil {
			t.Fatalf("attempt %d: %v", begun, err)
		}
	}
	if begun < 10 || begun == 20_000 {
		t.Fatalf("full after %d attempts", begun)
	}
	b.get(t, sessionKey)
	for i := range begun {
		b.get(t, name(i))
	}
	b.misses(t, name(begun))
	for i := range begun / 2 {
		b.delete(t, name(i))
	}
	for i := range begun / 4 {
		if err := begin(begun + i); err != nil {
			t.Fatalf("attempt %d of %d that must find room again: %v", i, begun/4, err)
		}
	}
	b.put(t, key(cache.KindSession, "new"), b.record(value(2)))
}
