package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
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
// that it was another, or that the attempt was burned.
func (g *Gate) mint(w http.ResponseWriter, r *http.Request, v *Visit, o *origin, browser string, key cache.Key, rec *cache.Record) error {
	a := rec.Value.(*cache.Attempt)
	ctx := context.WithoutCancel(r.Context()) // done whole or not at all
	session := cache.NewSession(cache.Session{
		Account: a.Account, Number: a.Number, Region: a.Region, Operator: a.Operator,
		VerifiedAt: a.ProvenAt,
	})
	id, ref, err := g.putSession(ctx, o, session)
	if err != nil {
		return err
	}
	if _, err := g.end(ctx, key, rec, verified); err != nil {
		if err := g.remove(ctx, ref); err != nil {
			g.log.Warn("unused session not removed", zap.Error(err))
		}
		return err
	}
	g.settleBrowser(ctx, v, o, browser, session, ref)
	g.setSessionCookie(w, o, id, session)
	g.log.Info("verified", zap.String("attempt", publicID(key.Secret)), clientField(ctx), zap.String("session", session.PublicID), zap.String("number", phone.Mask(session.Number)),
		zap.String("operator", session.Operator), zap.Duration("took", a.ProvenAt.Sub(a.ReturnedAt)))
	return nil
}

// settleBrowser records a success for its browser: the session it had before
// ends, its last refusal is forgotten, and it may fetch the new session once
// more. The visitor is verified even where that fails.
func (g *Gate) settleBrowser(ctx context.Context, v *Visit, o *origin, browser string, session *cache.Session, ref cache.Ref) {
	grant := &cache.Grant{Session: session, Refs: []cache.Ref{ref}, Expires: session.VerifiedAt.Add(g.sessionTTL)}
	errs := []error{
		g.put(ctx, g.grantKey(o, browser), &cache.Record{
			Value: grant, Expires: time.Now().Add(grantTTL), Tag: g.index.number(session.Number),
		}),
		g.remove(ctx, g.refusalKey(o, browser).Ref()),
	}
	if old, ok := v.secretCookie(o.session); ok {
		errs = append(errs, g.remove(ctx, g.sessionKey(o, old).Ref()))
	}
	if err := errors.Join(errs...); err != nil {
		g.log.Warn("browser's earlier state not cleared", zap.Error(err))
	}
}

// putSession stores a session under a new id.
func (g *Gate) putSession(ctx context.Context, o *origin, session *cache.Session) (id string, ref cache.Ref, err error) {
	id = newID()
	session.PublicID = publicID(id)
	key := g.sessionKey(o, id)
	err = g.put(ctx, key, &cache.Record{
		Value:   session,
		Expires: session.VerifiedAt.Add(g.sessionTTL),
		Idle:    g.sessionIdle,
		Touched: time.Now(),
		Tag:     g.index.number(session.Number),
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
	key := g.grantKey(o, browser)
	for range maxRegrants {
		grant, rec, err := get[cache.Grant](ctx, g, key)
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
		err = g.give(ctx, w, o, key, grant, rec, replaced)
		if errors.Is(err, cache.ErrConflict) {
			continue // another tab was faster
		}
		if err != nil {
			return false, g.failed("session", err)
		}
		return true, ""
	}
	return false, Busy
}

// give makes the session that a grant stands for, if the grant is still as rec
// has it.
func (g *Gate) give(ctx context.Context, w http.ResponseWriter, o *origin, key cache.Key, grant *cache.Grant, rec *cache.Record, keepOther bool) error {
	session := *grant.Session
	id, ref, err := g.putSession(ctx, o, &session)
	if err != nil {
		return err
	}
	given := &cache.Grant{Session: &session, Refs: []cache.Ref{ref}, Expires: grant.Expires, Given: grant.Given + 1}
	unused := grant.Refs
	if keepOther {
		given.Refs, unused = append(given.Refs, grant.Refs...), nil
	}
	err = g.replace(ctx, key, rec, &cache.Record{Value: given, Expires: rec.Expires, Tag: rec.Tag})
	if err != nil {
		unused = []cache.Ref{ref}
	}
	if err := g.removeAll(ctx, unused); err != nil {
		g.log.Warn("unused session not removed", zap.Error(err))
	}
	if err != nil {
		return err
	}
	g.setSessionCookie(w, o, id, &session)
	g.log.Info("session given once more", zap.String("session", session.PublicID))
	return nil
}

func (g *Gate) setSessionCookie(w http.ResponseWriter, o *origin, id string, session *cache.Session) {
	c := o.sessionCookie
	c.Value = id
	c.MaxAge = max(1, int(time.Until(session.VerifiedAt.Add(g.sessionTTL)).Seconds()))
	http.SetCookie(w, &c)
}

// signOut ends the session of r, and the span in which its browser could fetch
// it once more. Its error means that the session may still hold.
func (g *Gate) signOut(w http.ResponseWriter, r *http.Request, v *Visit, o *origin) error {
	ctx := context.WithoutCancel(r.Context())
	if browser, ok := v.secretCookie(o.browser); ok {
		if err := g.endGrant(ctx, g.grantKey(o, browser)); err != nil {
			return err
		}
		g.setBrowserCookie(w, o, newID()) // attempts in other tabs end with it
	}
	id, ok := v.secretCookie(o.session)
	if !ok {
		return nil
	}
	key := g.sessionKey(o, id)
	session, _, err := get[cache.Session](ctx, g, key)
	if errors.Is(err, cache.ErrNotFound) {
		return nil // never clear the cookie of a request that is not verified
	}
	if err != nil {
		return err
	}
	if err := g.remove(ctx, key.Ref()); err != nil {
		return err
	}
	c := o.sessionCookie
	c.MaxAge = -1
	http.SetCookie(w, &c)
	g.log.Info("signed out", zap.String("session", session.PublicID))
	return nil
}

// endGrant ends a grant, and the sessions that were given by it, even where the
// browser never got their cookies.
func (g *Gate) endGrant(ctx context.Context, key cache.Key) error {
	grant, _, err := get[cache.Grant](ctx, g, key)
	if errors.Is(err, cache.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := g.remove(ctx, key.Ref()); err != nil {
		return err
	}
	return g.removeAll(ctx, grant.Refs)
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
