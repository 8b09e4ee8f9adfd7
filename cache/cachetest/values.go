package cachetest

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Value is the value of all records of the suite, whatever their kind. To a cache it
// means nothing.
type Value struct {
	Text  string
	N     int
	Bytes []byte
}

// value returns a Value with n in all fields, so that a mixture of two is noticed.
func value(n int) *Value {
	return &Value{Text: fmt.Sprintf("/é?n=%d&<\"\x00>", n), N: n, Bytes: append([]byte{0, 0xff}, fmt.Sprint(n)...)}
}

// whole tells whether v is one that value returned.
func (v *Value) whole() bool { return v.equal(value(v.N)) }

func (v *Value) equal(other *Value) bool {
	return v.Text == other.Text && v.N == other.N && bytes.Equal(v.Bytes, other.Bytes)
}

// Codec is the suite's cache.Codec, for caches that store bytes. It writes and reads a
// *Value of every kind that is Stored. Reading a value as another kind than it was
// written as is an error.
type Codec struct{}

// encoded is what Codec writes.
type encoded struct {
	Kind  cache.Kind
	Value *Value
}

// Encode implements cache.Codec.
func (Codec) Encode(kind cache.Kind, value any) ([]byte, error) {
	v, ok := value.(*Value)
	if !ok || v == nil || !kind.Stored() {
		return nil, fmt.Errorf("cachetest: no value of kind %d: %T", kind, value)
	}
	return json.Marshal(encoded{kind, v})
}

// Decode implements cache.Codec.
func (Codec) Decode(kind cache.Kind, data []byte) (any, error) {
	var e encoded
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("cachetest: decoding: %w", err)
	}
	if e.Kind != kind || e.Value == nil {
		return nil, fmt.Errorf("cachetest: a value of kind %d is decoded as of kind %d", e.Kind, kind)
	}
	return e.Value, nil
}

// Interface guard
var _ cache.Codec = Codec{}
