// Package sealed encrypts records for a store outside this process. The encryption
// key of a record is derived from the Secret of its cache.Key, which no store holds,
// so nobody can read or change a record by stealing the store. Only the data that a
// cache stores beside a sealed record, to find and end it, stays visible: its Ref, its
// end, and in some stores its kind and its tags.
package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// format is the first byte of a sealed record. It is authenticated with the rest.
const format = 2

// ErrSealed means that a record does not open: it is damaged, or it was sealed for
// another secret, realm or kind.
var ErrSealed = errors.New("cache: sealed record does not open")

// envelope is the plain text of a sealed record. It holds the end as well, so that
// nobody can lengthen the record's life.
type envelope struct {
	Expires time.Time
	Idle    time.Duration `json:",omitempty"`
	Touched time.Time
	Tags    [][]byte `json:",omitempty"`
	Value   json.RawMessage
}

// Seal encrypts a record, with its value as codec writes it. It leaves out the
// Version, which the store keeps. It fails if codec cannot write the value.
func Seal(codec cache.Codec, key cache.Key, rec *cache.Record) ([]byte, error) {
	value, err := encode(codec, key.Kind, rec.Value)
	if err != nil {
		return nil, fmt.Errorf("cache: encoding a record: %w", err)
	}
	e := envelope{Expires: rec.Expires, Idle: rec.Idle, Touched: rec.Touched, Value: value}
	if rec.Tags != (cache.Record{}).Tags {
		for i := range rec.Tags {
			e.Tags = append(e.Tags, rec.Tags[i][:])
		}
	}
	plain, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("cache: encoding a record: %w", err)
	}
	aead, err := aeadOf(key)
	if err != nil {
		return nil, err
	}
	head := make([]byte, 1+aead.NonceSize(), 1+aead.NonceSize()+len(plain)+aead.Overhead())
	head[0] = format
	_, _ = rand.Read(head[1:]) // never fails, by its documentation
	return aead.Seal(head, head[1:], plain, additional(key)), nil
}

// Open decrypts a record that Seal has sealed for the same key. Its error is
// ErrSealed, also where codec cannot read the value.
func Open(codec cache.Codec, key cache.Key, sealed []byte) (*cache.Record, error) {
	aead, err := aeadOf(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < 1+aead.NonceSize() || sealed[0] != format {
		return nil, ErrSealed
	}
	nonce, box := sealed[1:1+aead.NonceSize()], sealed[1+aead.NonceSize():]
	plain, err := aead.Open(nil, nonce, box, additional(key))
	if err != nil {
		return nil, ErrSealed
	}
	var e envelope
	if err := json.Unmarshal(plain, &e); err != nil {
		return nil, ErrSealed
	}
	value, err := decode(codec, key.Kind, e.Value)
	if err != nil {
		return nil, ErrSealed
	}
	rec := &cache.Record{Value: value, Expires: e.Expires, Idle: e.Idle, Touched: e.Touched}
	for i := range min(len(e.Tags), len(rec.Tags)) {
		copy(rec.Tags[i][:], e.Tags[i])
	}
	return rec, nil
}

// encode writes a value: with codec, or as JSON if it is a counter, a type of package
// cache that codecs do not know.
func encode(codec cache.Codec, kind cache.Kind, value any) ([]byte, error) {
	if kind == cache.KindCount {
		return json.Marshal(value)
	}
	return codec.Encode(kind, value)
}

// decode is the opposite of encode.
func decode(codec cache.Codec, kind cache.Kind, data []byte) (any, error) {
	if kind == cache.KindCount {
		count := new(cache.Count)
		return count, json.Unmarshal(data, count)
	}
	return codec.Decode(kind, data)
}

// aeadOf returns AES-256-GCM with the record's key, derived by HKDF (RFC 5869).
func aeadOf(key cache.Key) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, []byte(key.Secret), nil, "number_verify record", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// additional is authenticated with the record, and binds it to its kind, realm and
// secret.
func additional(key cache.Key) []byte {
	ref := key.Ref()
	return append([]byte{format, byte(key.Kind)}, append(ref[:], key.Realm...)...)
}
