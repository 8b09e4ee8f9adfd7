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
	// MaxAge is how old it may be; 0: any age.
	MaxAge time.Duration
	// SessionTTL is how long it holds, SessionIdle how long without a request;
	// 0: for ever.
	SessionTTL, SessionIdle time.Duration
}

// keeping is how sessions are kept, so that they serve all routes.
type keeping struct {
	// ttl and idle are the longest of all routes.
	ttl, idle time.Duration
	// touchEvery is how often a session's use is noted; 0: never.
	touchEvery time.Duration
	routes     int
}

// touchesPerIdle is how finely the idle time is measured.
const touchesPerIdle = 60

// Serve makes the desk keep sessions as long as a route may want them. Call it for
// each route before the first request.
func (d *Desk) Serve(route Terms) {
	k := &d.keep
	k.ttl = max(k.ttl, route.SessionTTL)
	if k.routes == 0 || (k.idle > 0 && route.SessionIdle > k.idle) || route.SessionIdle == 0 {
		k.idle = route.SessionIdle
	}
	if every := route.SessionIdle / touchesPerIdle; every > 0 && (k.touchEvery == 0 || every < k.touchEvery) {
		k.touchEvery = every
	}
	k.routes++
}

// Lenient are the terms of a visitor who is at no route yet: those of the most
// lenient one.
func (d *Desk) Lenient() Terms { return Terms{SessionTTL: d.keep.ttl, SessionIdle: d.keep.idle} }

// Found is what a look for a visitor's session has found.
type Found struct {
	// Session is the one that lets the visitor pass; nil where none does.
	Session *ledger.Session
	// Unknown says that the visitor came with the cookie of a session that does
	// not exist, or no longer: a parallel tab may just have replaced it.
	Unknown bool
}

// Session looks for a session that lets the visitor pass on these terms, and counts
// as its use. Its error means that the cache failed.
func (d *Desk) Session(ctx context.Context, v *Visitor, terms Terms) (Found, error) {
	entry, found, err := d.find(ctx, v, terms)
	if found.Session != nil && !d.isKeptAsAsked(entry, terms) {
		d.touch(ctx, entry)
	}
	return found, err
}

// Peek is Session without counting as a use.
func (d *Desk) Peek(ctx context.Context, v *Visitor, terms Terms) (Found, error) {
	_, found, err := d.find(ctx, v, terms)
	return found, err
}

func (d *Desk) find(ctx context.Context, v *Visitor, terms Terms) (ledger.Entry[ledger.Session], Found, error) {
	if v.Session == "" {
		return ledger.Entry[ledger.Session]{}, Found{}, nil
	}
	entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.SessionKey(v.Realm, v.Session))
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return entry, Found{Unknown: true}, nil
	case err != nil:
		d.Journal.LookupFailed(err)
		return entry, Found{}, err // fail closed
	case !d.suits(v, entry.Value):
		return entry, Found{}, nil
	case d.isKeptAsAsked(entry, terms):
		return entry, Found{Session: entry.Value}, nil
	}
	now := time.Now()
	if isTooOld(entry.Value, terms, now) || (terms.SessionIdle > 0 && now.Sub(entry.Record.Touched) >= terms.SessionIdle) {
		return entry, Found{}, nil
	}
	return entry, Found{Session: entry.Value}, nil
}

// isKeptAsAsked tells whether the terms ask of time no more than that the record
// lives, which the cache has just checked: the clock is a good part of what a
// request costs.
func (d *Desk) isKeptAsAsked(entry ledger.Entry[ledger.Session], terms Terms) bool {
	return terms.MaxAge == 0 && terms.SessionIdle == 0 && entry.Record.Idle == 0 && d.keep.touchEvery == 0 &&
		!entry.Record.Expires.After(entry.Value.VerifiedAt.Add(terms.SessionTTL))
}

// suits tells whether a verification is of the account, and of a number that is
// wanted here.
func (d *Desk) suits(v *Visitor, s *ledger.Session) bool {
	switch {
	case s.Account != d.Account, !d.accepts(s.Region):
		return false
	case !d.KnowsNumbers:
		return true
	case v.Number == s.Number:
		return v.Number != ""
	default:
		n, code := d.ParseNumber(v.Number)
		return code == "" && n.E164 == s.Number
	}
}

func isTooOld(s *ledger.Session, terms Terms, now time.Time) bool {
	age := now.Sub(s.VerifiedAt)
	return age >= terms.SessionTTL || (terms.MaxAge > 0 && age >= terms.MaxAge)
}

// touch notes that the session was used, often enough for the shortest idle time
// and not at every request.
func (d *Desk) touch(ctx context.Context, entry ledger.Entry[ledger.Session]) {
	every := d.keep.touchEvery
	if idle := entry.Record.Idle; idle > 0 && (every == 0 || idle/touchesPerIdle < every) {
		every = idle / touchesPerIdle
	}
	now := time.Now()
	if every == 0 || now.Sub(entry.Record.Touched) < every {
		return
	}
	if err := ledger.Touch(ctx, d.Ledger, entry, now); err != nil {
		d.Journal.NotDone("session not touched", err)
	}
}

// issue turns a proven attempt into a session with a fresh id. The session is
// stored first: a crash in between leaves one that nobody knows. Who ends the
// attempt first has won; ErrConflict means that it was another, that the attempt
// was burned, or that its browser has signed out.
func (d *Desk) issue(ctx context.Context, v *Visitor, entry ledger.Entry[ledger.Attempt]) (*Issued, error) {
	ctx = context.WithoutCancel(ctx) // done whole or not at all
	a := entry.Value
	older, err := d.olderSessions(ctx, v, entry.Key.Ref())
	if err != nil {
		d.Journal.NotDone("browser's earlier sessions not found", err)
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
	d.settleBrowser(ctx, v, &ledger.Grant{Attempt: entry.Key.Secret, Session: issued.Session}, older)
	d.Journal.Verified(ctx, entry.Key.Secret, a, issued.Session)
	return issued, nil
}

// putSession stores a session of the visitor's browser under a new id.
func (d *Desk) putSession(ctx context.Context, v *Visitor, s *ledger.Session) (*Issued, error) {
	id := ledger.NewID()
	s.PublicID = ledger.PublicID(id)
	life := d.Ledger.SessionLife(s, v.browser(), d.keep.ttl, d.keep.idle)
	err := ledger.Put(ctx, d.Ledger, d.Ledger.SessionKey(v.Realm, id), s, life)
	return &Issued{ID: id, Session: s, Ends: life.Expires}, err
}

func (d *Desk) sessionRef(v *Visitor, id string) cache.Ref {
	return d.Ledger.SessionKey(v.Realm, id).Ref()
}

// Ends is when a session ends at the latest.
func (d *Desk) Ends(s *ledger.Session) time.Time { return s.VerifiedAt.Add(d.keep.ttl) }

// discard removes what must not be used.
func (d *Desk) discard(ctx context.Context, refs ...cache.Ref) {
	if err := d.Ledger.Remove(ctx, refs...); err != nil {
		d.Journal.NotDone("unused session not removed", err)
	}
}

// olderSessions are those that a success of an attempt ends: the one whose
// cookie came along, and all that this browser was given, unless another attempt
// of the last minutes says that they may be those of parallel tabs. Where that one
// was given under another browser cookie, which a sign-out here would not know (on
// another host of a cookie domain, or one that has expired), what was given under
// it, and what could give more, is among them. They are complete without an error.
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
	sources, err := d.Ledger.Find(ctx, ledger.SourcesTag(own)) // after what came of them
	if err != nil || slices.ContainsFunc(sources, func(ref cache.Ref) bool { return ref != attempt }) {
		return older, err
	}
	return append(older, given...), nil
}

// givenUnder finds the sources of sessions of a browser, and the sessions.
func (d *Desk) givenUnder(ctx context.Context, browser cache.Tag) ([]cache.Ref, error) {
	sources, err := d.Ledger.Find(ctx, ledger.SourcesTag(browser))
	if err != nil {
		return nil, err
	}
	sessions, err := d.Ledger.Find(ctx, browser)
	return append(sources, sessions...), err
}

// sessionNamed finds the session of an id; the entry has no record where there is
// none.
func (d *Desk) sessionNamed(ctx context.Context, v *Visitor, id string) (ledger.Entry[ledger.Session], error) {
	entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.SessionKey(v.Realm, id))
	if errors.Is(err, ledger.ErrNotFound) {
		err = nil
	}
	return entry, err
}
