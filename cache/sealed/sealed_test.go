package sealed

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
)

var (
	testKey = cache.Key{Kind: cache.KindSession, Realm: "www.example.com", Secret: strings.Repeat("s", 43)}
	codec   = cachetest.Codec{}
	testRec = &cache.Record{
		Value:   &cachetest.Value{Text: "+33639980001 SFR public dqe/account", N: 1, Bytes: []byte("bytes")},
		Expires: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC), Idle: time.Hour,
		Touched: time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC),
	}
)

func seal(tb testing.TB, key cache.Key, rec *cache.Record) []byte {
	tb.Helper()
	sealed, err := Seal(codec, key, rec)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

func TestSealedRecordOpensWithItsKey(t *testing.T) {
	got, err := Open(codec, testKey, seal(t, testKey, testRec))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Value, testRec.Value) {
		t.Errorf("got %+v", got.Value)
	}
	if !got.Expires.Equal(testRec.Expires) || got.Idle != testRec.Idle || !got.Touched.Equal(testRec.Touched) {
		t.Errorf("got %+v", got)
	}
}

// text is a codec of values that are JSON texts themselves.
type text struct{}

func (text) Encode(_ cache.Kind, value any) ([]byte, error) { return value.(json.RawMessage), nil }

func (text) Decode(_ cache.Kind, data []byte) (any, error) { return json.RawMessage(data), nil }

// format2 is a record that was sealed before values had a codec.
const format2 = "AnjrmJ5k1P05zY8aVz/gblYPVf+ld1OJ6rkAZSXV/3MAHyh1eDCMGDTtGaRV1ydRZYyrIeIDO6czCeUvGDAtT76wFAak3XVAfAk2rcD6JoKm9r" +
	"/eBUG5/Dq7RXRbU3jPH/0/RZ4C8U+GhJ7OnRKmBfVmGkyNCqEjDA0I6YjJSK9qIMeY9xaCzejoA3kNkYYHaD+g5h+ypsNbv7s0uBC6vmM49jsh" +
	"Idh57O67tEHtlQR4ivoVbcOGo3TlZWcXbgLPDNvhHmO52BMmE+11XVrTnEC2RNESkrC2tmMihN9dcVm/YYiSTn9FFW6JYV+Re9wtCY2NYtbfB7" +
	"sGkNynTgewr5Jytjj6Z6wPp58AdxpeYgXFUzGSIpdej1SBTkgfvAQONKN6jqhPpCESkPAwht5bSiztUOox2JWHbv74kDGgX4CF845YS81zNl3C" +
	"RmxAa2m9vysaSAyMtpWuyOC0w5WhZOIfPb3i/WpdXqAFFw4t2opZkziXQSrM1n+34cpGth744iKKC7WLZFf65aKuDmVWp+0/BX5GMOM4+PiqpH" +
	"yy"

func TestRecordOfAnEarlierVersionOpens(t *testing.T) {
	box, err := base64.StdEncoding.DecodeString(format2)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)
	got, err := Open(text{}, testKey, box)
	if err != nil {
		t.Fatal(err)
	}
	want := &cache.Record{
		Value: json.RawMessage(`{"PublicID":"k3vQ","Account":"dqe/LICENCE","Number":"+33639980001","Region":"FR",` +
			`"Operator":"Opérateur \u003c1\u003e","VerifiedAt":"2026-11-23T12:00:00.123456789Z"}`),
		Expires: at.Add(24 * time.Hour), Idle: time.Hour, Touched: at, Tags: [2]cache.Tag{{1}, {2}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s, %+v", got.Value, got)
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
		if _, err := Open(codec, key, sealed); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// withLabel returns testRec with a label.
func withLabel(label string) *cache.Record {
	rec := *testRec
	rec.Label = []byte(label)
	return &rec
}

func TestLabelIsReadableWithoutTheKey(t *testing.T) {
	for _, label := range []string{"label", "\x00", strings.Repeat("l", maxLabel)} {
		sealed := seal(t, testKey, withLabel(label))
		if got := Label(sealed); string(got) != label || cap(got) != len(got) {
			t.Errorf("the label has %d bytes of %d, want %d", len(got), cap(got), len(label))
		}
		rec, err := Open(codec, testKey, sealed)
		if err != nil || string(rec.Label) != label || !reflect.DeepEqual(rec.Value, testRec.Value) {
			t.Errorf("Open = %+v, %v", rec, err)
		}
		clear(sealed)
		if string(rec.Label) != label {
			t.Error("the opened record keeps the sealed one in memory")
		}
	}
	if _, err := Seal(codec, testKey, withLabel(strings.Repeat("l", maxLabel+1))); err == nil {
		t.Error("a label that is too long is cut")
	}
	for name, none := range map[string][]byte{
		"no label": seal(t, testKey, testRec), "an empty label": seal(t, testKey, withLabel("")),
		"nothing": nil, "an unknown format": {9, 0, 1, 'x'}, "a head that is cut": {labelled, 0}, "a label that is cut": {labelled, 0, 9, 'x'},
	} {
		if label := Label(none); label != nil {
			t.Errorf("%s: %q", name, label)
		}
	}
}

// An earlier version knows no labels, and must go on reading what has none.
func TestRecordWithoutLabelHasTheEarlierFormat(t *testing.T) {
	if sealed := seal(t, testKey, testRec); sealed[0] != 2 {
		t.Errorf("format %d", sealed[0])
	}
}

// Whoever can write to the store could show an administrator another visitor's session
// in place of their own.
func TestRecordThatWasGivenTheLabelOfAnotherDoesNotOpen(t *testing.T) {
	sealed, other := seal(t, testKey, withLabel("mine")), seal(t, testKey, withLabel("yours"))
	head, rest := split(sealed)
	given, _ := split(other)
	for name, changed := range map[string][]byte{
		"another label": slices.Concat(given, rest),
		"no label":      slices.Concat([]byte{plain}, rest),
		"a longer one":  slices.Concat([]byte{labelled, 0, byte(len("mine") + 1)}, head[labelAt:], rest),
	} {
		if _, err := Open(codec, testKey, changed); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	unlabelled := seal(t, testKey, testRec)
	if _, err := Open(codec, testKey, slices.Concat(given, unlabelled[1:])); !errors.Is(err, ErrSealed) {
		t.Errorf("a record without label that was given one: %v", err)
	}
}

func TestChangedRecordDoesNotOpen(t *testing.T) {
	t.Run("without label", func(t *testing.T) { testChanged(t, testRec) })
	t.Run("with label", func(t *testing.T) { testChanged(t, withLabel("label")) })
}

func testChanged(t *testing.T, rec *cache.Record) {
	sealed := seal(t, testKey, rec)
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := Open(codec, testKey, changed); !errors.Is(err, ErrSealed) {
			t.Fatalf("opens with byte %d changed: %v", i, err)
		}
		if _, err := Open(codec, testKey, sealed[:i]); !errors.Is(err, ErrSealed) {
			t.Fatalf("opens when cut after %d bytes: %v", i, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(seal(f, testKey, testRec))
	f.Add(seal(f, testKey, withLabel("label")))
	f.Add([]byte{plain})
	f.Add([]byte{labelled, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		label := Label(sealed)
		rec, err := Open(codec, testKey, sealed)
		if (err == nil) != (rec != nil) {
			t.Errorf("%v, %v", rec, err)
		}
		if !bytes.Contains(sealed, label) || (rec != nil && !bytes.Equal(rec.Label, label)) {
			t.Errorf("the label is %q, that of %v", label, rec)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	sealed := seal(b, testKey, testRec)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(codec, testKey, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
