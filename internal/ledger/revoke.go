package ledger

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

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
		if ok && !known.isRevoked(read.Realm) {
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
	found, err := l.named(ctx, publicID)
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

// RemoveSession removes the session of a public id, and nothing else. It is for one
// whose label cannot be read. It returns how many it removed.
func (l *Ledger) RemoveSession(ctx context.Context, publicID string) (sessions int, err error) {
	found, err := l.named(ctx, publicID)
	if err != nil {
		return 0, err
	}
	return len(found), l.Remove(ctx, found...)
}

// named finds the session of a public id.
func (l *Ledger) named(ctx context.Context, publicID string) (found []cache.Ref, err error) {
	named, err := hex.DecodeString(publicID)
	if err != nil || len(named) != publicIDLength {
		return nil, nil
	}
	err = l.walk(ctx, func(ref cache.Ref) error {
		if [publicIDLength]byte(ref[:]) == [publicIDLength]byte(named) && !slices.Contains(found, ref) {
			found = append(found, ref)
		}
		return nil
	})
	return found, err
}

// RevokeScope ends everything in realms of a scope, in one step.
func (l *Ledger) RevokeScope(ctx context.Context, scope string) error {
	_, err := l.amend(ctx, func(s *Shared) {
		if s.Scopes == nil {
			s.Scopes = make(map[string]uint64)
		}
		s.Scopes[scope], s.Unerased = after(s.Scopes[scope]), true
	})
	return err
}

// RevokeAll ends everything in one step.
func (l *Ledger) RevokeAll(ctx context.Context) error {
	_, err := l.amend(ctx, func(s *Shared) { s.All, s.Unerased = after(s.All), true })
	return err
}

// after returns a number of a revocation after n. It is the time in milliseconds, so that
// it differs from that of another node even where a write was lost, and grows even where
// a clock is late.
func after(n uint64) uint64 { return max(n+1, uint64(max(0, time.Now().UnixMilli()))) }

// erasers is how many sessions are erased at a time: a file takes many in one write.
const erasers = 64

// erase removes the sessions that RevokeScope and RevokeAll have ended. Nothing finds
// them any more, but they take room and hold what was verified. After an error Watch
// tries again. One erase runs at a time, whoever has set erasing.
func (l *Ledger) erase(ctx context.Context) {
	defer l.erasing.Store(false)
	known, err := l.current(ctx)
	if err == nil {
		err = l.eraseRevoked(ctx, known)
	}
	if err == nil {
		_, err = l.amend(ctx, func(s *Shared) {
			s.Unerased = s.All != known.all || !maps.Equal(s.Scopes, known.scopes) // revoked meanwhile
		})
	}
	if err != nil && ctx.Err() == nil {
		l.cfg.NotErased(err)
	}
}

// eraseRevoked removes all sessions from before the known revocations. It ends with the
// first error.
func (l *Ledger) eraseRevoked(ctx context.Context, known *agreed) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(erasers)
	err := l.walk(ctx, func(ref cache.Ref) error {
		group.Go(func() error { return l.eraseIf(ctx, known, ref) })
		return ctx.Err()
	})
	return cmp.Or(group.Wait(), err)
}

// eraseIf removes a session if it is of before a revocation.
func (l *Ledger) eraseIf(ctx context.Context, known *agreed, ref cache.Ref) error {
	read, ok, err := l.read(ctx, ref)
	if err != nil || !ok || !known.isRevoked(read.Realm) {
		return err
	}
	return l.Remove(ctx, ref)
}

func (l *Ledger) walk(ctx context.Context, visit func(cache.Ref) error) error {
	return l.do(ctx, "walk", func(c cache.Cache) error { return c.Walk(ctx, visit) })
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
