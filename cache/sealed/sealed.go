// Package sealed encrypts records for a store outside this process. The encryption
// key of a record is derived from the Secret of its cache.Key, which no store holds,
// so nobody can read or change a record by stealing the store. Only the data that a
// cache stores beside a sealed record, to find and end it, stays visible: its Ref, its
// end, and in some stores its kind and its tags. Its Label stays readable too.
package sealed

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// A sealed record consists of a head, a nonce and a box. The first byte of the head is
// the format. In labelled it is followed by the Label, with two bytes of its length
// before it. The head is authenticated with the record, so that nobody can change a
// Label or give it to another record.
const (
	plain    = 2 // a record without a Label
	labelled = 3
)

const (
	labelAt   = 3  // the size of the head before the Label
	nonceSize = 12 // that of AES-GCM
	maxLabel  = 1<<16 - 1
)

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
	text, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("cache: encoding a record: %w", err)
	}
	aead, err := aeadOf(key)
	if err != nil {
		return nil, err
	}
	head, err := headOf(rec.Label)
	if err != nil {
		return nil, err
	}
	sealed := make([]byte, len(head)+nonceSize, len(head)+nonceSize+len(text)+aead.Overhead())
	nonce := sealed[copy(sealed, head):]
	_, _ = rand.Read(nonce) // never fails, by its documentation
	return aead.Seal(sealed, nonce, text, additional(head, key)), nil
}

// headOf returns the head of a record with this Label.
func headOf(label []byte) ([]byte, error) {
	switch {
	case len(label) == 0:
		return []byte{plain}, nil
	case len(label) > maxLabel:
		return nil, fmt.Errorf("cache: a label of %d bytes is too long", len(label))
	}
	return append([]byte{labelled, byte(len(label) >> 8), byte(len(label))}, label...), nil
}

// split splits a sealed record after its head. The head is nil if it is none.
func split(sealed []byte) (head, rest []byte) {
	size := 1
	switch {
	case len(sealed) > labelAt && sealed[0] == labelled:
		size = labelAt + int(binary.BigEndian.Uint16(sealed[1:]))
	case len(sealed) == 0 || sealed[0] != plain:
		return nil, nil
	}
	if len(sealed) < size+nonceSize {
		return nil, nil
	}
	return sealed[:size:size], sealed[size:]
}

// Label returns the Label of a sealed record without opening it, as a part of sealed. It
// is nil if there is none, or the record is damaged.
func Label(sealed []byte) []byte {
	head, _ := split(sealed)
	if len(head) <= labelAt {
		return nil
	}
	return head[labelAt:]
}

// Open decrypts a record that Seal has sealed for the same key. Its error is
// ErrSealed, also where codec cannot read the value.
func Open(codec cache.Codec, key cache.Key, sealed []byte) (*cache.Record, error) {
	aead, err := aeadOf(key)
	if err != nil {
		return nil, err
	}
	head, rest := split(sealed)
	if head == nil {
		return nil, ErrSealed
	}
	text, err := aead.Open(nil, rest[:nonceSize], rest[nonceSize:], additional(head, key))
	if err != nil {
		return nil, ErrSealed
	}
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, ErrSealed
	}
	value, err := decode(codec, key.Kind, e.Value)
	if err != nil {
		return nil, ErrSealed
	}
	rec := &cache.Record{Value: value, Expires: e.Expires, Idle: e.Idle, Touched: e.Touched, Label: bytes.Clone(Label(sealed))}
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

// additional is authenticated with the record, and binds it to its head, kind, realm and
// secret.
func additional(head []byte, key cache.Key) []byte {
	ref := key.Ref()
	return slices.Concat(head, []byte{byte(key.Kind)}, ref[:], []byte(key.Realm))
}
