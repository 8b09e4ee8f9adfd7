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
	if v.Realm == "" {
		return false, ledger.ErrUnknownRealm
	}
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
	ended, err := d.Ledger.EndBrowsers(ctx, browsers, own)
	if err != nil {
		return false, err
	}
	if ended = max(ended, live); ended > 0 { // the cache's lists may lack some of the live ones
		d.Journal.SignedOut(ctx, ended, d.publicName(v, ownEnded))
	}
	return ownEnded, nil
}

func (d *Desk) publicName(v *Visitor, ownEnded bool) string {
	if !ownEnded {
		return ""
	}
	return d.Ledger.SessionKey(v.Realm, v.Session).PublicID()
}
