package gate

import (
	"context"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// Whoever runs the site acts on all records of the gate's account in its cache. Gates
// that share these need to be asked just once.

// Target is what is revoked: what its one field names, or everything where none is set.
type Target struct {
	Number  string // E.164
	Session string // a public id
	Scope   string
}

// Holders lists the sessions of a number.
func (g *Gate) Holders(ctx context.Context, e164 string) ([]ledger.Holding, error) {
	found, err := g.desk.Ledger.Holders(ctx, e164)
	g.journal.Searched(ctx, journal.Act{Number: e164, Sessions: int64(len(found)), Failed: err != nil})
	return found, err
}

// MissesSome tells whether the cache may have sessions of the account that are not found
// by number, since they were stored with another secret.
func (g *Gate) MissesSome(ctx context.Context) bool {
	misses, err := g.desk.Ledger.HasOthers(ctx)
	return misses || err != nil
}

// Revoke ends the sessions of a target, and the attempts that could become one. It
// returns how many sessions it ended; less than 0 where that is not known, which is so
// for a scope and everything. They are ended in one step, and erased later.
func (g *Gate) Revoke(ctx context.Context, t Target) (sessions int64, err error) {
	n := -1
	switch l := g.desk.Ledger; t {
	case Target{}:
		err = l.RevokeAll(ctx)
	case Target{Scope: t.Scope}:
		err = l.RevokeScope(ctx, t.Scope)
	case Target{Session: t.Session}:
		n, err = l.RevokeSession(ctx, t.Session)
	default:
		n, err = l.RevokeNumber(ctx, t.Number)
	}
	sessions = int64(n)
	g.journal.Revoked(ctx, journal.Act{
		Number: t.Number, Session: t.Session, Realm: t.Scope, Sessions: sessions, Failed: err != nil,
	})
	return sessions, err
}

// RemoveSession removes the session of a public id whose label cannot be read.
func (g *Gate) RemoveSession(ctx context.Context, publicID string) (sessions int64, err error) {
	n, err := g.desk.Ledger.RemoveSession(ctx, publicID)
	if n > 0 || err != nil {
		g.journal.Revoked(ctx, journal.Act{Session: publicID, Sessions: int64(n), Failed: err != nil})
	}
	return int64(n), err
}
