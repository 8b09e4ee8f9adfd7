package gate

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// tell runs a story in a model of its own and reports what went wrong.
func tell(t *testing.T, story func(*model)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		story(m)
		m.end()
		for _, wrong := range m.wrong {
			t.Error(wrong)
		}
	})
}

// twoTabs gives a browser a session in each of two tabs. Each tab comes back without the
// cookie of the other.
func (m *model) twoTabs(browser int) (first, second string) {
	m.do(step{Do: "begin", Browser: browser, Answer: "verified"})
	m.do(step{Do: "begin", Browser: browser, Number: 1, Answer: "verified"})
	m.do(step{Do: "return", Browser: browser, Attempt: 1})
	m.do(step{Do: "forget session", Browser: browser})
	m.do(step{Do: "return", Browser: browser})
	given := m.given[browser]
	if len(given) < 2 {
		m.fail("%d sessions were given", len(given))
		return "", ""
	}
	return given[len(given)-2], given[len(given)-1]
}

// Each tab of a browser was given a session. The browser signs out after the minute in
// which it could be given another one.
func TestSignOutLongAfterTheVerificationEndsTheSessionsOfAllTabs(t *testing.T) {
	for name, forget := range map[string]string{"with the session": "visit", "without it": "forget session"} {
		t.Run(name, func(t *testing.T) {
			tell(t, func(m *model) {
				m.twoTabs(0)
				pause(context.Background(), 10*time.Minute)
				m.do(step{Do: forget})
				m.do(step{Do: "sign out"})
			})
		})
	}
}

// A browser whose browser cookie has expired gets a new one. Its earlier sessions are
// found through the session whose cookie it still has.
func TestSignOutEndsWhatWasGivenUnderABrowserCookieThatHasExpired(t *testing.T) {
	tell(t, func(m *model) {
		m.twoTabs(0)
		delete(m.browsers[0], browserName)
		m.do(step{Do: "form"})
		m.do(step{Do: "sign out"})
	})
}

// A success under a new browser cookie replaces the session. It must not leave others
// behind that nothing leads to any more.
func TestSuccessUnderANewBrowserCookieEndsWhatWasGivenUnderTheOldOne(t *testing.T) {
	tell(t, func(m *model) {
		first, second := m.twoTabs(0)
		delete(m.browsers[0], browserName)
		m.do(step{Do: "begin", Answer: "verified"})
		m.do(step{Do: "return"})
		m.sessions[first].ended, m.sessions[second].ended = true, true
		m.bring(0, first)
		m.bring(0, second)
	})
}

func TestSuccessEndsEarlierSessionsButNotThoseOfParallelTabs(t *testing.T) {
	tell(t, func(m *model) {
		first, _ := m.twoTabs(0)
		if !m.bring(0, first) {
			m.fail("the session of a parallel tab has ended")
		}
		pause(context.Background(), 30*time.Minute) // longer than attempts are remembered
		m.do(step{Do: "forget session"})
		m.do(step{Do: "begin", Answer: "verified"})
		m.do(step{Do: "return"})
		if m.bring(0, first) {
			m.fail("a session of half an hour ago has outlived a new success")
		}
	})
}

// The tabs of a browser do anything while it signs out, and each call of the cache takes
// some time.
func TestSignOutThatRacesACallbackARegrantAndATouchLeavesNoSession(t *testing.T) {
	for order := range uint64(400) {
		tell(t, func(m *model) {
			if order%2 == 0 {
				m.twoTabs(0)
				pause(context.Background(), time.Minute/2) // a use is noted once more
			}
			m.do(step{Do: "begin", Number: 2, Answer: "verified"})
			m.do(step{Do: "sign out amid", Order: order})
		})
		if t.Failed() {
			t.Fatalf("in order %d", order)
		}
	}
}

// unlisted is a cache whose Find finds nothing, or fails.
type unlisted struct {
	cache.Cache
	err error // nil: it finds nothing
}

func (u unlisted) Find(context.Context, cache.Tag) ([]cache.Ref, error) { return nil, u.err }

func (m *model) answerFindWith(err error) {
	m.instead = unlisted{m.store, err}
}

// A server that evicts, or a lost shard of a Cluster, may lose only the lists by which
// sessions are found. What the visitor's own cookies name must end all the same.
func TestSignOutEndsItsOwnSessionAndGrantWhereTheCacheHasLostItsLists(t *testing.T) {
	tell(t, func(m *model) {
		m.do(step{Do: "begin", Answer: "verified"})
		m.do(step{Do: "return"})
		if len(m.given[0]) != 1 {
			m.fail("%d sessions were given", len(m.given[0]))
		}
		m.answerFindWith(nil)
		m.do(step{Do: "sign out"})
	})
}

func TestSuccessEndsTheSessionOfItsCookieWhereTheListsCannotBeRead(t *testing.T) {
	tell(t, func(m *model) {
		for range 2 {
			m.do(step{Do: "begin", Answer: "verified"})
			m.do(step{Do: "return"})
			m.answerFindWith(errModelDown)
		}
		if given := m.given[0]; len(given) != 2 || m.bring(0, given[0]) {
			m.fail("of %d sessions the first has outlived the second", len(given))
		}
	})
}

// A start that is sent while its browser signs out may come after the sign-out has
// looked for attempts: then the browser has another cookie when it comes back.
func TestStartThatCameAfterTheSignOutWithTheOldBrowserCookieVerifiesNobody(t *testing.T) {
	tell(t, func(m *model) {
		m.do(step{Do: "form"})
		old := m.browsers[0][browserName]
		m.do(step{Do: "sign out"})
		m.browsers[1][browserName] = old
		m.do(step{Do: "start", Browser: 1})
		m.do(step{Do: "answer", Answer: "verified"})
		m.do(step{Do: "callback"})
		if m.browsers[0][browserName] == old || !m.attempts[0].burned || len(m.given[0]) > 0 {
			m.fail("the browser goes on with its old cookie")
		}
	})
}

// A session that no browser has must not stay: it takes room, and it is valid.
func TestParallelWaitPagesAndALostCookieLeaveOneSessionInTheCache(t *testing.T) {
	for order := range uint64(20) {
		tell(t, func(m *model) {
			atOnce := func(target string) {
				var sent sync.WaitGroup
				for range 5 {
					sent.Go(func() { m.request(0, "GET", target, nil) })
				}
				sent.Wait()
			}
			m.do(step{Do: "begin", Answer: "pending"})
			m.do(step{Do: "callback"})
			m.do(step{Do: "answer", Answer: "verified"})
			m.delays.by(order)
			for range 3 {
				pause(context.Background(), 2*time.Second)
				atOnce("/.number-verify/wait/" + ledger.AttemptID(m.attempts[0].nonce))
			}
			if n := m.store.Held(); n != 1 {
				m.fail("after parallel requests for the wait page the cache holds %d sessions", n)
			}
			atOnce("/.number-verify/") // without a session cookie, since no answer was kept
			m.delays.end()
			if n := m.store.Held(); n != 1 {
				m.fail("after a lost cookie was made good the cache holds %d sessions", n)
			}
		})
		if t.Failed() {
			t.Fatalf("in order %d", order)
		}
	}
}
