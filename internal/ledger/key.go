package ledger

import (
	"encoding/hex"
	"strings"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Key is the key of a record with a value of type *T.
type Key[T any] struct{ cache.Key }

// Browser is a visitor's browser, to which records belong.
type Browser struct {
	// Realm is the scope of the site's cookies, as Ledger.Realm returned it. Records
	// of one realm are unknown in every other.
	Realm string
	// Secret is the value of the browser cookie; "" where there is none.
	Secret string
}

// The realm in the keys of visitors' records is the one that Realm returned.

// SessionKey returns the key of a session; id is the value of its cookie.
func (l *Ledger) SessionKey(realm, id string) Key[Session] {
	return Key[Session]{keyIn(realm, cache.Key{Kind: cache.KindSession, Realm: realm, Secret: id})}
}

// AttemptKey returns the key of an attempt.
func (l *Ledger) AttemptKey(realm, id string) Key[Attempt] {
	return Key[Attempt]{keyIn(realm, cache.Key{Kind: cache.KindAttempt, Realm: realm, Secret: id})}
}

// keyIn returns key, or one that cannot be used if the realm is not known.
func keyIn(realm string, key cache.Key) cache.Key {
	if realm == "" {
		return cache.Key{}
	}
	return key
}

// publicIDLength is the number of bytes in a PublicID.
const publicIDLength = 6

// IsPublicID tells whether s could be the PublicID of a session.
func IsPublicID(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == publicIDLength && strings.ToLower(s) == s
}

// PublicID names the session of that key in logs and for administrators. It opens
// nothing: it is the beginning of the name under which caches store the session.
func (k Key[T]) PublicID() string {
	ref := k.Ref()
	return hex.EncodeToString(ref[:publicIDLength])
}

// PressKey returns the key of a press of the start button. A press with another
// number or return path is another press.
func (l *Ledger) PressKey(b Browser, number, back string) Key[Press] {
	return Key[Press]{l.browserKey(cache.KindPress, b, b.Secret+" "+number+" "+back)}
}

// RefusalKey returns the key of a browser's last refusal.
func (l *Ledger) RefusalKey(b Browser) Key[Refusal] {
	return Key[Refusal]{l.browserKey(cache.KindRefusal, b, b.Secret)}
}

// GrantKey returns the key of a browser's grant.
func (l *Ledger) GrantKey(b Browser) Key[Grant] {
	return Key[Grant]{l.browserKey(cache.KindGrant, b, b.Secret)}
}

// browserKey returns the key of a browser's record, which belongs to one verifier
// account of the realm.
func (l *Ledger) browserKey(kind cache.Kind, b Browser, secret string) cache.Key {
	return keyIn(b.Realm, cache.Key{Kind: kind, Realm: b.Realm + " " + l.cfg.Account, Secret: secret})
}

// TokenKey returns the key of a token's claim. It is the same in all realms, since a
// token serves one attempt of the account.
func (l *Ledger) TokenKey(token string) Key[Claim] {
	return Key[Claim]{cache.Key{Kind: cache.KindClaim, Realm: l.cfg.Account, Secret: token}}
}

func (l *Ledger) sharedKey() Key[Shared] {
	return Key[Shared]{cache.Key{Kind: cache.KindShared, Realm: l.cfg.Account, Secret: l.cfg.Account}}
}

// CountKey returns the key of one count. The name in what is that of the measure, such
// as "number", and value is what it measures, such as one phone number.
func (l *Ledger) CountKey(what, value string) cache.Key {
	secret := hex.EncodeToString(l.sum("limit "+what, value))
	return cache.Key{Kind: cache.KindCount, Realm: l.cfg.Account, Secret: secret}
}
