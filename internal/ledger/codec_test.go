package ledger

import (
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/bolt"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

// written is when the stored records of these tests were written.
var written = time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)

// perNumber is the limit of the counter in these records.
var perNumber = cache.Limit{
	Key: cache.Key{Kind: cache.KindCount, Realm: "dqe/LICENCE", Secret: "number"}, Max: 3, Window: time.Hour,
}

// stored is a value, and the text that stands for it in stores.
type stored struct {
	name  string
	kind  cache.Kind
	value any
	text  string
}

// records holds a value of each kind, no field of which is zero.
func records() []stored {
	session := NewSession(Session{
		PublicID: "k3vQ", Account: "dqe/LICENCE", Number: "+33639980001", Region: "FR",
		Operator: "Opérateur <1>", VerifiedAt: written,
	})
	counted := []cache.Counted{{Counter: perNumber.Counter(), Slot: 7, Total: 2}}
	const (
		sessionText = `{"PublicID":"k3vQ","Account":"dqe/LICENCE","Number":"+33639980001","Region":"FR","Operator":"Opérateur \u003c1\u003e","VerifiedAt":"2026-11-23T12:00:00.123456789Z"}`
		countedText = `[{"Counter":{"Kind":8,"Realm":"dqe/LICENCE","Secret":"number 3600000"},"Slot":7,"Total":2}]`
	)
	return []stored{
		{"session", cache.KindSession, session, sessionText},
		{"attempt", cache.KindAttempt, &Attempt{
			Phase: PhaseReturned, Browser: sha256.Sum256([]byte("browser")), Account: "dqe/LICENCE",
			Number: "+33639980001", Region: "FR", Operator: "SFR", Client: "client", Return: "/account?q=é&b=%00",
			State: []byte{0, 0xff, '"'}, Deadline: written.Add(time.Minute), AskUntil: written.Add(time.Hour),
			InFlight: counted, Counted: counted, ReturnedAt: written, AskAt: written.Add(time.Second), Asked: 3, Failed: 2,
			ProvenAt: written.Add(2 * time.Second), Outcome: "verified",
		}, `{"Phase":2,"Browser":[212,195,232,161,18,86,171,130,164,252,114,86,14,180,162,176,232,123,173,130,12,41,13,217,176,54,22,222,36,10,166,219],` +
			`"Account":"dqe/LICENCE","Number":"+33639980001","Region":"FR","Operator":"SFR","Client":"client","Return":"/account?q=é\u0026b=%00",` +
			`"State":"AP8i","Deadline":"2026-11-23T12:01:00.123456789Z","AskUntil":"2026-11-23T13:00:00.123456789Z",` +
			`"InFlight":` + countedText + `,"Counted":` + countedText + `,"ReturnedAt":"2026-11-23T12:00:00.123456789Z",` +
			`"AskAt":"2026-11-23T12:00:01.123456789Z","Asked":3,"Failed":2,"ProvenAt":"2026-11-23T12:00:02.123456789Z","Outcome":"verified"}`},
		{"press", cache.KindPress, &Press{
			Attempt: "attempt", URL: "https://operator.example/check?a=1&b=<2>", Code: "busy", RetryAt: written,
		}, `{"Attempt":"attempt","URL":"https://operator.example/check?a=1\u0026b=\u003c2\u003e","Code":"busy","RetryAt":"2026-11-23T12:00:00.123456789Z"}`},
		{"refusal", cache.KindRefusal, &Refusal{Code: "number_mismatch"}, `{"Code":"number_mismatch"}`},
		{"grant", cache.KindGrant, &Grant{Attempt: "attempt", Session: session, Given: 1}, `{"Attempt":"attempt","Session":` + sessionText + `,"Given":1}`},
		{"claim", cache.KindClaim, &Claim{}, `{}`},
		{"fingerprint", cache.KindShared, &Shared{Sum: []byte{1, 0xff}}, `{"Sum":"Af8="}`},
	}
}

// Records of earlier versions must be read as they were meant, and earlier versions must
// be able to read new ones: nodes of two versions may share a server.
func TestCodecReadsAndWritesWhatEarlierVersionsDo(t *testing.T) {
	for _, r := range records() {
		t.Run(r.name, func(t *testing.T) {
			data, err := Codec{}.Encode(r.kind, r.value)
			if err != nil || string(data) != r.text {
				t.Errorf("Encode = %s, %v, want %s", data, err, r.text)
			}
			value, err := Codec{}.Decode(r.kind, []byte(r.text))
			if err != nil || !reflect.DeepEqual(value, plain(r.value)) {
				t.Errorf("Decode = %+v, %v, want %+v", value, err, r.value)
			}
		})
	}
}

// plain returns a value in the form that it has after decoding, in which the session of a
// grant is not yet completed.
func plain(value any) any {
	if grant, ok := value.(*Grant); ok {
		session := *grant.Session
		session.at = ""
		return &Grant{Attempt: grant.Attempt, Session: &session, Given: grant.Given}
	}
	return value
}

func TestCodecRefusesWhatIsNoValueOfTheKind(t *testing.T) {
	for _, kind := range []cache.Kind{0, cache.KindCount, 200} {
		if data, err := (Codec{}).Encode(kind, &Session{}); err == nil {
			t.Errorf("kind %d is written as %s", kind, data)
		}
		if value, err := (Codec{}).Decode(kind, []byte("{}")); err == nil {
			t.Errorf("kind %d is read as %v", kind, value)
		}
	}
	for _, value := range []any{nil, &Attempt{}, Session{}, "session"} {
		if data, err := (Codec{}).Encode(cache.KindSession, value); err == nil {
			t.Errorf("%T is written as a session: %s", value, data)
		}
	}
	for _, text := range []string{"", "{", `[]`, `{"VerifiedAt":1}`} {
		if value, err := (Codec{}).Decode(cache.KindSession, []byte(text)); err == nil {
			t.Errorf("%q is read as %v", text, value)
		}
	}
}

// testdata/bolt-format3.db.gz was written before the values had a codec.
func TestBoltFileOfAnEarlierVersionOpens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "number-verify.db")
	unpack(t, "testdata/bolt-format3.db.gz", path)
	now := written.Add(time.Minute)
	c, err := bolt.Open(path, memory.Options{Now: func() time.Time { return now }}, Codec{}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, r := range records() {
		key := cache.Key{Kind: r.kind, Realm: "www.example.com", Secret: strings.Repeat(r.name[:1], 43)}
		rec, err := c.Get(t.Context(), key)
		if err != nil {
			t.Errorf("%s: %v", r.name, err)
			continue
		}
		if !reflect.DeepEqual(rec.Value, plain(r.value)) || !rec.Expires.Equal(written.Add(24*time.Hour)) {
			t.Errorf("%s: %+v", r.name, rec)
		}
		if r.kind == cache.KindSession && (rec.Idle != time.Hour || !rec.Touched.Equal(written)) {
			t.Errorf("the session's idle time: %+v", rec)
		}
	}
	if found, err := c.Find(t.Context(), cache.Tag{2}); err != nil || len(found) != 1 {
		t.Errorf("%d sessions are found by a tag, %v", len(found), err)
	}
	counted, err := c.Count(t.Context(), []cache.Limit{perNumber})
	if err != nil || counted[0].Total != 3 {
		t.Errorf("with two events counted earlier: %+v, %v", counted, err)
	}
	if _, err := c.Count(t.Context(), []cache.Limit{perNumber}); !errors.As(err, new(*cache.LimitError)) {
		t.Errorf("past the limit: %v", err)
	}
}

func unpack(t *testing.T, packed, path string) {
	t.Helper()
	file, err := os.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
