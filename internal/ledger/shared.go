package ledger

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// All nodes of a verifier account share one record. It holds the index key, encrypted
// with each of their secrets: so a new secret changes neither where records are found
// nor what is counted. It also counts what was revoked.

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
	// all counts the revocations of everything, scopes those of one scope.
	all    uint64
	scopes map[string]uint64
}

// Scope returns the part of a realm that can be revoked: the host, or *.domain.
func Scope(realm string) string {
	scope, _, _ := strings.Cut(realm, " ")
	return scope
}

// realm returns the name under which records of a realm are kept. After a revocation
// it is another one, so nothing from before is found.
func (a *agreed) realm(base string) string {
	var revoked uint64
	if len(a.scopes) > 0 {
		revoked = a.scopes[Scope(base)]
	}
	if a.all == 0 && revoked == 0 {
		return base
	}
	return base + " " + strconv.FormatUint(a.all, 10) + "." + strconv.FormatUint(revoked, 10)
}

// isCurrent tells whether records are kept under that name now.
func (a *agreed) isCurrent(realm string) bool {
	parts := strings.SplitN(realm, " ", 3) // scope, cookie name, revocations
	return len(parts) >= 2 && a.realm(parts[0]+" "+parts[1]) == realm
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
	if err := l.Refresh(ctx); err != nil {
		return nil, err
	}
	return l.trusted.Load(), nil
}

// Ready makes sure that the account's keys are known. Realm does so as well.
func (l *Ledger) Ready(ctx context.Context) error {
	_, err := l.current(ctx)
	return err
}

// Watch keeps what this node knows up to date until ctx ends. Where the cache fails for
// long it is not trusted any more, and nobody passes.
func (l *Ledger) Watch(ctx context.Context) {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	last := time.Now()
	for {
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

func (l *Ledger) refreshWithin(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return l.Refresh(ctx)
}

// Refresh reads the shared record, and completes it: with the index key for secrets that
// have none yet, and with revocations that the cache has lost.
func (l *Ledger) Refresh(ctx context.Context) error {
	return l.amend(ctx, func(*Shared) {})
}

// amend applies a change to the shared record.
func (l *Ledger) amend(ctx context.Context, change func(*Shared)) error {
	for {
		entry, err := Get(ctx, l, l.sharedKey())
		if errors.Is(err, ErrNotFound) {
			entry, err = Nothing(l.sharedKey()), nil
		}
		if err != nil {
			return err
		}
		next, keys, err := l.complete(entry.Value)
		if err != nil {
			return err
		}
		change(next)
		if !next.equals(entry.Value) {
			_, err := Swap(ctx, l, entry, next, Life{Expires: time.Now().Add(sharedTTL)})
			if errors.Is(err, ErrConflict) {
				continue // another node was faster
			}
			if err != nil {
				return err
			}
		}
		l.learn(next, keys)
		return nil
	}
}

// learn remembers what the shared record says. Of two readers the later one may have
// read the earlier record, so counts only grow.
func (l *Ledger) learn(s *Shared, keys *indexKeys) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := &agreed{keys: keys, all: s.All, scopes: maps.Clone(s.Scopes)}
	if known := l.known.Load(); known != nil {
		a.all = max(a.all, known.all)
		a.scopes = larger(a.scopes, known.scopes)
	}
	l.known.Store(a)
	l.trusted.Store(a)
}

// complete returns the record that should be stored in place of s, which may be nil,
// and the account's index keys.
func (l *Ledger) complete(s *Shared) (next *Shared, keys *indexKeys, err error) {
	next = new(Shared)
	if s != nil {
		next = s.clone()
	}
	known := l.known.Load()
	isFirst := known == nil
	key := l.openKey(next, isFirst)
	switch {
	case key != nil && isFirst:
		// an earlier secret must not open the key for ever
		maps.DeleteFunc(next.Keys, func(id string, _ []byte) bool { return !l.isOwn(id) })
	case key != nil:
	case !isFirst:
		key = known.keys.index
	default:
		key = make([]byte, sha256.Size)
		_, _ = rand.Read(key) // never fails, by its documentation
	}
	if keys, err = newIndexKeys(key); err != nil {
		return nil, nil, err
	}
	own := keys.sum("fingerprint", l.cfg.Account)
	if len(next.Sum) > 0 && !hmac.Equal(own, next.Sum) {
		l.cfg.OtherSecret()
	}
	if isFirst || len(next.Sum) == 0 {
		next.Sum = own // who starts last leaves a mark, so that the other node finds out as well
	}
	l.encryptKey(next, key)
	if !isFirst {
		next.All, next.Scopes = max(next.All, known.all), larger(next.Scopes, known.scopes)
	}
	return next, keys, nil
}

// openKey returns the index key that one of this node's secrets opens, or nil.
func (l *Ledger) openKey(s *Shared, isFirst bool) []byte {
	for _, secret := range l.secrets {
		if key, err := secret.aead.Open(nil, nil, s.Keys[secret.id], nil); err == nil {
			return key
		}
	}
	if !isFirst || len(s.Keys) > 0 {
		return nil
	}
	for _, secret := range l.secrets {
		// a record of an earlier version, which derived the key from the secret
		if hmac.Equal(sumOf(secret.derived, "fingerprint", l.cfg.Account), s.Sum) {
			return secret.derived
		}
	}
	return nil
}

// encryptKey adds the index key for each of this node's secrets that does not open it
// yet.
func (l *Ledger) encryptKey(s *Shared, key []byte) {
	if s.Keys == nil {
		s.Keys = make(map[string][]byte)
	}
	for _, secret := range l.secrets {
		if opened, err := secret.aead.Open(nil, nil, s.Keys[secret.id], nil); err != nil || !hmac.Equal(opened, key) {
			s.Keys[secret.id] = secret.aead.Seal(nil, nil, key, nil)
		}
	}
}

// isOwn tells whether one of this node's secrets has that id.
func (l *Ledger) isOwn(id string) bool {
	return slices.ContainsFunc(l.secrets, func(s secret) bool { return s.id == id })
}

// larger returns the larger count of each scope.
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
