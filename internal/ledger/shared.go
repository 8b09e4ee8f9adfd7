package ledger

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// All nodes of a verifier account share one record. It holds the index key, encrypted
// with each of their secrets: so a new secret changes neither where records are found
// nor what is counted. It also says what was revoked.

const (
	// sharedTTL is longer than anything that the record is about.
	sharedTTL = 10 * 365 * 24 * time.Hour
	// refreshEvery is how often a node looks for what another one has revoked.
	refreshEvery = 400 * time.Millisecond
	// maxStale is how long a node goes on with what it has read last. A cache serves
	// sessions for as long at most while its server does not answer.
	maxStale = 10 * time.Second
)

// agreed is what this node knows of the shared record.
type agreed struct {
	keys *indexKeys
	// all tells of the revocations of everything, scopes of those of one scope: numbers
	// that grow.
	all    uint64
	scopes map[string]uint64
	// unerased says that there may be sessions from before a revocation, others that there
	// may be some under another index key.
	unerased, others bool
	// names are the names of realms after a revocation, so that no request has to put
	// one together.
	names atomic.Pointer[map[string]string]
}

// maxNames bounds how many names are kept: a gate without public_url has a realm for each
// loopback host that is asked for.
const maxNames = 1000

// Scope returns the part of a realm that can be revoked: the host, or *.domain.
func Scope(realm string) string {
	scope, _, _ := strings.Cut(realm, " ")
	return scope
}

// realm returns the name under which records of a realm are kept. After a revocation
// it is another one, so nothing from before is found.
func (a *agreed) realm(base string) string {
	if a.all == 0 && len(a.scopes) == 0 {
		return base
	}
	names := a.names.Load()
	if names != nil {
		if name, ok := (*names)[base]; ok {
			return name
		}
	}
	name := base
	if revoked := a.scopes[Scope(base)]; a.all > 0 || revoked > 0 {
		name += " " + strconv.FormatUint(a.all, 10) + "." + strconv.FormatUint(revoked, 10)
	}
	more := map[string]string{base: name}
	if names != nil && len(*names) < maxNames {
		maps.Copy(more, *names)
	}
	a.names.CompareAndSwap(names, &more) // another request may have been faster
	return name
}

// isRevoked tells whether that name is of before a revocation. A name that cannot be read
// is not: it may be of a later version.
func (a *agreed) isRevoked(realm string) bool {
	parts := strings.SplitN(realm, " ", 3) // scope, cookie name, revocations
	var all, scope uint64
	if len(parts) == 3 {
		if _, err := fmt.Sscanf(parts[2], "%d.%d", &all, &scope); err != nil {
			return false
		}
	}
	return all < a.all || scope < a.scopes[parts[0]]
}

// Realm returns the name under which records of a site's realm are kept at the moment.
// Whoever answers a request asks once, so that what began before a revocation ends as
// if it had come before. It returns "", whose records cannot be read or written, where
// it is not known what was revoked.
func (l *Ledger) Realm(ctx context.Context, base string) string {
	a, err := l.current(ctx)
	if err != nil {
		return ""
	}
	return a.realm(base)
}

// current returns what this node knows, and reads it if that is not known or too old.
func (l *Ledger) current(ctx context.Context) (*agreed, error) {
	if a := l.trusted.Load(); a != nil {
		return a, nil
	}
	return l.amend(ctx, nil)
}

// Ready makes sure that the account's keys are known. Realm does so as well.
func (l *Ledger) Ready(ctx context.Context) error {
	_, err := l.current(ctx)
	return err
}

// Watch keeps what this node knows up to date until ctx ends, and erases what was
// revoked. Where the cache fails for long, what is known is not trusted any more, and
// nobody passes. After ctx has ended every request asks.
func (l *Ledger) Watch(ctx context.Context) {
	defer l.stop()
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for last := time.Now(); ; {
		if a := l.trusted.Load(); a != nil && a.unerased && l.erasing.CompareAndSwap(false, true) {
			go l.erase(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if l.refreshWithin(ctx, refreshEvery) == nil {
			last = time.Now()
		} else if time.Since(last) >= maxStale {
			l.trusted.Store(nil)
		}
	}
}

func (l *Ledger) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.trusted.Store(nil)
}

func (l *Ledger) refreshWithin(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return l.Refresh(ctx)
}

// Refresh reads the shared record, and completes it: with the index key for a secret that
// has none yet, and with revocations that the cache has lost.
func (l *Ledger) Refresh(ctx context.Context) error {
	_, err := l.amend(ctx, nil)
	return err
}

// amend applies a change, if it is not nil, to the shared record, and returns what this
// node then knows.
func (l *Ledger) amend(ctx context.Context, change func(*Shared)) (*agreed, error) {
	for {
		entry, err := Get(ctx, l, l.sharedKey())
		if errors.Is(err, ErrNotFound) {
			entry, err = Nothing(l.sharedKey()), nil
		}
		if err != nil {
			return nil, err
		}
		next, keys, isNew, err := l.complete(entry.Value)
		if err != nil {
			return nil, err
		}
		if change != nil {
			change(next)
		}
		if !next.equals(entry.Value) {
			_, err = Swap(ctx, l, entry, next, Life{Expires: time.Now().Add(sharedTTL)})
		}
		switch {
		case errors.Is(err, ErrConflict): // another node was faster
		case err != nil && (change != nil || isNew):
			return nil, err
		default: // what could be read counts, even if it could not be completed
			return l.learn(next, keys), nil
		}
	}
}

// learn remembers what the shared record says. Of two readers the later one may have
// read the earlier record, so the numbers only grow.
func (l *Ledger) learn(s *Shared, keys *indexKeys) *agreed {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &agreed{keys: keys, all: s.All, scopes: s.Scopes, unerased: s.Unerased, others: hasOthers(s, keys.mark)}
	if known := l.known.Load(); known != nil {
		a.all, a.scopes = max(a.all, known.all), larger(a.scopes, known.scopes)
		if keys == known.keys && a.all == known.all && maps.Equal(a.scopes, known.scopes) && a.unerased == known.unerased && a.others == known.others {
			a = known // with its names
		}
	}
	l.known.Store(a)
	if !l.stopped {
		l.trusted.Store(a)
	}
	return a
}

// hasOthers tells whether the account has an index key with another mark as well.
func hasOthers(s *Shared, mark []byte) bool {
	for _, key := range s.Keys {
		if !hmac.Equal(key.Sum, mark) {
			return true
		}
	}
	return false
}

// HasOthers tells whether there may be records that this node does not find, since they
// were stored with another secret.
func (l *Ledger) HasOthers(ctx context.Context) (bool, error) {
	a, err := l.current(ctx)
	return err == nil && a.others, err
}

// complete returns the record that should be stored in place of s, which may be nil,
// and the account's index keys. IsNew says that no node could know these yet.
func (l *Ledger) complete(s *Shared) (next *Shared, keys *indexKeys, isNew bool, err error) {
	next = new(Shared)
	if s != nil {
		next = s.clone()
	}
	known := l.known.Load()
	key := l.openKey(next, known == nil)
	switch {
	case key != nil:
	case known != nil:
		key = known.keys.index
	default:
		key, isNew = make([]byte, sha256.Size), true
		_, _ = rand.Read(key) // never fails, by its documentation
	}
	if known != nil && hmac.Equal(key, known.keys.index) {
		keys = known.keys
	} else if keys, err = newIndexKeys(key, l.cfg.Account); err != nil {
		return nil, nil, false, err
	}
	if len(next.Sum) > 0 && !hmac.Equal(keys.mark, next.Sum) {
		l.cfg.OtherSecret()
	}
	if known == nil || len(next.Sum) == 0 {
		next.Sum = keys.mark // who starts last leaves a mark, so that the other node finds out as well
	}
	l.encryptKey(next, keys, known == nil)
	if known != nil {
		next.All, next.Scopes = max(next.All, known.all), larger(next.Scopes, known.scopes)
	}
	return next, keys, isNew, nil
}

// openKey returns the index key that one of this node's secrets opens, or nil.
func (l *Ledger) openKey(s *Shared, isFirst bool) []byte {
	for _, secret := range l.secrets {
		if key, err := secret.aead.Open(nil, nil, s.Keys[secret.id].Box, nil); err == nil {
			return key
		}
	}
	if !isFirst || len(s.Keys) > 0 {
		return nil
	}
	for _, secret := range l.secrets {
		// a record of an earlier version, which derived the key from the secret
		if hmac.Equal(markOf(secret.derived, l.cfg.Account), s.Sum) {
			return secret.derived
		}
	}
	return nil
}

// encryptKey encrypts the index key with this node's current secret, unless it is already. With tidy it drops that key for all secrets which this
// node does not have, since an earlier secret must not open it for ever. Another key,
// that of a node with another secret, stays.
func (l *Ledger) encryptKey(s *Shared, keys *indexKeys, tidy bool) {
	if s.Keys == nil {
		s.Keys = make(map[string]EncryptedKey)
	}
	maps.DeleteFunc(s.Keys, func(id string, k EncryptedKey) bool {
		return tidy && hmac.Equal(k.Sum, keys.mark) && !slices.ContainsFunc(l.secrets, func(own secret) bool { return own.id == id })
	})
	current := l.secrets[0]
	if opened, err := current.aead.Open(nil, nil, s.Keys[current.id].Box, nil); err != nil || !hmac.Equal(opened, keys.index) {
		s.Keys[current.id] = EncryptedKey{Sum: keys.mark, Box: current.aead.Seal(nil, nil, keys.index, nil)}
	}
}

// larger returns the larger number of each scope.
func larger(a, b map[string]uint64) map[string]uint64 {
	if len(b) == 0 {
		return a
	}
	all := maps.Clone(b)
	for scope, n := range a {
		all[scope] = max(all[scope], n)
	}
	return all
}
