package ledger

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

const (
	// idLength is the length of 256 bits in unpadded base64url, attemptLength
	// that of 128 bits.
	idLength      = 43
	attemptLength = 22
)

// NewID returns 256 random bits, for a nonce or the value of a cookie.
func NewID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// IsID tells whether s could have come from NewID.
func IsID(s string) bool { return len(s) == idLength && isBase64URL(s) }

// AttemptID derives an attempt's id from its nonce. It is the key of the record and
// names the wait page; neither the nonce nor its hash can be derived from it.
func AttemptID(nonce string) string {
	sum := sha256.Sum256([]byte("attempt\x00" + nonce))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// IsAttemptID tells whether s could be an attempt's id.
func IsAttemptID(s string) bool { return len(s) == attemptLength && isBase64URL(s) }

// PublicID returns a name for an attempt in logs, from which its id cannot be derived.
func PublicID(id string) string {
	sum := sha256.Sum256([]byte("public\x00" + id))
	return hex.EncodeToString(sum[:6])
}

// Hash returns what a cache keeps of a browser cookie: enough to compare it later.
func Hash(id string) [sha256.Size]byte { return sha256.Sum256([]byte(id)) }

func isBase64URL(s string) bool {
	for i := range len(s) {
		if !inBase64URL[s[i]] {
			return false
		}
	}
	return true
}

// inBase64URL is a table because the cookie of every request is checked with it.
var inBase64URL = func() (table [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		table[c] = true
	}
	return table
}()
