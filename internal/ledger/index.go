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

// fingerprintTTL is how long a fingerprint outlives the last attempt.
const fingerprintTTL = 24 * time.Hour

// What must be found without a visitor's cookie is found by names that tell
// nothing to a reader of the cache: HMACs under a key of the verifier account.

// indexKey derives the key (RFC 5869), so that the secret itself signs nothing.
// From an empty or public secret anybody could derive it.
func indexKey(secret, account string) ([]byte, error) {
	if secret == "" {
		return nil, errors.New("there is no secret to derive keys from")
	}
	return hkdf.Key(sha256.New, []byte(secret), nil, "number_verify index "+account, sha256.Size)
}

func (l *Ledger) sum(what, value string) []byte {
	mac := hmac.New(sha256.New, l.index)
	mac.Write([]byte(what + "\x00" + value))
	return mac.Sum(nil)
}

// ClientName names a network in records without its address.
func (l *Ledger) ClientName(network string) string {
	return hex.EncodeToString(l.sum("client", network))
}

// The places of a record's tags.
const (
	numberTag = iota
	browserTag
)

// tags are those of a record about a number that belongs to a browser.
func (l *Ledger) tags(e164 string, browser cache.Tag) (tags [2]cache.Tag) {
	tags[numberTag], tags[browserTag] = cache.Tag(l.sum("number", e164)), browser
	return tags
}

// The tags of a browser are hashes of its cookie, which is random, so that they
// tell nothing. They need no key of an account: a sign-out at one gate of a site
// ends what others of it gave as well.

// SessionsTag is the tag of the sessions that a browser was given.
func (b Browser) SessionsTag() cache.Tag { return Hash(b.Secret) }

// SourcesTag is the tag of attempts and grants, the sources of a browser's
// sessions. It follows from the tag of these, so that a session leads to it.
func SourcesTag(sessions cache.Tag) cache.Tag {
	return sha256.Sum256(append([]byte("sources\x00"), sessions[:]...))
}

// BrowserTag is the tag by which a entry session's browser is found.
func BrowserTag(entry Entry[Session]) cache.Tag { return entry.Record.Tags[browserTag] }

// rememberEnded is how long an ended attempt is told from an unknown one.
const rememberEnded = 10 * time.Minute

// AttemptLife is how long an attempt is kept: a while beyond its end, so that a
// late callback is told what happened.
func (l *Ledger) AttemptLife(a *Attempt) Life {
	end := a.Deadline
	if end.Before(a.AskUntil) {
		end = a.AskUntil
	}
	return Life{Expires: end.Add(rememberEnded), Tags: l.tags(a.Number, SourcesTag(a.Browser))}
}

// SessionLife is how long a session of a browser is kept, from now.
func (l *Ledger) SessionLife(s *Session, b Browser, ttl, idle time.Duration) Life {
	return Life{
		Expires: s.VerifiedAt.Add(ttl), Idle: idle, Touched: time.Now(),
		Tags: l.tags(s.Number, b.SessionsTag()),
	}
}

// GrantLife is how long a browser may come for its session once more.
func (l *Ledger) GrantLife(g *Grant, b Browser, ttl time.Duration) Life {
	return Life{Expires: time.Now().Add(ttl), Tags: l.tags(g.Session.Number, SourcesTag(b.SessionsTag()))}
}

// CheckSecret tells whether another node of the account derives its index from
// another secret: neither finds or counts what the other stores. The node that
// comes last leaves its own fingerprint, so that the other finds out as well.
func (l *Ledger) CheckSecret(ctx context.Context) (differs bool, err error) {
	key, own := l.fingerprintKey(), l.sum("fingerprint", l.cfg.Account)
	entry, err := Get(ctx, l, key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, nil // the failure of the cache is told elsewhere
	}
	if err == nil {
		differs = !hmac.Equal(entry.Value.Sum, own)
		if !differs && time.Until(entry.Record.Expires) > fingerprintTTL/2 {
			return false, nil
		}
	}
	return differs, Put(ctx, l, key, &Fingerprint{Sum: own}, Life{Expires: time.Now().Add(fingerprintTTL)})
}
