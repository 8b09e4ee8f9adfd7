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

// Revoke ends the sessions of a target, and the attempts that could become one. It
// returns how many sessions it ended; less than 0 where that is not known, which is so
// for a scope and everything. They are ended in one step, and Erase removes them.
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

// Erase removes the sessions that a revocation of a scope or of everything has ended.
// What remains after an error is found by nobody, and ends by itself.
func (g *Gate) Erase(ctx context.Context) {
	if _, err := g.desk.Ledger.Erase(ctx); err != nil && ctx.Err() == nil {
		g.journal.NotDone(ctx, "revoked sessions not erased", err)
	}
}
