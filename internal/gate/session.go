package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/phone"
)

// grantTTL is how long after a success its browser may come for the session
// once more.
const grantTTL = 60 * time.Second

// maxRegrants is how many parallel tabs may lose their session to one another.
const maxRegrants = 20

// mint turns a proven attempt into a session with a fresh id and sets its
// cookie. The session is stored first: a crash in between leaves one that
// nobody knows. Who ends the attempt first has won; cache.ErrConflict means
// that it was another, that the attempt was burned, or that its browser has
// signed out.
func (g *Gate) mint(w http.ResponseWriter, r *http.Request, v *Visit, o *origin, browser string, key cache.Key, rec *cache.Record) error {
	a := rec.Value.(*ledger.Attempt)
	ctx := context.WithoutCancel(r.Context()) // done whole or not at all
	session := ledger.NewSession(ledger.Session{
		Account: a.Account, Number: a.Number, Region: a.Region, Operator: a.Operator,
		VerifiedAt: a.ProvenAt, Method: a.Method,
	})
	older, err := g.olderSessions(ctx, v, o, browser, key.Ref())
	if err != nil {
		g.log.Warn("browser's earlier sessions not found", zap.Error(err))
	}
	id, ref, err := g.putSession(ctx, o, browser, session)
	if err != nil {
		return err
	}
	if _, err := g.end(ctx, key, rec, verified); err != nil {
		g.discard(ctx, ref)
		return err
	}
	grant := &ledger.Grant{Attempt: key.Secret, Session: session}
	g.settleBrowser(ctx, o, browser, grant, older)
	g.setSessionCookie(w, o, id, session)
	g.log.Info("verified", zap.String("attempt", publicID(key.Secret)), clientField(ctx), zap.String("session", session.PublicID), zap.String("number", phone.Mask(session.Number)),
		zap.String("operator", session.Operator), zap.Duration("took", a.ProvenAt.Sub(a.ReturnedAt)))
	return nil
}

// olderSessions are those that a success of an attempt ends: the one whose
// cookie came along, and all that this browser was given, unless another attempt
// of the last minutes says that they may be those of parallel tabs. Where that one
// was given under another browser cookie, which a sign-out here would not know (on
// another host of a cookie domain, or one that has expired), what was given under
// it, and what could give more, is among them. They are complete without an error.
func (g *Gate) olderSessions(ctx context.Context, v *Visit, o *origin, browser string, attempt cache.Ref) (older []cache.Ref, err error) {
	own := sessionsOf(hashID(browser))
	key, rec, err := g.sessionOf(ctx, v, o)
	if key.Secret != "" {
		older = append(older, key.Ref())
	}
	if err != nil {
		return older, err
	}
	if rec != nil && rec.Tags[browserTag] != own {
		for _, tag := range []cache.Tag{sourcesOf(rec.Tags[browserTag]), rec.Tags[browserTag]} {
			others, err := g.find(ctx, tag)
			if err != nil {
				return older, err
			}
			older = append(older, others...)
		}
	}
	given, err := g.find(ctx, own)
	if err != nil || len(given) == 0 {
		return older, err
	}
	sources, err := g.find(ctx, sourcesOf(own)) // after what came of them
	if err != nil || slices.ContainsFunc(sources, func(ref cache.Ref) bool { return ref != attempt }) {
		return older, err
	}
	return append(older, given...), nil
}

// settleBrowser records a success for its browser: its older sessions end, its
// last refusal is forgotten, and it may fetch the new session once more. The
// visitor is verified even where that fails.
func (g *Gate) settleBrowser(ctx context.Context, o *origin, browser string, grant *ledger.Grant, older []cache.Ref) {
	err := errors.Join(
		g.put(ctx, g.grantKey(o, browser), &cache.Record{
			Value: grant, Expires: time.Now().Add(grantTTL),
			Tags: g.tags(grant.Session.Number, sourcesOf(sessionsOf(hashID(browser)))),
		}),
		g.remove(ctx, g.refusalKey(o, browser).Ref()),
		g.removeAll(ctx, older),
	)
	if err != nil {
		g.log.Warn("browser's earlier state not cleared", zap.Error(err))
	}
}

// discard removes what must not be used.
func (g *Gate) discard(ctx context.Context, refs ...cache.Ref) {
	if err := g.removeAll(ctx, refs); err != nil {
		g.log.Warn("unused session not removed", zap.Error(err))
	}
}

// putSession stores a session of a browser under a new id.
func (g *Gate) putSession(ctx context.Context, o *origin, browser string, session *ledger.Session) (id string, ref cache.Ref, err error) {
	id = newID()
	session.PublicID = publicID(id)
	key := g.sessionKey(o, id)
	err = g.put(ctx, key, &cache.Record{
		Value:   session,
		Expires: session.VerifiedAt.Add(g.sessionTTL),
		Idle:    g.sessionIdle,
		Touched: time.Now(),
		Tags:    g.tags(session.Number, sessionsOf(hashID(browser))),
	})
	return id, key.Ref(), err
}

// regrant gives the session of a recent success once more to the browser that
// earned it, under a new id: a phone dropped the cookie, or the answer got
// lost. It returns the code of a refusal, or done where the answer is the
// session; neither where there is nothing to give.
//
// A browser without the cookie gets it once. One with the cookie of a session
// that a parallel tab has just replaced keeps cookies all right: it gets one
// as often as tabs can race, and what the other tabs hold stays.
func (g *Gate) regrant(w http.ResponseWriter, r *http.Request, v *Visit, o *origin, route Route) (done bool, code Code) {
	browser, ok := v.secretCookie(o.browser)
	if !ok {
		return false, ""
	}
	_, replaced := v.secretCookie(o.session)
	ctx := context.WithoutCancel(r.Context())
	for range maxRegrants {
		grant, rec, err := get[ledger.Grant](ctx, g, g.grantKey(o, browser))
		if errors.Is(err, cache.ErrNotFound) {
			return false, ""
		}
		if err != nil {
			return false, g.failed("session", err)
		}
		if !g.satisfies(r, grant.Session, route, time.Now()) {
			return false, ""
		}
		if grant.Given >= maxRegrants || (grant.Given > 0 && !replaced) {
			return false, CookiesRequired
		}
		err = g.give(ctx, w, o, browser, rec, replaced)
		if errors.Is(err, cache.ErrConflict) {
			continue // another tab was faster
		}
		if errors.Is(err, cache.ErrNotFound) {
			return false, "" // the browser has signed out
		}
		if err != nil {
			return false, g.failed("session", err)
		}
		return true, ""
	}
	return false, Busy
}

// give makes the session that a grant stands for, if the grant is still as rec
// has it, and as long as the attempt that it came of is remembered: a sign-out
// removes that first, and then what it finds of sessions. Where the browser has
// lost the cookie of the one it had, that one ends.
func (g *Gate) give(ctx context.Context, w http.ResponseWriter, o *origin, browser string, rec *cache.Record, keepOther bool) error {
	given := *rec.Value.(*ledger.Grant)
	given.Given++
	var lost []cache.Ref
	if !keepOther {
		var err error
		if lost, err = g.find(ctx, sessionsOf(hashID(browser))); err != nil {
			return err
		}
	}
	session := *given.Session
	id, ref, err := g.putSession(ctx, o, browser, &session)
	if err != nil {
		return err
	}
	_, _, err = get[ledger.Attempt](ctx, g, g.attemptKey(o, given.Attempt))
	if err == nil {
		err = g.replace(ctx, g.grantKey(o, browser), rec, &cache.Record{Value: &given, Expires: rec.Expires, Tags: rec.Tags})
	}
	if err != nil {
		g.discard(ctx, ref)
		return err
	}
	g.discard(ctx, lost...)
	g.setSessionCookie(w, o, id, &session)
	g.log.Info("session given once more", zap.String("session", session.PublicID))
	return nil
}

func (g *Gate) setSessionCookie(w http.ResponseWriter, o *origin, id string, session *ledger.Session) {
	c := o.sessionCookie
	c.Value = id
	c.MaxAge = max(1, int(time.Until(session.VerifiedAt.Add(g.sessionTTL)).Seconds()))
	http.SetCookie(w, &c)
}

// signOut ends all sessions that the browser of r was given, and everything that
// it could be given another one by. Its error means that some may still hold.
func (g *Gate) signOut(w http.ResponseWriter, r *http.Request, v *Visit, o *origin) error {
	ctx := context.WithoutCancel(r.Context())
	var browsers []cache.Tag
	var own []cache.Ref
	browser, known := v.secretCookie(o.browser)
	if known {
		browsers = append(browsers, sessionsOf(hashID(browser)))
		own = append(own, g.grantKey(o, browser).Ref())
	}
	// also of doubled cookies, of which one may be planted: the other is his
	named, err := g.sessionsNamed(ctx, v, o)
	if err != nil {
		return err
	}
	live := 0
	for key, rec := range named {
		own = append(own, key.Ref())
		if rec != nil {
			live++
		}
		if rec != nil && !slices.Contains(browsers, rec.Tags[browserTag]) {
			// of another cookie: on another host of the cookie domain, or before the
			// browser's has expired
			browsers = append(browsers, rec.Tags[browserTag])
		}
	}
	ended, err := g.endSessions(ctx, browsers, own)
	if err != nil {
		return err
	}
	if known {
		g.setBrowserCookie(w, o, newID())
	}
	ended = max(ended, live) // which the cache may have lost from its lists
	signedOut := []zap.Field{zap.Int("sessions", ended)}
	if id, ok := v.secretCookie(o.session); ok && named[g.sessionKey(o, id)] != nil { // never clear the cookie of a request that is not verified
		c := o.sessionCookie
		c.MaxAge = -1
		http.SetCookie(w, &c)
		signedOut = append(signedOut, zap.String("session", publicID(id)))
	}
	if ended > 0 {
		g.log.Info("signed out", signedOut...)
	}
	return nil
}

// maxNamed is how many sessions a request may name for them to end: more than
// browsers keep cookies of one domain (Chrome 180), all of which a sibling may plant.
const maxNamed = 256

// sessionsNamed finds the sessions that the request's cookies name; there is no
// record where there is no such session.
func (g *Gate) sessionsNamed(ctx context.Context, v *Visit, o *origin) (map[cache.Key]*cache.Record, error) {
	named := make(map[cache.Key]*cache.Record)
	for _, own := range v.own {
		if own.name != o.session || !isID(own.value) || len(named) == maxNamed {
			continue
		}
		key := g.sessionKey(o, own.value)
		rec, err := g.sessionUnder(ctx, key)
		if err != nil {
			return nil, err
		}
		named[key] = rec
	}
	return named, nil
}

// sessionOf finds the session whose cookie came along: no key where none came, no
// record where there is no such session.
func (g *Gate) sessionOf(ctx context.Context, v *Visit, o *origin) (cache.Key, *cache.Record, error) {
	id, ok := v.secretCookie(o.session)
	if !ok {
		return cache.Key{}, nil, nil
	}
	key := g.sessionKey(o, id)
	rec, err := g.sessionUnder(ctx, key)
	return key, rec, err
}

// sessionUnder returns the record of a session, nil where there is none.
func (g *Gate) sessionUnder(ctx context.Context, key cache.Key) (*cache.Record, error) {
	_, rec, err := get[ledger.Session](ctx, g, key)
	if errors.Is(err, cache.ErrNotFound) {
		return nil, nil
	}
	return rec, err
}

// endSessions ends all sessions of browsers and tells how many there were. The
// attempts that they came of, or may come of, are removed first: who makes a
// session stores it, and then holds it good if its attempt is still there. So
// each is found here, or given to nobody. What the visitor's own cookies name ends
// whether the cache still lists it or not, and last: where one of the others cannot
// be ended, it is there to lead to them at another try.
func (g *Gate) endSessions(ctx context.Context, browsers []cache.Tag, own []cache.Ref) (ended int, err error) {
	var sessions []cache.Ref
	for _, browser := range browsers {
		sources, err := g.find(ctx, sourcesOf(browser))
		if err != nil {
			return 0, err
		}
		if err := g.removeAll(ctx, sources); err != nil {
			return 0, err
		}
		found, err := g.find(ctx, browser)
		if err != nil {
			return 0, err
		}
		sessions = append(sessions, found...)
	}
	ended = len(sessions)
	others := slices.DeleteFunc(sessions, func(ref cache.Ref) bool { return slices.Contains(own, ref) })
	if err := g.removeAll(ctx, others); err != nil {
		return ended, err
	}
	return ended, g.removeAll(ctx, own)
}

func (g *Gate) removeAll(ctx context.Context, refs []cache.Ref) error {
	var errs []error
	for _, ref := range refs {
		errs = append(errs, g.remove(ctx, ref))
	}
	return errors.Join(errs...)
}

// publicID names a session in logs; the session cannot be told from it.
func publicID(id string) string {
	sum := sha256.Sum256([]byte("public\x00" + id))
	return hex.EncodeToString(sum[:6])
}

func (g *Gate) sessionKey(o *origin, id string) cache.Key {
	return cache.Key{Kind: cache.KindSession, Realm: o.realm, Secret: id}
}

func (g *Gate) grantKey(o *origin, browser string) cache.Key {
	return g.browserKey(cache.KindGrant, o, browser)
}

func (g *Gate) refusalKey(o *origin, browser string) cache.Key {
	return g.browserKey(cache.KindRefusal, o, browser)
}

// browserKey is the key of what is kept for a browser: it belongs to one
// verifier account of the realm.
func (g *Gate) browserKey(kind cache.Kind, o *origin, secret string) cache.Key {
	return cache.Key{Kind: kind, Realm: o.realm + " " + g.account, Secret: secret}
}
