package sealed

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

var (
	testKey = cache.Key{Kind: cache.KindSession, Realm: "www.example.com", Secret: strings.Repeat("s", 43)}
	testRec = &cache.Record{
		Value: cache.NewSession(cache.Session{
			PublicID: "public", Account: "dqe/account", Number: "+33639980001", Region: "FR", Operator: "SFR",
			VerifiedAt: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		}),
		Expires: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), Idle: time.Hour,
		Touched: time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC),
	}
)

func seal(tb testing.TB, key cache.Key, rec *cache.Record) []byte {
	tb.Helper()
	sealed, err := Seal(key, rec)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

func TestSealedRecordOpensWithItsKey(t *testing.T) {
	got, err := Open(testKey, seal(t, testKey, testRec))
	if err != nil {
		t.Fatal(err)
	}
	if *got.Value.(*cache.Session) != *testRec.Value.(*cache.Session) {
		t.Errorf("got %+v", got.Value)
	}
	if !got.Expires.Equal(testRec.Expires) || got.Idle != testRec.Idle || !got.Touched.Equal(testRec.Touched) {
		t.Errorf("got %+v", got)
	}
}

func TestStolenRecordTellsNothing(t *testing.T) {
	sealed := seal(t, testKey, testRec)
	if bytes.Equal(sealed, seal(t, testKey, testRec)) {
		t.Error("the same record is sealed alike twice")
	}
	for _, text := range []string{"639980001", "SFR", "public", "dqe", "www.example.com", testKey.Secret, base64.StdEncoding.EncodeToString([]byte("+33639980001"))} {
		if bytes.Contains(sealed, []byte(text)) {
			t.Errorf("the sealed record holds %q", text)
		}
	}
}

func TestRecordMovedElsewhereDoesNotOpen(t *testing.T) {
	sealed := seal(t, testKey, testRec)
	for name, key := range map[string]cache.Key{
		"another secret":    {Kind: testKey.Kind, Realm: testKey.Realm, Secret: strings.Repeat("t", 43)},
		"another realm":     {Kind: testKey.Kind, Realm: "www.example.org", Secret: testKey.Secret},
		"another kind":      {Kind: cache.KindRefusal, Realm: testKey.Realm, Secret: testKey.Secret},
		"unknown kind":      {Kind: 200, Realm: testKey.Realm, Secret: testKey.Secret},
		"realm into secret": {Kind: testKey.Kind, Realm: testKey.Realm + testKey.Secret[:1], Secret: testKey.Secret[1:]},
	} {
		if _, err := Open(key, sealed); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChangedRecordDoesNotOpen(t *testing.T) {
	sealed := seal(t, testKey, testRec)
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := Open(testKey, changed); !errors.Is(err, ErrSealed) {
			t.Fatalf("opens with byte %d changed: %v", i, err)
		}
		if _, err := Open(testKey, sealed[:i]); !errors.Is(err, ErrSealed) {
			t.Fatalf("opens when cut after %d bytes: %v", i, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(seal(f, testKey, testRec))
	f.Add([]byte{format})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		rec, err := Open(testKey, sealed)
		if (err == nil) != (rec != nil) {
			t.Errorf("%v, %v", rec, err)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	sealed := seal(b, testKey, testRec)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(testKey, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
