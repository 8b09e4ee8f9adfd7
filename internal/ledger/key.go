package ledger

import (
	"encoding/hex"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Key is the key of a record whose value is a *T.
type Key[T any] struct{ cache.Key }

// Browser is whom a visitor's records belong to.
type Browser struct {
	// Realm is the scope of the site's cookies: what is valid in one realm is
	// unknown in every other.
	Realm string
	// Secret is the value of the browser cookie; "" where there is none.
	Secret string
}

// SessionKey is the key of a session; id is the value of its cookie.
func (l *Ledger) SessionKey(realm, id string) Key[Session] {
	return Key[Session]{cache.Key{Kind: cache.KindSession, Realm: realm, Secret: id}}
}

// AttemptKey is the key of an attempt, by its id.
func (l *Ledger) AttemptKey(realm, id string) Key[Attempt] {
	return Key[Attempt]{cache.Key{Kind: cache.KindAttempt, Realm: realm, Secret: id}}
}

// PressKey is the key of a press of the start button: what leads to another
// number or place is another.
func (l *Ledger) PressKey(b Browser, number, back string) Key[Press] {
	return Key[Press]{l.browserKey(cache.KindPress, b, b.Secret+" "+number+" "+back)}
}

// RefusalKey is the key of a browser's last refusal.
func (l *Ledger) RefusalKey(b Browser) Key[Refusal] {
	return Key[Refusal]{l.browserKey(cache.KindRefusal, b, b.Secret)}
}

// GrantKey is the key of what lets a browser have its session once more.
func (l *Ledger) GrantKey(b Browser) Key[Grant] {
	return Key[Grant]{l.browserKey(cache.KindGrant, b, b.Secret)}
}

// browserKey is the key of what is kept for a browser: it belongs to one
// verifier account of the realm.
func (l *Ledger) browserKey(kind cache.Kind, b Browser, secret string) cache.Key {
	return cache.Key{Kind: kind, Realm: b.Realm + " " + l.cfg.Account, Secret: secret}
}

// TokenKey is the key of the note that a token was used. It is one for all
// realms: a token serves one attempt of the account.
func (l *Ledger) TokenKey(token string) Key[Claim] {
	return Key[Claim]{cache.Key{Kind: cache.KindClaim, Realm: l.cfg.Account, Secret: token}}
}

func (l *Ledger) fingerprintKey() Key[Fingerprint] {
	return Key[Fingerprint]{cache.Key{Kind: cache.KindFingerprint, Realm: l.cfg.Account, Secret: l.cfg.Account}}
}

// CountKey is the key of what is counted: one value of what, such as a number.
func (l *Ledger) CountKey(what, value string) cache.Key {
	secret := hex.EncodeToString(l.sum("limit "+what, value))
	return cache.Key{Kind: cache.KindCount, Realm: l.cfg.Account, Secret: secret}
}
