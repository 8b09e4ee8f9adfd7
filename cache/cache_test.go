package cache

import (
	"strings"
	"testing"
	"time"
)

func TestRefOfAnotherKeyIsAnother(t *testing.T) {
	keys := []Key{
		{},
		{Kind: KindSession},
		{Kind: KindAttempt},
		{Kind: KindSession, Realm: "example.com"},
		{Kind: KindSession, Secret: "example.com"},
		// the border between realm and secret
		{Kind: KindSession, Realm: "example.com", Secret: "secret"},
		{Kind: KindSession, Realm: "example.co", Secret: "msecret"},
		{Kind: KindSession, Realm: "example.coms", Secret: "ecret"},
		{Kind: KindSession, Realm: "example.comsecret"},
		{Kind: KindSession, Secret: "example.comsecret"},
		// a secret or realm that imitates the length before it
		{Kind: KindSession, Secret: "\x00\x01a"},
		{Kind: KindSession, Realm: "\x00\x01a"},
		{Kind: KindSession, Realm: "a"},
		// lengths that are equal but for the higher byte
		{Kind: KindSession, Realm: strings.Repeat("a", 1), Secret: strings.Repeat("a", 256)},
		{Kind: KindSession, Realm: strings.Repeat("a", 257)},
		// letter case counts
		{Kind: KindSession, Realm: "example.com", Secret: "Secret"},
	}
	seen := make(map[Ref]Key)
	for _, key := range keys {
		if other, ok := seen[key.Ref()]; ok {
			t.Errorf("%+q and %+q have the same ref", key, other)
		}
		seen[key.Ref()] = key
	}
}

func TestRefOfTheSameKeyIsTheSame(t *testing.T) {
	a := Key{Kind: KindAttempt, Realm: "example.com", Secret: "secret"}
	b := Key{Kind: KindAttempt, Realm: string([]byte("example.com")), Secret: string([]byte("secret"))}
	if a.Ref() != b.Ref() {
		t.Error("the refs differ")
	}
}

func FuzzRefTellsRealmFromSecret(f *testing.F) {
	f.Add("example.com", "secret", uint8(3))
	f.Add("", "", uint8(0))
	f.Add("a", "\x00\x01a", uint8(1))
	f.Fuzz(func(t *testing.T, realm, secret string, cut uint8) {
		both := realm + secret
		if len(both) >= 1<<16 {
			return // no realm is that long
		}
		at := min(int(cut), len(both))
		if at == len(realm) {
			return
		}
		key := Key{Kind: KindSession, Realm: realm, Secret: secret}
		other := Key{Kind: KindSession, Realm: both[:at], Secret: both[at:]}
		if key.Ref() == other.Ref() {
			t.Errorf("%+q and %+q have the same ref", key, other)
		}
	})
}

func TestRefDoesNotAllocate(t *testing.T) {
	// the longest host name, and a session id
	key := Key{Kind: KindSession, Realm: strings.Repeat("a", 253), Secret: strings.Repeat("s", 43)}
	if n := testing.AllocsPerRun(100, func() { _ = key.Ref() }); n != 0 {
		t.Errorf("Ref allocates %v times", n)
	}
}

func TestRecordThatSaysMoreThanAUse(t *testing.T) {
	at := time.Now()
	old := Record{Value: new(int), Expires: at, Idle: time.Minute, Touched: at, Label: []byte("label")}
	for name, test := range map[string]struct {
		change func(*Record)
		isUse  bool
	}{
		"a use":            {func(r *Record) { r.Touched = at.Add(time.Second); r.Label = []byte("label") }, true},
		"another value":    {func(r *Record) { r.Value = new(int) }, false},
		"another end":      {func(r *Record) { r.Expires = at.Add(1) }, false},
		"another label":    {func(r *Record) { r.Label = []byte("other") }, false},
		"no label anymore": {func(r *Record) { r.Label = nil }, false},
	} {
		rec := old
		test.change(&rec)
		if rec.IsUseOf(&old) != test.isUse {
			t.Errorf("%s: IsUseOf = %v", name, !test.isUse)
		}
	}
}

func TestRecordLive(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	in := now.Add
	tests := []struct {
		name string
		rec  Record
		live bool
	}{
		{"the zero record", Record{}, false},
		{"before its end", Record{Expires: in(1)}, true},
		{"at its end", Record{Expires: now}, false},
		{"after its end", Record{Expires: in(-1)}, false},
		{"just not idle too long", Record{Expires: in(time.Hour), Idle: time.Minute, Touched: in(1 - time.Minute)}, true},
		{"idle too long", Record{Expires: in(time.Hour), Idle: time.Minute, Touched: in(-time.Minute)}, false},
		{"touched now but at its end", Record{Expires: now, Idle: time.Minute, Touched: now}, false},
		{"never touched, with an idle end", Record{Expires: in(time.Hour), Idle: time.Minute}, false},
		{"never touched, without one", Record{Expires: in(time.Hour)}, true},
		{"touched in the future: the clock was set back", Record{Expires: in(time.Hour), Idle: time.Minute, Touched: in(time.Hour)}, true},
		{"touched in the future, at its end", Record{Expires: now, Idle: time.Minute, Touched: in(time.Hour)}, false},
		{"a negative idle time", Record{Expires: in(time.Hour), Idle: -1, Touched: now}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.rec.Live(now); got != test.live {
				t.Errorf("Live = %v", got)
			}
		})
	}
}
