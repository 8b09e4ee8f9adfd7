package cachetest

import (
	"reflect"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Nobody would notice that a store forgets a field that is zero anyway.
func TestValuesHaveNoZeroField(t *testing.T) {
	v := reflect.ValueOf(value(1)).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("%s is zero", v.Type().Field(i).Name)
		}
	}
}

func TestSuiteCoversEveryKind(t *testing.T) {
	covered := make(map[cache.Kind]bool)
	for _, kind := range kinds {
		covered[kind] = true
	}
	for kind := cache.KindSession; kind.Stored(); kind++ {
		if !covered[kind] {
			t.Errorf("kind %d is not covered", kind)
		}
	}
}

func TestSameRecord(t *testing.T) {
	at := time.Now()
	want := cache.Record{Value: value(1), Expires: at, Idle: time.Minute, Touched: at, Tags: tags(0, 1), Label: []byte("a")}
	tests := map[string]struct {
		change func(*cache.Record)
		same   bool
	}{
		"the same":                      {func(*cache.Record) {}, true},
		"an equal value":                {func(r *cache.Record) { r.Value = value(1) }, true},
		"another text":                  {func(r *cache.Record) { r.Value = &Value{"a", 1, value(1).Bytes} }, false},
		"another number":                {func(r *cache.Record) { r.Value = &Value{value(1).Text, 2, value(1).Bytes} }, false},
		"other bytes":                   {func(r *cache.Record) { r.Value = &Value{value(1).Text, 1, nil} }, false},
		"another type":                  {func(r *cache.Record) { r.Value = *value(1) }, false},
		"no value":                      {func(r *cache.Record) { r.Value = nil }, false},
		"a time without monotonic part": {func(r *cache.Record) { r.Expires = at.Round(0) }, true},
		"a time in another zone":        {func(r *cache.Record) { r.Expires = at.UTC() }, true},
		"a time in whole milliseconds":  {func(r *cache.Record) { r.Touched = at.Truncate(time.Millisecond) }, true},
		"a time a millisecond off":      {func(r *cache.Record) { r.Touched = at.Add(time.Millisecond) }, false},
		"no time":                       {func(r *cache.Record) { r.Touched = time.Time{} }, false},
		"another idle time":             {func(r *cache.Record) { r.Idle = 0 }, false},
		"another tag":                   {func(r *cache.Record) { r.Tags = tags(1, 1) }, false},
		"another label":                 {func(r *cache.Record) { r.Label = []byte("b") }, false},
		"another version":               {func(r *cache.Record) { r.Version = 7 }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := want
			test.change(&got)
			if same := sameRecord(&got, &want); same != test.same {
				t.Errorf("sameRecord = %v", same)
			}
		})
	}
}

func TestCodecReadsWhatItWroteAndNothingElse(t *testing.T) {
	data, err := Codec{}.Encode(cache.KindSession, value(1))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := (Codec{}).Decode(cache.KindSession, data); err != nil || !sameValue(got, value(1)) {
		t.Errorf("Decode = %v, %v", got, err)
	}
	if got, err := (Codec{}).Decode(cache.KindAttempt, data); err == nil {
		t.Errorf("as of another kind: %v", got)
	}
	for _, data := range []string{"", "{}", "null", `{"Kind":1}`} {
		if got, err := (Codec{}).Decode(cache.KindSession, []byte(data)); err == nil {
			t.Errorf("%q: %v", data, got)
		}
	}
	if data, err := (Codec{}).Encode(cache.KindCount, value(1)); err == nil {
		t.Errorf("a counter, which is no codec's: %s", data)
	}
	if data, err := (Codec{}).Encode(cache.KindSession, (*Value)(nil)); err == nil {
		t.Errorf("no value: %s", data)
	}
}
