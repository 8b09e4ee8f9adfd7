package ledger

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Records that must be found without a visitor's cookie are found by HMACs under the
// index key of the verifier account, which tell nothing to a reader of the cache.

// indexKeys are what is derived from the index key.
type indexKeys struct {
	index  []byte
	labels cipher.AEAD
	// mark is the Sum of the key in the shared record.
	mark []byte
}

func newIndexKeys(index []byte, account string) (*indexKeys, error) {
	labels, err := aeadOf(index, "number_verify label")
	return &indexKeys{index, labels, markOf(index, account)}, err
}

// markOf returns a hash by which nodes notice that they have different index keys.
func markOf(index []byte, account string) []byte { return sumOf(index, "fingerprint", account) }

// sum returns the HMAC of a value. The name in what, such as "number", keeps it apart
// from equal values of another meaning.
func (k *indexKeys) sum(what, value string) []byte { return sumOf(k.index, what, value) }

func sumOf(key []byte, what, value string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(what + "\x00" + value))
	return mac.Sum(nil)
}

// secret is a secret of this node, which encrypts the index key.
type secret struct {
	// id names the secret in the shared record, and tells nothing of it.
	id   string
	aead cipher.AEAD
	// derived is the index key of earlier versions.
	derived []byte
}

// newSecret derives keys by RFC 5869, so that the secret itself signs and encrypts
// nothing. Without a secret anybody could derive them.
func newSecret(s, account string) (secret, error) {
	if s == "" {
		return secret{}, errNoSecret
	}
	derived, err := hkdf.Key(sha256.New, []byte(s), nil, "number_verify index "+account, sha256.Size)
	if err != nil {
		return secret{}, err
	}
	id, err := hkdf.Key(sha256.New, []byte(s), nil, "number_verify id "+account, 8)
	if err != nil {
		return secret{}, err
	}
	aead, err := aeadOf([]byte(s), "number_verify secret "+account)
	return secret{hex.EncodeToString(id), aead, derived}, err
}

// aeadOf returns AES-256-GCM under a key derived from secret, with a random nonce in
// front of each text.
func aeadOf(secret []byte, purpose string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, purpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sum returns the HMAC of a value under the account's index key; see indexKeys.sum. The
// key is known before anything of a visitor is read, see Realm.
func (l *Ledger) sum(what, value string) []byte { return l.known.Load().keys.sum(what, value) }

// ClientName names a network in records, without telling its address.
func (l *Ledger) ClientName(network string) string {
	return hex.EncodeToString(l.sum("client", network))
}

// NumberHash names a number in the audit, for whoever has the index key. It returns ""
// where the cache has not told that key yet.
func (l *Ledger) NumberHash(e164 string) string {
	if l.known.Load() == nil {
		return ""
	}
	return hex.EncodeToString(l.sum("audit number", e164)[:16])
}

// The positions of a record's tags.
const (
	numberTag = iota
	browserTag
)

// tags returns the tags of a browser's record about a number.
func (l *Ledger) tags(e164 string, browser cache.Tag) (tags [2]cache.Tag) {
	tags[numberTag], tags[browserTag] = cache.Tag(l.sum("number", e164)), browser
	return tags
}

// A browser's tags are hashes of its cookie, which is random, so they tell nothing.
// They do not depend on the account: a sign-out at one gate of a site also ends the
// sessions that other gates of the site gave.

// SessionsTag returns the tag of the sessions that a browser was given.
func (b Browser) SessionsTag() cache.Tag { return Hash(b.Secret) }

// SourcesTag returns the tag of what a browser's sessions come from: its attempts
// and grants. It is derived from their SessionsTag, so that it can be found from a
// session.
func SourcesTag(sessions cache.Tag) cache.Tag {
	return sha256.Sum256(append([]byte("sources\x00"), sessions[:]...))
}

// BrowserTag returns the SessionsTag of the browser that a stored session was given.
func BrowserTag(entry Entry[Session]) cache.Tag { return entry.Record.Tags[browserTag] }

// rememberEnded is how long an ended attempt can be told from an unknown one.
const rememberEnded = 10 * time.Minute

// AttemptLife returns the life of an attempt. It outlasts the attempt's end, so that
// a late callback is told what happened.
func (l *Ledger) AttemptLife(a *Attempt) Life {
	end := a.Deadline
	if end.Before(a.AskUntil) {
		end = a.AskUntil
	}
	return Life{Expires: end.Add(rememberEnded), Tags: l.tags(a.Number, SourcesTag(a.Browser))}
}

// SessionLife returns the life of a browser's session, used now.
func (l *Ledger) SessionLife(key Key[Session], s *Session, b Browser, ttl, idle time.Duration) Life {
	life := Life{
		Expires: s.VerifiedAt.Add(ttl), Idle: idle, Touched: time.Now(),
		Tags: l.tags(s.Number, b.SessionsTag()),
	}
	life.Label = l.label(key, s, b, life.Expires)
	return life
}

// GrantLife returns the life of a browser's grant.
func (l *Ledger) GrantLife(g *Grant, b Browser, ttl time.Duration) Life {
	return Life{Expires: time.Now().Add(ttl), Tags: l.tags(g.Session.Number, SourcesTag(b.SessionsTag()))}
}
