package ledger

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// An administrator has no visitor's cookie, by which alone a session can be read. So
// each session has a label, encrypted under the index key, that says as much as is
// needed to list and to end it.

// Holding is a session as an administrator sees it.
type Holding struct {
	// PublicID names the session.
	PublicID string
	// Scope is that of its realm.
	Scope                 string
	VerifiedAt, ExpiresAt time.Time
	Method                verifier.Method
	Operator              string
}

// label is the plain text of a label. Labels are kept with each session, so the names
// of its fields are short.
type label struct {
	Realm    string          `json:"r"`
	Browser  []byte          `json:"b"` // the SessionsTag
	Verified int64           `json:"v"` // Unix seconds, as Expires
	Expires  int64           `json:"e"`
	Method   verifier.Method `json:"m,omitempty"`
	Operator string          `json:"o,omitempty"`
}

// label returns the label of a session.
func (l *Ledger) label(key Key[Session], s *Session, b Browser, expires time.Time) []byte {
	tag, ref := b.SessionsTag(), key.Ref()
	plain, _ := json.Marshal(label{ // of strings and numbers
		Realm: b.Realm, Browser: tag[:], Verified: s.VerifiedAt.Unix(), Expires: expires.Unix(),
		Method: s.Method, Operator: s.Operator,
	})
	return l.known.Load().keys.labels.Seal(nil, nil, plain, ref[:])
}

// read reads the label of a record. Ok is false where there is none, or where it is not
// one of a session of this account.
func (l *Ledger) read(ctx context.Context, ref cache.Ref) (read label, ok bool, err error) {
	var sealed []byte
	err = l.do(ctx, "label", func(c cache.Cache) (err error) {
		sealed, err = c.Label(ctx, ref)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return label{}, false, nil
	}
	if err != nil {
		return label{}, false, err
	}
	plain, err := l.known.Load().keys.labels.Open(nil, nil, sealed, ref[:])
	if err != nil || json.Unmarshal(plain, &read) != nil || len(read.Browser) != len(cache.Tag{}) {
		return label{}, false, nil
	}
	return read, true, nil
}

// Holders lists the live sessions of a number.
func (l *Ledger) Holders(ctx context.Context, e164 string) ([]Holding, error) {
	known, err := l.current(ctx)
	if err != nil {
		return nil, err
	}
	refs, err := l.Find(ctx, l.tags(e164, cache.Tag{})[numberTag])
	if err != nil {
		return nil, err
	}
	var all []Holding
	for _, ref := range refs {
		read, ok, err := l.read(ctx, ref)
		if err != nil {
			return nil, err
		}
		if ok && known.isCurrent(read.Realm) {
			all = append(all, read.holding(ref))
		}
	}
	return all, nil
}

func (read *label) holding(ref cache.Ref) Holding {
	s := Session{Method: read.Method}
	return Holding{
		PublicID: hex.EncodeToString(ref[:publicIDLength]), Scope: Scope(read.Realm),
		VerifiedAt: time.Unix(read.Verified, 0), ExpiresAt: time.Unix(read.Expires, 0),
		Method: s.How(), Operator: read.Operator,
	}
}

// RevokeNumber ends all sessions of a number, and the attempts and grants that could
// become one. It returns how many sessions it ended. After an error some may go on.
//
// What a session comes from is removed first. A session is stored before it is given,
// and it is given only if what it comes from is still there. So a session is either
// found at the second look, or given to nobody.
func (l *Ledger) RevokeNumber(ctx context.Context, e164 string) (sessions int, err error) {
	if _, err := l.current(ctx); err != nil {
		return 0, err
	}
	tag := l.tags(e164, cache.Tag{})[numberTag]
	ended := make(map[cache.Ref]bool)
	for range 2 {
		refs, err := l.Find(ctx, tag)
		if err != nil {
			return len(ended), err
		}
		for _, ref := range refs {
			if _, ok, err := l.read(ctx, ref); err != nil {
				return len(ended), err
			} else if ok {
				ended[ref] = true
			}
		}
		if err := l.Remove(ctx, refs...); err != nil {
			return len(ended), err
		}
	}
	return len(ended), nil
}

// RevokeSession ends the session of a public id, with all others that its browser was
// given: they may come of the same verification. It returns how many it ended.
func (l *Ledger) RevokeSession(ctx context.Context, publicID string) (sessions int, err error) {
	if _, err := l.current(ctx); err != nil {
		return 0, err
	}
	named, err := hex.DecodeString(publicID)
	if err != nil || len(named) != publicIDLength {
		return 0, nil
	}
	var found []cache.Ref
	err = l.walk(ctx, func(ref cache.Ref) {
		if [publicIDLength]byte(ref[:]) == [publicIDLength]byte(named) && !slices.Contains(found, ref) {
			found = append(found, ref)
		}
	})
	if err != nil {
		return 0, err
	}
	for _, ref := range found {
		read, ok, err := l.read(ctx, ref)
		if err != nil {
			return sessions, err
		}
		if !ok {
			continue // of another account, or just ended
		}
		ended, err := l.EndBrowsers(ctx, []cache.Tag{cache.Tag(read.Browser)}, []cache.Ref{ref})
		if err != nil {
			return sessions, err
		}
		sessions += max(1, ended)
	}
	return sessions, nil
}

// RevokeScope ends everything in realms of a scope, in one step. Erase frees the room.
func (l *Ledger) RevokeScope(ctx context.Context, scope string) error {
	return l.amend(ctx, func(s *Shared) {
		if s.Scopes == nil {
			s.Scopes = make(map[string]uint64)
		}
		s.Scopes[scope]++
	})
}

// RevokeAll ends everything in one step. Erase frees the room.
func (l *Ledger) RevokeAll(ctx context.Context) error {
	return l.amend(ctx, func(s *Shared) { s.All++ })
}

// erasers is how many sessions are erased at a time: a file takes many in one write.
const erasers = 64

// Erase removes sessions that RevokeScope and RevokeAll have ended. Nothing finds them
// any more, but they take room and hold what was verified. It returns how many it
// removed.
func (l *Ledger) Erase(ctx context.Context) (erased int, err error) {
	known, err := l.current(ctx)
	if err != nil {
		return 0, err
	}
	var refs []cache.Ref
	if err := l.walk(ctx, func(ref cache.Ref) { refs = append(refs, ref) }); err != nil {
		return 0, err
	}
	var mu sync.Mutex
	var errs []error
	work := make(chan cache.Ref)
	var workers sync.WaitGroup
	for range min(erasers, len(refs)) {
		workers.Go(func() {
			for ref := range work {
				removed, err := l.erase(ctx, known, ref)
				mu.Lock()
				if removed {
					erased++
				}
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	for _, ref := range refs {
		work <- ref
	}
	close(work)
	workers.Wait()
	return erased, errors.Join(errs...)
}

// erase removes the session if it is of a realm before a revocation.
func (l *Ledger) erase(ctx context.Context, known *agreed, ref cache.Ref) (removed bool, err error) {
	read, ok, err := l.read(ctx, ref)
	if err != nil || !ok || known.isCurrent(read.Realm) {
		return false, err
	}
	return true, l.Remove(ctx, ref)
}

func (l *Ledger) walk(ctx context.Context, visit func(cache.Ref)) error {
	return l.do(ctx, "walk", func(c cache.Cache) error {
		return c.Walk(ctx, func(ref cache.Ref) error {
			visit(ref)
			return nil
		})
	})
}

// EndBrowsers ends all sessions of browsers, and returns how many there were.
//
// It removes attempts and grants before it looks for sessions. A new session is stored
// first and given only if its attempt is still there, so that each session is either
// found here or given to nobody.
//
// Own is what a visitor's cookies name. It is removed even if the cache does not list
// it, and last: if another removal fails, it still leads to the rest at the next try.
func (l *Ledger) EndBrowsers(ctx context.Context, browsers []cache.Tag, own []cache.Ref) (ended int, err error) {
	var sessions []cache.Ref
	for _, browser := range browsers {
		sources, err := l.Find(ctx, SourcesTag(browser))
		if err != nil {
			return 0, err
		}
		if err := l.Remove(ctx, sources...); err != nil {
			return 0, err
		}
		found, err := l.Find(ctx, browser)
		if err != nil {
			return 0, err
		}
		sessions = append(sessions, found...)
	}
	others := slices.DeleteFunc(slices.Clone(sessions), func(ref cache.Ref) bool { return slices.Contains(own, ref) })
	if err := l.Remove(ctx, others...); err != nil {
		return len(sessions), err
	}
	return len(sessions), l.Remove(ctx, own...)
}
