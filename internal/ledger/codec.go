package ledger

import (
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Codec is the cache.Codec of the gate's records. It writes JSON. Fields of records
// may be added but never renamed, since files and servers hold those of earlier
// versions.
type Codec struct{}

// Encode implements cache.Codec.
func (Codec) Encode(kind cache.Kind, value any) ([]byte, error) {
	fits, err := NewValue(kind)
	if err != nil {
		return nil, err
	}
	if reflect.TypeOf(value) != reflect.TypeOf(fits) {
		return nil, fmt.Errorf("ledger: a record of kind %d holds %T, not %T", kind, fits, value)
	}
	return json.Marshal(value)
}

// Decode implements cache.Codec.
func (Codec) Decode(kind cache.Kind, data []byte) (any, error) {
	value, err := NewValue(kind)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, value); err != nil {
		return nil, fmt.Errorf("ledger: decoding a record of kind %d: %w", kind, err)
	}
	if session, ok := value.(*Session); ok {
		return NewSession(*session), nil
	}
	return value, nil
}

// Interface guard
var _ cache.Codec = Codec{}
