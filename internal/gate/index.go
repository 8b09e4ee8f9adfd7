package gate

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

const (
	// fingerprintTTL is how long a fingerprint outlives the last attempt.
	fingerprintTTL = 24 * time.Hour
	// complainEvery is how often at most it is said that fingerprints differ.
	complainEvery = time.Minute
)

// index turns what must be found without a visitor's cookie into names that tell
// nothing to who reads the cache: HMACs under a key of the verifier account.
type index struct {
	key []byte
	// complained is when it was last said that another node has another key.
	complained atomic.Int64
}

// newIndex derives the key (RFC 5869), so that secret itself signs nothing. What is
// derived from nothing, or from what is public, anybody can derive.
func newIndex(secret, account string) (*index, error) {
	if secret == "" {
		return nil, errors.New("there is no secret to derive keys from")
	}
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "number_verify index "+account, sha256.Size)
	return &index{key: key}, err
}

func (x *index) sum(what, value string) []byte {
	mac := hmac.New(sha256.New, x.key)
	mac.Write([]byte(what + "\x00" + value))
	return mac.Sum(nil)
}

// number is the tag of all that is stored about a number, in E.164.
func (x *index) number(e164 string) cache.Tag { return cache.Tag(x.sum("number", e164)) }

// numberTag and browserTag are the places of a record's tags.
const (
	numberTag = iota
	browserTag
)

// tags are those of a record about a number that belongs to a browser.
func (g *Gate) tags(e164 string, browser cache.Tag) (tags [2]cache.Tag) {
	tags[numberTag], tags[browserTag] = g.index.number(e164), browser
	return tags
}

// The tags of what a browser has are hashes of its cookie, which is random, so
// that they tell nothing. They need no key of an account: signing out at one gate
// of a site ends what others of it gave as well.

// sessionsOf is the tag of the sessions that a browser was given, by the hash of
// its cookie.
func sessionsOf(browser [sha256.Size]byte) cache.Tag { return browser }

// sourcesOf is the tag of what a browser is given sessions by, its attempts and
// grants. It follows from that of the sessions, so that a session leads to it.
func sourcesOf(sessions cache.Tag) cache.Tag {
	return sha256.Sum256(append([]byte("sources\x00"), sessions[:]...))
}

// CheckSecret says so where another node of the account indexes by another
// secret: neither would find what the other stores, nor count what it counts.
func (g *Gate) CheckSecret(ctx context.Context) {
	key := cache.Key{Kind: cache.KindFingerprint, Realm: g.account, Secret: g.account}
	own := g.index.sum("fingerprint", g.account)
	stored, rec, err := get[ledger.Fingerprint](ctx, g, key)
	switch {
	case err == nil && hmac.Equal(stored.Sum, own) && time.Until(rec.Expires) > fingerprintTTL/2:
		return
	case err == nil && !hmac.Equal(stored.Sum, own):
		g.complain()
	case err != nil && !errors.Is(err, cache.ErrNotFound):
		return // the cache's failure is told elsewhere
	}
	// the last to come leaves its own, so that the other finds out as well
	fresh := &cache.Record{Value: &ledger.Fingerprint{Sum: own}, Expires: time.Now().Add(fingerprintTTL)}
	if err := g.put(ctx, key, fresh); err != nil {
		g.log.Warn("fingerprint not stored", zap.Error(err))
	}
}

func (g *Gate) complain() {
	now, last := time.Now().UnixNano(), g.index.complained.Load()
	if now-last < int64(complainEvery) || !g.index.complained.CompareAndSwap(last, now) {
		return
	}
	g.log.Error("cache is used with another secret as well",
		zap.String("hint", "all nodes of this verifier account need the same client_secret, or the same secret of the cache; until then one does not find or count what the other stores. Expected once where the secret was just changed"))
}
