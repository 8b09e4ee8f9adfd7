package attempt

import (
	"context"
	"slices"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// maxNamed is how many of the sessions that a request names are ended. It is more than
// the cookies that a browser keeps for one domain (Chrome 180), all of which a sibling
// host may have planted.
const maxNamed = 256

// SignOut ends all sessions that the visitor's browser was given, and everything that
// could give it another one. Named are the values of all session cookies of the
// request. If there are several, some may be planted, so all are ended. OwnEnded tells
// whether the visitor's only session cookie named a session. After an error some
// sessions may still be valid.
func (d *Desk) SignOut(ctx context.Context, v *Visitor, named []string) (ownEnded bool, err error) {
	ctx = context.WithoutCancel(ctx)
	var browsers []cache.Tag
	var own []cache.Ref
	if v.Browser != "" {
		browsers = append(browsers, v.browser().SessionsTag())
		own = append(own, d.Ledger.GrantKey(v.browser()).Ref())
	}
	live := 0
	for _, id := range named[:min(len(named), maxNamed)] {
		ref := d.sessionRef(v, id)
		if slices.Contains(own, ref) {
			continue
		}
		entry, err := d.sessionNamed(ctx, v, id)
		if err != nil {
			return false, err
		}
		own = append(own, ref)
		if entry.Record == nil {
			continue
		}
		live++
		ownEnded = ownEnded || id == v.Session
		if tag := ledger.BrowserTag(entry); !slices.Contains(browsers, tag) {
			// Given under another browser cookie: on another host of the cookie
			// domain, or before that cookie expired.
			browsers = append(browsers, tag)
		}
	}
	ended, err := d.endSessions(ctx, browsers, own)
	if err != nil {
		return false, err
	}
	if ended = max(ended, live); ended > 0 { // the cache's lists may lack some of the live ones
		d.Journal.SignedOut(ended, publicName(v, ownEnded))
	}
	return ownEnded, nil
}

func publicName(v *Visitor, ownEnded bool) string {
	if !ownEnded {
		return ""
	}
	return ledger.PublicID(v.Session)
}

// endSessions ends all sessions of browsers, and returns how many there were.
//
// It removes attempts and grants before it looks for sessions. A new session is stored
// first and given only if its attempt is still there, so that each session is either
// found here or given to nobody.
//
// Own is what the visitor's cookies name. It is removed even if the cache does not list
// it, and last: if another removal fails, it still leads to the rest at the next try.
func (d *Desk) endSessions(ctx context.Context, browsers []cache.Tag, own []cache.Ref) (ended int, err error) {
	var sessions []cache.Ref
	for _, browser := range browsers {
		sources, err := d.Ledger.Find(ctx, ledger.SourcesTag(browser))
		if err != nil {
			return 0, err
		}
		if err := d.Ledger.Remove(ctx, sources...); err != nil {
			return 0, err
		}
		found, err := d.Ledger.Find(ctx, browser)
		if err != nil {
			return 0, err
		}
		sessions = append(sessions, found...)
	}
	others := slices.DeleteFunc(slices.Clone(sessions), func(ref cache.Ref) bool { return slices.Contains(own, ref) })
	if err := d.Ledger.Remove(ctx, others...); err != nil {
		return len(sessions), err
	}
	return len(sessions), d.Ledger.Remove(ctx, own...)
}
