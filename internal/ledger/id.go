package ledger

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

const (
	// idLength is the length of 256 bits in unpadded base64url, attemptLength
	// that of 128 bits.
	idLength      = 43
	attemptLength = 22
	// referenceLength is the length of 40 bits in base32.
	referenceLength = 8
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

// crockford is Crockford's base32, whose letters nobody takes for another.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

var references = base32.NewEncoding(crockford).WithPadding(base32.NoPadding)

// Reference returns the name of an attempt that its visitor sees and can tell to support.
// The id cannot be derived from it.
func Reference(id string) string {
	sum := sha256.Sum256([]byte("reference\x00" + id))
	return references.EncodeToString(sum[:5])
}

// NewReference returns a reference for a refusal that belongs to no attempt.
func NewReference() string {
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return references.EncodeToString(b[:])
}

// IsReference tells whether s could be a reference.
func IsReference(s string) bool {
	return len(s) == referenceLength && strings.Trim(s, crockford) == ""
}

// ReadReference returns the reference that somebody means who has heard or typed it: in
// any letter case, with blanks or hyphens, with I or L for 1 and O for 0.
func ReadReference(typed string) string {
	return asTyped.Replace(strings.ToUpper(typed))
}

var asTyped = strings.NewReplacer(" ", "", "-", "", "I", "1", "L", "1", "O", "0")

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
