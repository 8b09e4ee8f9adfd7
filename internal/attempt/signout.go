package attempt

import (
	"context"
	"slices"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// maxNamed is how many sessions a request may name for them to end: more than
// browsers keep cookies of one domain (Chrome 180), all of which a sibling may plant.
const maxNamed = 256

// SignOut ends all sessions that the visitor's browser was given, and everything
// that it could be given another one by. Named are the values of all session
// cookies that came along, doubled ones too, of which one may be planted: the other
// is his. It tells whether the visitor's own cookie named a session. Its error means
// that some may still hold.
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
		if slices.Contains(own, d.sessionRef(v, id)) {
			continue
		}
		entry, err := d.sessionNamed(ctx, v, id)
		if err != nil {
			return false, err
		}
		own = append(own, d.sessionRef(v, id))
		if entry.Record == nil {
			continue
		}
		live++
		ownEnded = ownEnded || id == v.Session
		if tag := ledger.BrowserTag(entry); !slices.Contains(browsers, tag) {
			// of another cookie: on another host of the cookie domain, or before the
			// browser's has expired
			browsers = append(browsers, tag)
		}
	}
	ended, err := d.endSessions(ctx, browsers, own)
	if err != nil {
		return false, err
	}
	if ended = max(ended, live); ended > 0 { // live: those that the cache may have lost from its lists
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

// endSessions ends all sessions of browsers and tells how many there were. The
// attempts that they came of, or may come of, are removed first: who makes a
// session stores it, and then holds it good if its attempt is still there. So
// each is found here, or given to nobody. What the visitor's own cookies name ends
// whether the cache still lists it or not, and last: where one of the others cannot
// be ended, it is there to lead to them at another try.
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
