package attempt

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// Terms are what a route asks of a verification.
type Terms struct {
	// MaxAge is the greatest age; 0: any age.
	MaxAge time.Duration
	// SessionTTL is how long a session is valid, SessionIdle how long without a
	// request; 0: no limit.
	SessionTTL, SessionIdle time.Duration
}

// retention is how long sessions are kept, so that they serve all routes.
type retention struct {
	// ttl and idle are the longest of all routes.
	ttl, idle time.Duration
	// touchEvery is how often the use of a session is noted; 0: never.
	touchEvery time.Duration
	routes     int
}

// touchesPerIdle is how many times the use of a session is noted in an idle time.
const touchesPerIdle = 60

// AddRoute makes the desk keep sessions for as long as a route may need them. Call it
// for each route before the first request.
func (d *Desk) AddRoute(route Terms) {
	k := &d.retention
	k.ttl = max(k.ttl, route.SessionTTL)
	if k.routes == 0 || (k.idle > 0 && route.SessionIdle > k.idle) || route.SessionIdle == 0 {
		k.idle = route.SessionIdle
	}
	if every := route.SessionIdle / touchesPerIdle; every > 0 && (k.touchEvery == 0 || every < k.touchEvery) {
		k.touchEvery = every
	}
	k.routes++
}

// Lenient returns the terms of the most lenient route. They apply where a visitor is
// not at a route.
func (d *Desk) Lenient() Terms {
	return Terms{SessionTTL: d.retention.ttl, SessionIdle: d.retention.idle}
}

// Found is the result of looking for a visitor's session.
type Found struct {
	// Session is the session that lets the visitor pass, or nil.
	Session *ledger.Session
	// Misfit is why there is none. If it is Unknown, a parallel tab may just have
	// replaced the session.
	Misfit Misfit
}

// UseSession finds the session that lets the visitor pass on these terms, and notes
// its use. An error means that the cache failed, which the caller logs.
func (d *Desk) UseSession(ctx context.Context, v *Visitor, terms Terms) (Found, error) {
	entry, found, err := d.find(ctx, v, terms)
	if found.Session != nil {
		d.touch(ctx, entry)
	}
	return found, err
}

// Peek does what UseSession does without noting a use. It logs an error.
func (d *Desk) Peek(ctx context.Context, v *Visitor, terms Terms) (Found, error) {
	_, found, err := d.find(ctx, v, terms)
	if err != nil {
		d.Journal.LookupFailed(ctx, err)
	}
	return found, err
}

func (d *Desk) find(ctx context.Context, v *Visitor, terms Terms) (ledger.Entry[ledger.Session], Found, error) {
	if v.Session == "" {
		return ledger.Entry[ledger.Session]{}, Found{Misfit: NoCookie}, nil
	}
	entry, err := ledger.GetUntraced(ctx, d.Ledger, d.Ledger.SessionKey(v.Realm, v.Session))
	if errors.Is(err, ledger.ErrNotFound) {
		return entry, Found{Misfit: Unknown}, nil
	}
	if err != nil {
		return entry, Found{}, err // fail closed
	}
	if misfit := d.misfit(v, entry, terms); misfit != "" {
		return entry, Found{Misfit: misfit}, nil
	}
	return entry, Found{Session: entry.Value}, nil
}

// misfit tells why a session does not let the visitor pass on these terms.
func (d *Desk) misfit(v *Visitor, entry ledger.Entry[ledger.Session], terms Terms) Misfit {
	if other := d.other(v, entry.Value); other != "" || d.isKeptAsAsked(entry, terms) {
		return other
	}
	now := time.Now()
	switch {
	case isTooOld(entry.Value, terms, now):
		return TooOld
	case terms.SessionIdle > 0 && now.Sub(entry.Record.Touched) >= terms.SessionIdle:
		return TooIdle
	default:
		return ""
	}
}

// isKeptAsAsked tells whether the terms ask for no more than a live record, which the
// cache has just checked. Then nobody has to look at the clock, which is a good part
// of what a request costs.
func (d *Desk) isKeptAsAsked(entry ledger.Entry[ledger.Session], terms Terms) bool {
	return terms.MaxAge == 0 && terms.SessionIdle == 0 && entry.Record.Idle == 0 && d.retention.touchEvery == 0 &&
		!entry.Record.Expires.After(entry.Value.VerifiedAt.Add(terms.SessionTTL))
}

// other tells why a verification is not one of the account, of an accepted country, and
// of the visitor's known number if the site knows it.
func (d *Desk) other(v *Visitor, s *ledger.Session) Misfit {
	switch {
	case s.Account != d.Account:
		return OtherAccount
	case !d.accepts(s.Region):
		return OtherCountry
	case d.KnowsNumbers && !d.isNumber(v, s.Number):
		return OtherNumber
	default:
		return ""
	}
}

// isNumber tells whether the visitor's number, as the site knows it, is this one.
func (d *Desk) isNumber(v *Visitor, e164 string) bool {
	if v.Number == e164 {
		return v.Number != ""
	}
	n, code := d.ParseNumber(v.Number)
	return code == "" && n.E164 == e164
}

func isTooOld(s *ledger.Session, terms Terms, now time.Time) bool {
	age := now.Sub(s.VerifiedAt)
	return age >= terms.SessionTTL || (terms.MaxAge > 0 && age >= terms.MaxAge)
}

// touch notes the use of a session: not at every request, but often enough for the
// shortest idle time.
func (d *Desk) touch(ctx context.Context, entry ledger.Entry[ledger.Session]) {
	every := d.retention.touchEvery
	if idle := entry.Record.Idle; idle > 0 && (every == 0 || idle/touchesPerIdle < every) {
		every = idle / touchesPerIdle
	}
	if every == 0 {
		return // without a look at the clock
	}
	now := time.Now()
	if now.Sub(entry.Record.Touched) < every {
		return
	}
	if err := ledger.Touch(ctx, d.Ledger, entry, now); err != nil {
		d.Journal.NotDone(ctx, "session not touched", err)
	}
}

// issue turns a proven attempt into a session with a new id. It stores the session and
// then ends the attempt: after a crash in between nobody knows the session.
// ErrConflict means that another request was faster, or that the attempt was burned or
// its browser has signed out.
func (d *Desk) issue(ctx context.Context, v *Visitor, entry ledger.Entry[ledger.Attempt]) (*Issued, error) {
	ctx = context.WithoutCancel(ctx) // done whole or not at all
	a := entry.Value
	older, err := d.olderSessions(ctx, v, entry.Key.Ref())
	if err != nil {
		d.Journal.NotDone(ctx, "browser's earlier sessions not found", err)
	}
	issued, err := d.putSession(ctx, v, ledger.NewSession(ledger.Session{
		Account: a.Account, Number: a.Number, Region: a.Region, Operator: a.Operator,
		Method: a.Method, VerifiedAt: a.ProvenAt,
	}))
	if err != nil {
		return nil, err
	}
	if _, err := d.end(ctx, entry, verified); err != nil {
		d.discard(ctx, d.sessionRef(v, issued.ID))
		return nil, err
	}
	d.recordSuccess(ctx, v, &ledger.Grant{Attempt: entry.Key.Secret, Session: issued.Session}, older)
	d.Journal.Verified(ctx, a, issued.Session)
	return issued, nil
}

// putSession stores a session of the visitor's browser under a new id.
func (d *Desk) putSession(ctx context.Context, v *Visitor, s *ledger.Session) (*Issued, error) {
	id := ledger.NewID()
	key := d.Ledger.SessionKey(v.Realm, id)
	s.PublicID = key.PublicID()
	life := d.Ledger.SessionLife(key, s, v.browser(), d.retention.ttl, d.retention.idle)
	err := ledger.Put(ctx, d.Ledger, key, s, life)
	return &Issued{ID: id, Session: s, Ends: life.Expires}, err
}

func (d *Desk) sessionRef(v *Visitor, id string) cache.Ref {
	return d.Ledger.SessionKey(v.Realm, id).Ref()
}

// Ends returns when a session ends at the latest.
func (d *Desk) Ends(s *ledger.Session) time.Time { return s.VerifiedAt.Add(d.retention.ttl) }

// discard removes sessions that must not be used. A failure is only logged.
func (d *Desk) discard(ctx context.Context, refs ...cache.Ref) {
	if err := d.Ledger.Remove(ctx, refs...); err != nil {
		d.Journal.NotDone(ctx, "unused session not removed", err)
	}
}

// olderSessions finds the sessions that the success of an attempt ends. If there is an
// error, some may be missing. They are:
//
//   - the session whose cookie the request carried;
//   - if that was given under another browser cookie (one of another host of the
//     cookie domain, or one that has expired), all sessions given under it, with
//     their sources: a sign-out here would not find them;
//   - all sessions that this browser was given, unless another recent attempt of it
//     shows that they may belong to parallel tabs.
func (d *Desk) olderSessions(ctx context.Context, v *Visitor, attempt cache.Ref) (older []cache.Ref, err error) {
	own := v.browser().SessionsTag()
	if v.Session != "" {
		older = append(older, d.sessionRef(v, v.Session))
		entry, err := d.sessionNamed(ctx, v, v.Session)
		if err != nil {
			return older, err
		}
		if entry.Record != nil && ledger.BrowserTag(entry) != own {
			others, err := d.givenUnder(ctx, ledger.BrowserTag(entry))
			if err != nil {
				return older, err
			}
			older = append(older, others...)
		}
	}
	given, err := d.Ledger.Find(ctx, own)
	if err != nil || len(given) == 0 {
		return older, err
	}
	sources, err := d.Ledger.Find(ctx, ledger.SourcesTag(own)) // only now: a session is stored after its source
	if err != nil || slices.ContainsFunc(sources, func(ref cache.Ref) bool { return ref != attempt }) {
		return older, err
	}
	return append(older, given...), nil
}

// givenUnder finds the sessions of a browser, and their sources.
func (d *Desk) givenUnder(ctx context.Context, browser cache.Tag) ([]cache.Ref, error) {
	sources, err := d.Ledger.Find(ctx, ledger.SourcesTag(browser))
	if err != nil {
		return nil, err
	}
	sessions, err := d.Ledger.Find(ctx, browser)
	return append(sources, sessions...), err
}

// sessionNamed finds the session of an id. The entry has no record if there is none.
func (d *Desk) sessionNamed(ctx context.Context, v *Visitor, id string) (ledger.Entry[ledger.Session], error) {
	entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.SessionKey(v.Realm, id))
	if errors.Is(err, ledger.ErrNotFound) {
		err = nil
	}
	return entry, err
}
