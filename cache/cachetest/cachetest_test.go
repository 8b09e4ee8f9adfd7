package cachetest

import (
	"reflect"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// A field that is zero in the sample would not be missed where a store forgets
// it.
func TestFullSamplesHaveNoZeroField(t *testing.T) {
	for _, sample := range samples() {
		value := reflect.ValueOf(sample.full).Elem()
		for i := range value.NumField() {
			if field := value.Type().Field(i); field.IsExported() && value.Field(i).IsZero() {
				t.Errorf("%s.%s is zero", sample.name, value.Type().Field(i).Name)
			}
		}
	}
}

func TestSamplesCoverEveryKind(t *testing.T) {
	kinds := make(map[cache.Kind]bool)
	for _, sample := range samples() {
		kinds[sample.kind] = true
	}
	for kind := cache.KindSession; kind.Stored(); kind++ {
		if !kinds[kind] {
			t.Errorf("no sample of kind %d", kind)
		}
	}
}

func TestEqual(t *testing.T) {
	at := time.Now()
	tests := []struct {
		name      string
		got, want any
		equal     bool
	}{
		{"the same", attempt(1), attempt(1), true},
		{"another string", &cache.Press{URL: "a"}, &cache.Press{URL: "b"}, false},
		{"another type", &cache.Press{}, &cache.Refusal{}, false},
		{"a time without monotonic reading", &cache.Session{VerifiedAt: at.Round(0)}, &cache.Session{VerifiedAt: at}, true},
		{"a time in another zone", &cache.Session{VerifiedAt: at.UTC()}, &cache.Session{VerifiedAt: at.Local()}, true},
		{"a time in whole milliseconds", &cache.Session{VerifiedAt: at.Truncate(time.Millisecond)}, &cache.Session{VerifiedAt: at}, true},
		{"a time a millisecond off", &cache.Session{VerifiedAt: at.Add(time.Millisecond)}, &cache.Session{VerifiedAt: at}, false},
		{"the zero time and the epoch", &cache.Session{VerifiedAt: time.Unix(0, 0)}, &cache.Session{}, false},
		{"nil and no bytes", &cache.Attempt{State: []byte{}}, &cache.Attempt{}, true},
		{"other bytes", &cache.Attempt{State: []byte("a")}, &cache.Attempt{State: []byte("b")}, false},
		{"no session", &cache.Grant{}, &cache.Grant{Session: &cache.Session{}}, false},
		{"another session", &cache.Grant{Session: &cache.Session{Number: "a"}}, &cache.Grant{Session: &cache.Session{}}, false},
		{"another tag", &cache.Record{Tags: tags(0, 1)}, &cache.Record{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := equal(test.got, test.want); got != test.equal {
				t.Errorf("equal = %v", got)
			}
		})
	}
}
