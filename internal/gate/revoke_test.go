package gate

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

// revocations are what an administrator can revoke.
var revocations = []string{"number", "session", "realm", "all"}

// target is what a revocation ends: the sessions, and the attempts by their browser
// cookie and number.
type target struct {
	revoke func(context.Context) error
	ends   func(browser, number string) bool
}

// aim returns what a step revokes; false where there is no such thing.
func (m *model) aim(s step) (target, bool) {
	l := m.gate.desk.Ledger
	everything := func(string, string) bool { return true }
	switch s.Revoke {
	case "number":
		number := fmt.Sprintf("+3363998000%d", s.Number)
		if a := m.attempt(s); a != nil {
			number = a.number
		}
		return target{
			func(ctx context.Context) error { _, err := l.RevokeNumber(ctx, number); return err },
			func(_, of string) bool { return of == number },
		}, true
	case "session":
		given := m.given[s.Browser]
		if len(given) == 0 {
			return target{}, false
		}
		id := given[len(given)-1]
		realm := l.Realm(context.Background(), m.gate.origins[0].realm)
		n := 0 // the session may have ended
		return target{
			func(ctx context.Context) (err error) {
				n, err = l.RevokeSession(ctx, l.SessionKey(realm, id).PublicID())
				return err
			},
			func(browser, _ string) bool { return n > 0 && browser == m.sessions[id].browser },
		}, true
	case "realm":
		return target{func(ctx context.Context) error { return l.RevokeScope(ctx, "www.example.com") }, everything}, true
	default:
		return target{l.RevokeAll, everything}, true
	}
}

func (m *model) revoke(s step) {
	if t, ok := m.aim(s); ok {
		err := t.revoke(context.Background())
		m.revoked(s, t, err)
	}
}

// revokeAmid revokes while the browser of an attempt is doing other things.
func (m *model) revokeAmid(s step) {
	t, ok := m.aim(s)
	if !ok {
		return
	}
	var err error
	s = m.amid(s, func(step) { err = t.revoke(context.Background()) })
	m.revoked(s, t, err)
}

// revoked notes what a revocation has ended, and tries all of it: the sessions, what
// the browsers could still be given, and the callbacks.
func (m *model) revoked(s step, t target, err error) {
	if err != nil {
		m.fail("not revoked: %v", err)
		return
	}
	ended := make(map[*modelSession]bool)
	for _, session := range m.sessions {
		ended[session] = t.ends(session.browser, session.number)
	}
	for _, a := range m.attempts {
		if t.ends(a.browser, a.number) {
			a.revoked = true
			if m.success[a.browser] == a.number {
				delete(m.success, a.browser)
			}
		}
	}
	for session, is := range ended {
		session.ended = session.ended || is
	}
	for browser := range m.browsers {
		own := m.browsers[browser][sessionName]
		for _, id := range slices.Clone(m.given[browser]) {
			m.bring(browser, id)
		}
		delete(m.browsers[browser], sessionName)
		if own != "" {
			m.browsers[browser][sessionName] = own
		}
		m.do(step{Do: "form", Browser: browser})
	}
	if own, ok := m.owner(s); ok {
		m.do(step{Do: "callback", Browser: own, Attempt: s.Attempt})
	}
}

func TestRevocationThatRacesACallbackARegrantAndATouchLeavesNoSession(t *testing.T) {
	for _, what := range revocations {
		t.Run(what, func(t *testing.T) {
			for order := range uint64(200) {
				tell(t, func(m *model) {
					if order%2 == 0 || what == "session" {
						m.twoTabs(0)
					}
					m.do(step{Do: "begin", Number: 2, Answer: "verified"})
					m.do(step{Do: "revoke amid", Revoke: what, Order: order})
				})
				if t.Failed() {
					t.Fatalf("in order %d", order)
				}
			}
		})
	}
}
