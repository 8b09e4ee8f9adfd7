package adversary

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
)

// story is an attack in which a thief, and somebody who owns a SIM, each have a
// browser at the site.
type story struct {
	vector
	play func(t *testing.T, s *site, owner, thief *stage.Visitor)
}

// The kinds of mistakes that stories imitate.
const (
	forwardedLink = "phishing: the link of an attempt that somebody else has started"
	loginCSRF     = "CVE-2017-1000069 (oauth2_proxy), login CSRF: the end of the attacker's attempt in the victim's browser"
	replay        = "an answer of the provider that is used twice"
	race          = "Anubis #1523, double spending: a check and a use that are two steps"
	mixUp         = "the answer for one attempt taken for another"
	fixation      = "session fixation: an id that the attacker knows becomes the victim's"
	byParameter   = "CVE-2025-24369 (Anubis) and its kind: a callback that believes its parameters"
	earlyResult   = "polling: a result that is asked for before the visitor has come back"
	othersState   = "answers that depend on the session of another browser"
)

var stories = []story{
	{vector{"the callback in another browser", replay}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		callback := owner.Callback("/account/", stage.TypedNumber)
		isTold(thief, callback, "browser_mismatch")
		isTold(owner, callback, "browser_mismatch") // burned for good
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the callback in a browser without cookies", replay}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		callback := owner.Callback("/account/", stage.TypedNumber)
		stranger := s.VisitorAt(t, owner.Origin)
		isTold(stranger, callback, "browser_mismatch")
		isTold(owner, callback, "browser_mismatch")
		s.letsIn(t, nil, owner, stranger)
		s.asked(t, 0)
	}},
	{vector{"the callback again, after its owner's", replay}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		callback := owner.Callback("/account/", stage.TypedNumber)
		owner.ArriveFrom(callback)
		thief.ArriveFrom(callback)
		s.letsIn(t, owner, thief)
		s.asked(t, 1)
	}},
	{vector{"the callback again, by its owner", replay}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		callback := owner.Callback("/account/", stage.TypedNumber)
		owner.ArriveFrom(callback)
		_, first := session(owner)
		for range 5 {
			owner.ArriveFrom(callback)
		}
		if _, again := session(owner); again != first {
			t.Error("a second session")
		}
		s.letsIn(t, owner)
		s.asked(t, 1)
	}},
	{vector{"the callback after the sign-out", replay}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		callback := owner.Callback("/account/", stage.TypedNumber)
		owner.ArriveFrom(callback)
		owner.Post("/.number-verify/sign-out", nil)
		owner.ArriveFrom(callback)
		s.letsIn(t, nil, owner)
		s.asked(t, 1)
	}},
	{vector{"an attempt that waits in another tab, after the sign-out", replay}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		waiting := owner.Open(begin(owner, stage.TypedNumber, "/account/other").Location()).Location()
		verify(owner)
		owner.Post("/.number-verify/sign-out", nil)
		isTold(owner, waiting, "attempt_unknown")
		s.letsIn(t, nil, owner)
	}},
	{vector{"a burned attempt, over and over", replay}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		callback := owner.Callback("/account/", stage.TypedNumber)
		for range 5 {
			isTold(thief, callback, "browser_mismatch")
			isTold(owner, callback, "browser_mismatch")
		}
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"an attempt that the provider calls expired", replay}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		callback := owner.Callback("/account/", "06 39 98 00 13")
		isTold(owner, callback, "attempt_expired")
		thief.ArriveFrom(callback)
		owner.ArriveFrom(callback)
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 1)
	}},

	{vector{"the thief's link on the owner's phone", forwardedLink}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		link := thief.Link("/account/", stage.TypedNumber)
		callback := owner.Open(link).Location() // the operator recognises the owner's SIM
		burned := owner.ArriveFrom(callback)
		burned.Is(t, http.StatusForbidden, "browser_mismatch")
		if !strings.Contains(burned.Body, `href="/.number-verify/`) {
			t.Error("the page offers no fresh start")
		}
		isTold(thief, callback, "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the thief's link on a phone that was never at the site", forwardedLink}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		phone := s.VisitorAt(t, owner.Origin)
		isTold(phone, phone.Open(thief.Link("/account/", stage.TypedNumber)).Location(), "browser_mismatch")
		thief.ArriveFrom("/.number-verify/")
		s.letsIn(t, nil, phone, thief)
		s.asked(t, 0)
	}},
	{vector{"the thief's link in an image of a page", forwardedLink}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		callback := owner.Open(thief.Link("/account/", stage.TypedNumber)).Location()
		owner.Open(callback, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image", "Sec-Fetch-Site: cross-site", "Accept: image/*")
		isTold(thief, callback, "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the owner's link, opened by the thief", forwardedLink}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		callback := thief.Open(owner.Link("/account/", stage.TypedNumber)).Location()
		isTold(thief, callback, "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"a result that is pending, taken by the thief", forwardedLink}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		callback := owner.Callback("/account/", "06 39 98 00 09")
		wait := owner.Open(callback).Location()
		if !strings.Contains(wait, "/wait/") {
			t.Fatalf("not pending: %s", wait)
		}
		isTold(thief, wait, "browser_mismatch")
		isTold(thief, callback, "browser_mismatch") // burns it
		isTold(owner, wait, "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
	}},
	{vector{"the thief's callback in the owner's browser", loginCSRF}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		isTold(owner, thief.Callback("/account/", stage.TypedNumber), "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the thief's callback in the browser of a verified owner", loginCSRF}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		verify(owner)
		_, before := session(owner)
		owner.ArriveFrom(thief.Callback("/account/", "06 39 98 00 00"))
		if _, after := session(owner); after != before {
			t.Error("the owner's session is replaced")
		}
		s.letsIn(t, owner, thief)
		s.asked(t, 1)
	}},
	{vector{"the thief's wait page in the owner's browser", loginCSRF}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		wait := thief.Open(thief.Callback("/account/", "06 39 98 00 09")).Location()
		isTold(owner, wait, "browser_mismatch")
		s.letsIn(t, nil, owner)
	}},

	{vector{"two attempts of one browser, their tokens swapped", mixUp}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		good, bad := owner.Callback("/account/", stage.TypedNumber), owner.Callback("/account/", "06 39 98 00 02")
		owner.ArriveFrom(withParameter(bad, "token", stage.Parameter(good, "token")))
		s.letsIn(t, nil, owner)
		owner.ArriveFrom(withParameter(good, "token", stage.Parameter(bad, "token")))
		s.letsIn(t, owner)
	}},
	{vector{"attempts of two browsers, their states swapped", mixUp}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		good, bad := owner.Callback("/account/", stage.TypedNumber), thief.Callback("/account/", "06 39 98 00 02")
		isTold(thief, withParameter(bad, "state", stage.Parameter(good, "state")), "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
	}},
	{vector{"attempts of two browsers, their tokens swapped", mixUp}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		good, bad := owner.Callback("/account/", stage.TypedNumber), thief.Callback("/account/", "06 39 98 00 02")
		isTold(thief, withParameter(bad, "token", stage.Parameter(good, "token")), "number_mismatch")
		owner.ArriveFrom(good)
		s.letsIn(t, owner, thief)
	}},
	{vector{"the attempt of one origin at another", mixUp}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		there := s.VisitorAt(t, s.Origin(stage.HTTP11S))
		there.Open("/.number-verify/")
		callback := strings.Replace(owner.Callback("/account/", stage.TypedNumber), owner.Origin, there.Origin, 1)
		isTold(there, callback, "attempt_unknown")
		s.letsIn(t, nil, owner, there)
		s.asked(t, 0)
	}},
	{vector{"a callback that says success of a failure", byParameter}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		isTold(owner, withParameter(owner.Callback("/account/", "06 39 98 00 02"), "status", "success"), "number_mismatch")
		s.letsIn(t, nil, owner)
	}},
	{vector{"a callback that brings a result along", byParameter}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		isTold(owner, owner.Callback("/account/", "06 39 98 00 11")+"&numVerify=true&scope=numVerify&verified=1&number=0639980001", "number_mismatch")
		s.letsIn(t, nil, owner)
	}},
	{vector{"a callback of an attempt that there is not", byParameter}, func(t *testing.T, s *site, _, thief *stage.Visitor) {
		isTold(thief, "/.number-verify/callback?status=success&token=TKAAAA&state="+strings.Repeat("A", 43), "attempt_unknown")
		s.letsIn(t, nil, thief)
		s.asked(t, 0)
	}},
	{vector{"the state twice", byParameter}, tampered(func(state string) string { return "state=" + state + "&state=" + state })},
	{vector{"the state and another", byParameter}, tampered(func(state string) string { return "state=" + state + "&state=A" })},
	{vector{"the state as a list", byParameter}, tampered(func(state string) string { return "state[]=" + state })},
	{vector{"the state in upper case letters", byParameter}, tampered(func(state string) string { return "STATE=" + state })},
	{vector{"the state without its end", byParameter}, tampered(func(state string) string { return "state=" + state[:42] })},
	{vector{"the state and more", byParameter}, tampered(func(state string) string { return "state=" + state + "A" })},
	{vector{"the state, other spare bits", byParameter}, tampered(func(state string) string { return "state=" + spareBits(state) })},
	{vector{"the state in the other letter case", byParameter}, tampered(func(state string) string { return "state=" + swapCase(state) })},
	{vector{"the state encoded twice", byParameter}, tampered(func(state string) string {
		return "state=" + url.QueryEscape(fmt.Sprintf("%%%02x", state[0])+state[1:])
	})},
	{vector{"a wildcard as the state", byParameter}, tampered(func(string) string { return "state=*" })},
	{vector{"an empty state", "GHSA-phg3-3g28-wq9v (Hatchet): a state that is empty once it was used"}, tampered(func(string) string { return "state=" })},
	{vector{"the state and a NUL", byParameter}, tampered(func(state string) string { return "state=" + state + "%00" })},
	{vector{"the state and a blank", byParameter}, tampered(func(state string) string { return "state=" + state + "%20" })},
	{vector{"the state behind a semicolon", byParameter}, tampered(func(state string) string { return "a=b;state=" + state })},
	{vector{"no state", byParameter}, tampered(func(string) string { return "token=TKAAAA" })},
	{vector{"the callback by HEAD", byParameter}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		callback := owner.Callback("/account/", stage.TypedNumber)
		for _, v := range []*stage.Visitor{owner, thief} {
			v.Do(v.Request(http.MethodHead, callback, nil))
		}
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
		owner.ArriveFrom(callback)
		s.letsIn(t, owner)
	}},
	{vector{"the callback as a post", byParameter}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		callback := owner.Callback("/account/", stage.TypedNumber)
		at, query, _ := strings.Cut(callback, "?")
		form, _ := url.ParseQuery(query)
		for _, to := range []string{at, callback} {
			if a := owner.Post(to, form, "X-HTTP-Method-Override: GET"); a.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("answers %d", a.StatusCode)
			}
		}
		s.letsIn(t, nil, owner)
		s.asked(t, 0)
	}},

	{vector{"fifty callbacks at once, of two browsers", race}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		callback := owner.Callback("/account/", stage.TypedNumber)
		ids := atOnce(50, func(i int) string {
			return []*stage.Visitor{owner, thief}[i%2].Open(callback).Cookie(stage.SessionCookie)
		})
		if len(ids) > 1 {
			t.Errorf("%d sessions", len(ids))
		}
		s.letsIn(t, nil, thief)
		if n := s.Provider.Calls().Result - s.askedBefore; n > 1 {
			t.Errorf("%d results asked for", n)
		}
	}},
	{vector{"one number in two browsers at once", race}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		links := atOnce(2, func(i int) string {
			return begin([]*stage.Visitor{owner, thief}[i], stage.TypedNumber, "/account/").Location()
		})
		if len(links) != 2 {
			t.Errorf("%d links", len(links))
		}
		s.letsIn(t, nil, owner, thief)
	}},

	{vector{"an id that the thief made up", fixation}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		planted := strings.Repeat("A", 43)
		owner.Plant("number-verify", planted)
		verify(owner)
		thief.Plant("number-verify", planted)
		s.letsIn(t, owner, thief)
	}},
	{vector{"the thief's own session", fixation}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		verify(thief)
		_, planted := session(thief)
		owner.Plant("number-verify", planted)
		owner.ArriveFrom(owner.Callback("/account/", stage.TypedNumber))
		if _, id := session(owner); id == planted {
			t.Error("the thief's id became the owner's session")
		}
		s.letsIn(t, nil, thief) // a verification ends the session that was there
	}},
	{vector{"the thief's browser cookie beside the owner's", fixation}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		callback := thief.Callback("/account/", stage.TypedNumber)
		both := "Cookie: number-verify-browser=" + owner.Cookies("/")["number-verify-browser"] + "; number-verify-browser=" + thief.Cookies("/")["number-verify-browser"]
		a := s.Get(strings.TrimPrefix(callback, owner.Origin), both)
		if a.Cookie(stage.SessionCookie) != "" || !strings.Contains(a.Location(), "/problem/browser_mismatch?") {
			t.Errorf("sent to %s", a.Location())
		}
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the token as the session", fixation}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		callback := owner.Callback("/account/", stage.TypedNumber)
		owner.ArriveFrom(callback)
		for _, name := range []string{"token", "state"} {
			thief.Plant("number-verify", stage.Parameter(callback, name))
			s.letsIn(t, owner, thief)
		}
	}},

	{vector{"everything but the callback", earlyResult}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		link := owner.Link("/account/", stage.TypedNumber)
		owner.Open(link)
		for _, path := range []string{"/.number-verify/", "/.number-verify/status", "/.number-verify/callback", "/.number-verify/wait/" + strings.Repeat("A", 22), "/account/"} {
			for range 5 {
				owner.Open(path)
			}
		}
		s.letsIn(t, nil, owner)
		s.asked(t, 0)
	}},
	{vector{"a wait page that is guessed", earlyResult}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		owner.Link("/account/", "06 39 98 00 04")
		for _, id := range []string{strings.Repeat("A", 22), "x", "..", "%2e%2e", strings.Repeat("A", 4000)} {
			thief.ArriveFrom("/.number-verify/wait/" + id)
		}
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the status of a stranger", othersState}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		before := thief.Open("/.number-verify/status").Body
		verify(owner)
		if after := thief.Open("/.number-verify/status").Body; after != before || strings.Contains(after, "true") {
			t.Errorf("the thief reads %s", after)
		}
	}},
	{vector{"a start for a number that somebody has verified", othersState}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		before := thief.Open("/.number-verify/").Body
		verify(owner)
		after := thief.Open("/.number-verify/").Body
		if withoutNonce(before) != withoutNonce(after) {
			t.Error("the form tells the thief of the owner")
		}
	}},
	{vector{"a sign-out by the thief", othersState}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
		verify(owner)
		thief.Post("/.number-verify/sign-out", nil)
		s.letsIn(t, owner, thief)
	}},
	{vector{"a sign-out by another site", othersState}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		verify(owner)
		for _, field := range []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example", "Origin: null"} {
			owner.Post("/.number-verify/sign-out", nil, "Sec-Fetch-Site:", field)
		}
		owner.Open("/.number-verify/sign-out", "Sec-Fetch-Site: cross-site")
		s.letsIn(t, owner)
	}},
}

// tampered plays a callback whose query is made of the state, by its owner: it
// is none, opens nothing, and ends nothing.
func tampered(query func(state string) string) func(*testing.T, *site, *stage.Visitor, *stage.Visitor) {
	return func(t *testing.T, s *site, owner, _ *stage.Visitor) {
		callback := owner.Callback("/account/", stage.TypedNumber)
		isTold(owner, "/.number-verify/callback?"+query(stage.Parameter(callback, "state")), "attempt_unknown")
		s.letsIn(t, nil, owner)
		s.asked(t, 0)
		owner.ArriveFrom(callback)
		s.letsIn(t, owner)
	}
}

func TestAttemptsReplayedRacedSwappedAndPlanted(t *testing.T) {
	s := newSite(t, account)
	attack(t, "Attempts replayed, raced, swapped, planted", stories, func(t *testing.T, story story) {
		s.tell(t, story)
	})
}

// tell plays a story with two visitors who have both seen the form.
func (s *site) tell(t *testing.T, story story) {
	s.askedBefore = s.Provider.Calls().Result
	owner, thief := s.VisitorAt(t, s.Origin(stage.HTTP11)), s.VisitorAt(t, s.Origin(stage.HTTP11))
	owner.Open("/.number-verify/")
	thief.Open("/.number-verify/")
	story.play(t, s, owner, thief)
}

// A fleet of Caddys behind a balancer must not be easier to deceive than one.
func TestAttemptsAcrossNodes(t *testing.T) {
	s := newSite(t, strings.Replace(account, "GATE", "cache redis "+redistest.Start(t).Addr+" {\ntimeout 2s\n}\nGATE", 1))
	node := s.node(t)
	attack(t, "Attempts replayed, raced, swapped, planted", []story{
		{vector{"the callback on the other node, in another browser", replay}, func(t *testing.T, s *site, owner, thief *stage.Visitor) {
			callback := owner.Callback("/account/", stage.TypedNumber)
			isTold(thief.At(node.Addr), callback, "browser_mismatch")
			isTold(owner, callback, "browser_mismatch")
			s.letsIn(t, nil, owner, thief)
			node.letsIn(t, nil, owner.At(node.Addr), thief.At(node.Addr))
			s.asked(t, 0)
		}},
		{vector{"the callback on both nodes at once", race}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
			callback := owner.Callback("/account/", stage.TypedNumber)
			there := owner.At(node.Addr)
			ids := atOnce(50, func(i int) string {
				return []*stage.Visitor{owner, there}[i%2].Open(callback).Cookie(stage.SessionCookie)
			})
			if len(ids) > 1 {
				t.Errorf("%d sessions", len(ids))
			}
			owner.ArriveFrom(callback)
			s.letsIn(t, owner)
			s.asked(t, 1)
		}},
		{vector{"fifty presses on both nodes at once", race}, func(t *testing.T, s *site, owner, _ *stage.Visitor) {
			there, before := owner.At(node.Addr), s.Provider.Calls().Start
			links := atOnce(50, func(i int) string {
				return begin([]*stage.Visitor{owner, there}[i%2], stage.TypedNumber, "/account/").Location()
			})
			if starts := s.Provider.Calls().Start - before; len(links) != 1 || starts != 1 {
				t.Errorf("%d links by %d starts", len(links), starts)
			}
		}},
	}, func(t *testing.T, story story) { s.tell(t, story) })
}

// isTold checks that the visitor ends on a page with that code.
func isTold(v *stage.Visitor, address, code string) {
	v.T.Helper()
	if a := v.ArriveFrom(address); a.Code() != code {
		v.T.Errorf("ends on %q at %s, not on %s", a.Code(), a.Path(), code)
	}
}

// letsIn checks that the gate is open for one visitor, or none, and closed to the
// others.
func (s *site) letsIn(t *testing.T, one *stage.Visitor, others ...*stage.Visitor) {
	t.Helper()
	s.Upstream.Take()
	if one != nil {
		one.Open("/account/")
		if s.verified(t) != 1 {
			t.Error("the gate is closed to who is verified")
		}
	}
	for _, v := range others {
		if v != one {
			v.Open("/account/")
			s.unverified(t)
		}
	}
}

// asked checks how often the provider was asked for a result.
func (s *site) asked(t *testing.T, want int) {
	t.Helper()
	if n := s.Provider.Calls().Result - s.askedBefore; n != want {
		t.Errorf("%d results were asked for, not %d", n, want)
	}
}

// atOnce does something n times at once, and returns the different texts that
// came of it.
func atOnce(n int, do func(i int) string) map[string]bool {
	var all sync.WaitGroup
	texts := make(chan string, n)
	for i := range n {
		all.Go(func() { texts <- do(i) })
	}
	all.Wait()
	close(texts)
	different := make(map[string]bool)
	for text := range texts {
		if text != "" {
			different[text] = true
		}
	}
	return different
}

func withParameter(address, name, value string) string {
	at, query, _ := strings.Cut(address, "?")
	fields, _ := url.ParseQuery(query)
	fields.Set(name, value)
	return at + "?" + fields.Encode()
}

var nonce = regexp.MustCompile(`nonce="[^"]*"`)

// withoutNonce is a page without what differs each time.
func withoutNonce(page string) string {
	return nonce.ReplaceAllString(page, "")
}
