package ledger

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Records that must be found without a visitor's cookie are found by HMACs under the
// index key of the verifier account, which tell nothing to a reader of the cache.

// fingerprintTTL is how long a fingerprint outlives the last attempt.
const fingerprintTTL = 24 * time.Hour

var errNoSecret = errors.New("there is no secret to derive keys from")

// deriveIndexKey derives the index key by RFC 5869, so that the secret itself signs
// nothing. Without a secret anybody could derive it.
func deriveIndexKey(secret, account string) ([]byte, error) {
	if secret == "" {
		return nil, errNoSecret
	}
	return hkdf.Key(sha256.New, []byte(secret), nil, "number_verify index "+account, sha256.Size)
}

// sum returns the HMAC of a value. The name in what, such as "number", keeps it apart
// from equal values of another meaning.
func (l *Ledger) sum(what, value string) []byte {
	mac := hmac.New(sha256.New, l.indexKey)
	mac.Write([]byte(what + "\x00" + value))
	return mac.Sum(nil)
}

// ClientName names a network in records, without telling its address.
func (l *Ledger) ClientName(network string) string {
	return hex.EncodeToString(l.sum("client", network))
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
func (l *Ledger) SessionLife(s *Session, b Browser, ttl, idle time.Duration) Life {
	return Life{
		Expires: s.VerifiedAt.Add(ttl), Idle: idle, Touched: time.Now(),
		Tags: l.tags(s.Number, b.SessionsTag()),
	}
}

// GrantLife returns the life of a browser's grant.
func (l *Ledger) GrantLife(g *Grant, b Browser, ttl time.Duration) Life {
	return Life{Expires: time.Now().Add(ttl), Tags: l.tags(g.Session.Number, SourcesTag(b.SessionsTag()))}
}

// CheckSecret tells whether another node of the account has another secret. Two such
// nodes do not find or count what the other stores. The node that checks last leaves
// its fingerprint, so that the other one finds out as well.
func (l *Ledger) CheckSecret(ctx context.Context) (differs bool, err error) {
	key, own := l.fingerprintKey(), l.sum("fingerprint", l.cfg.Account)
	entry, err := Get(ctx, l, key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, nil // the failure of the cache is logged elsewhere
	}
	if err == nil {
		differs = !hmac.Equal(entry.Value.Sum, own)
		if !differs && time.Until(entry.Record.Expires) > fingerprintTTL/2 {
			return false, nil
		}
	}
	return differs, Put(ctx, l, key, &Fingerprint{Sum: own}, Life{Expires: time.Now().Add(fingerprintTTL)})
}
