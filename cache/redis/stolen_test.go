package redis

import (
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

// Somebody who can write to the server must not be able to turn a record into another.
func TestRecordCopiedToAnotherKeyDoesNotOpen(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{}, server)
	other := key(cache.KindSession, "other")
	must(t, c.Put(t.Context(), sessionKey, sessionRecord()))
	must(t, c.Put(t.Context(), other, sessionRecord()))
	holds(t, c, other)
	if got := server.Do(t, "COPY", c.recordKey(sessionKey.Ref()), c.recordKey(other.Ref()), "REPLACE"); got != "1" {
		t.Fatalf("COPY: %s", got)
	}
	wait.Until(t, "the copy is no session", func() bool {
		_, err := c.Get(t.Context(), other)
		return errors.Is(err, cache.ErrNotFound)
	})
	holds(t, c, sessionKey)
}

func TestRecordOfAnotherRealmOrKindDoesNotOpen(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{}, server)
	must(t, c.Put(t.Context(), sessionKey, sessionRecord()))
	for name, other := range map[string]cache.Key{
		"realm": {Kind: sessionKey.Kind, Realm: "www.example.org", Secret: sessionKey.Secret},
		"kind":  {Kind: cache.KindAttempt, Realm: sessionKey.Realm, Secret: sessionKey.Secret},
	} {
		server.Do(t, "COPY", c.recordKey(sessionKey.Ref()), c.recordKey(other.Ref()), "REPLACE")
		if _, err := c.Get(t.Context(), other); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

// A damaged record can be replaced, but a damaged claim still counts as claimed.
func TestDamagedRecordIsReplacedButAClaimStays(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{}, server)
	claim := key(cache.KindClaim, "token")
	claimed := func() error {
		return c.Replace(t.Context(), claim, nil, &cache.Record{Value: &cachetest.Value{}, Expires: time.Now().Add(time.Hour)})
	}
	must(t, claimed())
	for _, damaged := range []string{"", "x", "12345678", "12345678 and some more"} {
		for _, key := range []cache.Key{sessionKey, claim} {
			server.Do(t, "SET", c.recordKey(key.Ref()), damaged)
		}
		if damaged != "" {
			if err := claimed(); !errors.Is(err, cache.ErrConflict) {
				t.Errorf("%q: claimed again: %v", damaged, err)
			}
		}
		wait.Until(t, "it is no session", func() bool {
			_, err := c.Get(t.Context(), sessionKey)
			return errors.Is(err, cache.ErrNotFound)
		})
		must(t, c.Replace(t.Context(), sessionKey, nil, sessionRecord()))
		holds(t, c, sessionKey)
	}
}

func TestEverythingExpiresByItself(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{}, server)
	useAll(t, c)
	for _, name := range []string{
		c.recordKey(key(1, "other").Ref()), c.tagKey(sessionRecord().Tags[0]), c.tagKey(sessionRecord().Tags[1]),
		c.counterKey(counterRef(0)), c.counterKey(counterRef(1)), c.sessionsKey(),
	} {
		if ttl := server.Do(t, "TTL", name); ttl == "-1" || ttl == "-2" {
			t.Errorf("%s: TTL %s", name, ttl)
		}
	}
	if n := server.Do(t, "DBSIZE"); n != "6" {
		t.Errorf("%s keys: the test does not know all", n)
	}
}

func counterRef(i int) cache.Ref { counter := limits()[i].Counter(); return counter.Ref() }

func FuzzParseKey(f *testing.F) {
	ref := sessionKey.Ref()
	f.Add(base64.RawURLEncoding.EncodeToString(ref[:]))
	f.Add("")
	f.Add("number-verify:{count}")
	f.Fuzz(func(t *testing.T, name string) {
		if ref, ok := parseKey(name); ok && encode(ref) != name {
			if again, ok := parseKey(encode(ref)); !ok || again != ref {
				t.Errorf("%q is read as %x", name, ref)
			}
		}
	})
}

// BenchmarkGet measures a read of a session that this node holds, beside one that
// asks the server on the same machine.
func BenchmarkGet(b *testing.B) {
	server := redistest.Start(b)
	c, err := Open(Options{Addresses: []string{server.Addr}}, cachetest.Codec{}, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	if err := c.Put(b.Context(), sessionKey, sessionRecord()); err != nil {
		b.Fatal(err)
	}
	for name, run := range map[string]func() error{
		"held":            func() error { _, err := c.Get(b.Context(), sessionKey); return err },
		"from the server": func() error { _, err := c.raw(b.Context(), sessionKey.Ref()); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
