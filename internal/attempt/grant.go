package attempt

import (
	"context"
	"errors"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

const (
	// grantTTL is how long after a success the browser may fetch the session again.
	grantTTL = 60 * time.Second
	// maxGiven is how many parallel tabs may replace each other's session.
	maxGiven = 20
)

// recordSuccess stores the grant of a verified browser, forgets its last refusal, and
// ends its older sessions. The visitor is verified even if that fails.
func (d *Desk) recordSuccess(ctx context.Context, v *Visitor, grant *ledger.Grant, older []cache.Ref) {
	b := v.browser()
	err := errors.Join(
		d.putGrant(ctx, b, grant),
		d.Ledger.Remove(ctx, d.Ledger.RefusalKey(b).Ref()),
		d.Ledger.Remove(ctx, older...),
	)
	if err != nil {
		d.Journal.NotDone(ctx, "browser's earlier state not cleared", err)
	}
}

// putGrant stores the grant of a success. It goes on to know which sessions of the
// browser were turned down a moment ago.
func (d *Desk) putGrant(ctx context.Context, b ledger.Browser, grant *ledger.Grant) error {
	key := d.Ledger.GrantKey(b)
	for {
		earlier, err := ledger.Get(ctx, d.Ledger, key)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			return err
		}
		next := *grant
		next.Fresh = grant.Session.PublicID
		if earlier.Value != nil {
			next.TurnedDown, next.Misfit = earlier.Value.TurnedDown, earlier.Value.Misfit
		}
		_, err = ledger.Swap(ctx, d.Ledger, earlier, &next, d.Ledger.GrantLife(&next, b, grantTTL))
		if !errors.Is(err, ledger.ErrConflict) {
			return err
		}
	}
}

// GiveAgain gives the session of a recent success to the same browser again, under a
// new id, in case the phone dropped the cookie or the answer got lost. It returns the
// code of a refusal, or neither where there is nothing to give.
//
// A browser without a session cookie gets it once, since it may keep no cookies at
// all. A browser whose session a parallel tab has just replaced gets one up to
// maxGiven times, and the sessions of its other tabs go on.
func (d *Desk) GiveAgain(ctx context.Context, v *Visitor, terms Terms) (*Issued, refusal.Code) {
	if v.Browser == "" {
		return nil, ""
	}
	ctx = context.WithoutCancel(ctx)
	for range maxGiven {
		entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.GrantKey(v.browser()))
		if errors.Is(err, ledger.ErrNotFound) {
			return nil, ""
		}
		if err != nil {
			return nil, d.Journal.Failed(ctx, "session", err)
		}
		grant := entry.Value
		if d.other(v, grant.Session) != "" || isTooOld(grant.Session, terms, time.Now()) {
			return nil, ""
		}
		if grant.Given >= maxGiven || dropsCookies(v, grant) {
			return nil, refusal.CookiesRequired
		}
		issued, err := d.give(ctx, v, entry)
		switch {
		case err == nil:
			return issued, ""
		case errors.Is(err, ledger.ErrConflict): // another tab was faster
		case errors.Is(err, ledger.ErrNotFound):
			return nil, "" // the browser has signed out
		default:
			return nil, d.Journal.Failed(ctx, "session", err)
		}
	}
	return nil, refusal.Busy
}

// give makes another session from a grant. It fails if the grant has changed, or if
// the attempt is gone, which a sign-out removes before it looks for sessions. The
// sessions of a browser that has lost its cookie end.
func (d *Desk) give(ctx context.Context, v *Visitor, entry ledger.Entry[ledger.Grant]) (*Issued, error) {
	given := *entry.Value
	given.Given++
	var lost []cache.Ref
	if v.Session == "" {
		var err error
		if lost, err = d.Ledger.Find(ctx, v.browser().SessionsTag()); err != nil {
			return nil, err
		}
	}
	session := *given.Session
	issued, err := d.putSession(ctx, v, &session)
	if err != nil {
		return nil, err
	}
	given.Fresh = session.PublicID
	_, err = ledger.Get(ctx, d.Ledger, d.Ledger.AttemptKey(v.Realm, given.Attempt))
	if err == nil {
		_, err = ledger.Swap(ctx, d.Ledger, entry, &given, ledger.Life{Expires: entry.Record.Expires, Tags: entry.Record.Tags})
	}
	if err != nil {
		d.discard(ctx, d.sessionRef(v, issued.ID))
		return nil, err
	}
	d.discard(ctx, lost...)
	d.Journal.SessionGivenAgain(journal.WithAttempt(ctx, given.Attempt), &session)
	return issued, nil
}
