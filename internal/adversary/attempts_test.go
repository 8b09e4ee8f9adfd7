package adversary

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/numberverify/caddy-number-verify/internal/redistest"
)

// story is an attack in which a thief, and somebody who owns a SIM, each have a
// browser at the site.
type story struct {
	vector
	play func(t *testing.T, s *site, owner, thief *visitor)
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
	{vector{"the callback in another browser", replay}, func(t *testing.T, s *site, owner, thief *visitor) {
		callback := owner.callback(typedNumber)
		thief.isTold(callback, "browser_mismatch")
		owner.isTold(callback, "browser_mismatch") // burned for good
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the callback in a browser without cookies", replay}, func(t *testing.T, s *site, owner, _ *visitor) {
		callback := owner.callback(typedNumber)
		stranger := s.visitor(t, owner.origin)
		stranger.isTold(callback, "browser_mismatch")
		owner.isTold(callback, "browser_mismatch")
		s.letsIn(t, nil, owner, stranger)
		s.asked(t, 0)
	}},
	{vector{"the callback again, after its owner's", replay}, func(t *testing.T, s *site, owner, thief *visitor) {
		callback := owner.callback(typedNumber)
		owner.arrive(callback)
		thief.arrive(callback)
		s.letsIn(t, owner, thief)
		s.asked(t, 1)
	}},
	{vector{"the callback again, by its owner", replay}, func(t *testing.T, s *site, owner, _ *visitor) {
		callback := owner.callback(typedNumber)
		owner.arrive(callback)
		_, first := owner.session()
		for range 5 {
			owner.arrive(callback)
		}
		if _, again := owner.session(); again != first {
			t.Error("a second session")
		}
		s.letsIn(t, owner)
		s.asked(t, 1)
	}},
	{vector{"the callback after the sign-out", replay}, func(t *testing.T, s *site, owner, _ *visitor) {
		callback := owner.callback(typedNumber)
		owner.arrive(callback)
		owner.post("/.number-verify/sign-out", nil)
		owner.arrive(callback)
		s.letsIn(t, nil, owner)
		s.asked(t, 1)
	}},
	{vector{"an attempt that waits in another tab, after the sign-out", replay}, func(t *testing.T, s *site, owner, _ *visitor) {
		waiting := owner.get(owner.start(typedNumber, "/account/other").location()).location()
		owner.verify()
		owner.post("/.number-verify/sign-out", nil)
		owner.isTold(waiting, "attempt_unknown")
		s.letsIn(t, nil, owner)
	}},
	{vector{"a burned attempt, over and over", replay}, func(t *testing.T, s *site, owner, thief *visitor) {
		callback := owner.callback(typedNumber)
		for range 5 {
			thief.isTold(callback, "browser_mismatch")
			owner.isTold(callback, "browser_mismatch")
		}
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"an attempt that the provider calls expired", replay}, func(t *testing.T, s *site, owner, thief *visitor) {
		callback := owner.callback("06 39 98 00 13")
		owner.isTold(callback, "attempt_expired")
		thief.arrive(callback)
		owner.arrive(callback)
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 1)
	}},

	{vector{"the thief's link on the owner's phone", forwardedLink}, func(t *testing.T, s *site, owner, thief *visitor) {
		link := thief.link(typedNumber)
		callback := owner.get(link).location() // the operator recognises the owner's SIM
		owner.isTold(callback, "browser_mismatch")
		thief.isTold(callback, "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the thief's link on a phone that was never at the site", forwardedLink}, func(t *testing.T, s *site, owner, thief *visitor) {
		phone := s.visitor(t, owner.origin)
		phone.isTold(phone.get(thief.link(typedNumber)).location(), "browser_mismatch")
		thief.arrive("/.number-verify/")
		s.letsIn(t, nil, phone, thief)
		s.asked(t, 0)
	}},
	{vector{"the thief's link in an image of a page", forwardedLink}, func(t *testing.T, s *site, owner, thief *visitor) {
		callback := owner.get(thief.link(typedNumber)).location()
		owner.get(callback, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image", "Sec-Fetch-Site: cross-site", "Accept: image/*")
		thief.isTold(callback, "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the owner's link, opened by the thief", forwardedLink}, func(t *testing.T, s *site, owner, thief *visitor) {
		callback := thief.get(owner.link(typedNumber)).location()
		thief.isTold(callback, "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"a result that is pending, taken by the thief", forwardedLink}, func(t *testing.T, s *site, owner, thief *visitor) {
		callback := owner.callback("06 39 98 00 09")
		wait := owner.get(callback).location()
		if !strings.Contains(wait, "/wait/") {
			t.Fatalf("not pending: %s", wait)
		}
		thief.isTold(wait, "browser_mismatch")
		thief.isTold(callback, "browser_mismatch") // burns it
		owner.isTold(wait, "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
	}},
	{vector{"the thief's callback in the owner's browser", loginCSRF}, func(t *testing.T, s *site, owner, thief *visitor) {
		owner.isTold(thief.callback(typedNumber), "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the thief's callback in the browser of a verified owner", loginCSRF}, func(t *testing.T, s *site, owner, thief *visitor) {
		owner.verify()
		_, before := owner.session()
		owner.arrive(thief.callback("06 39 98 00 00"))
		if _, after := owner.session(); after != before {
			t.Error("the owner's session is replaced")
		}
		s.letsIn(t, owner, thief)
		s.asked(t, 1)
	}},
	{vector{"the thief's wait page in the owner's browser", loginCSRF}, func(t *testing.T, s *site, owner, thief *visitor) {
		wait := thief.get(thief.callback("06 39 98 00 09")).location()
		owner.isTold(wait, "browser_mismatch")
		s.letsIn(t, nil, owner)
	}},

	{vector{"two attempts of one browser, their tokens swapped", mixUp}, func(t *testing.T, s *site, owner, _ *visitor) {
		good, bad := owner.callback(typedNumber), owner.callback("06 39 98 00 02")
		owner.arrive(withParameter(bad, "token", parameter(good, "token")))
		s.letsIn(t, nil, owner)
		owner.arrive(withParameter(good, "token", parameter(bad, "token")))
		s.letsIn(t, owner)
	}},
	{vector{"attempts of two browsers, their states swapped", mixUp}, func(t *testing.T, s *site, owner, thief *visitor) {
		good, bad := owner.callback(typedNumber), thief.callback("06 39 98 00 02")
		thief.isTold(withParameter(bad, "state", parameter(good, "state")), "browser_mismatch")
		s.letsIn(t, nil, owner, thief)
	}},
	{vector{"attempts of two browsers, their tokens swapped", mixUp}, func(t *testing.T, s *site, owner, thief *visitor) {
		good, bad := owner.callback(typedNumber), thief.callback("06 39 98 00 02")
		thief.isTold(withParameter(bad, "token", parameter(good, "token")), "number_mismatch")
		owner.arrive(good)
		s.letsIn(t, owner, thief)
	}},
	{vector{"the attempt of one origin at another", mixUp}, func(t *testing.T, s *site, owner, _ *visitor) {
		there := s.visitor(t, s.origin(http11S))
		there.get("/.number-verify/")
		callback := strings.Replace(owner.callback(typedNumber), owner.origin, there.origin, 1)
		there.isTold(callback, "attempt_unknown")
		s.letsIn(t, nil, owner, there)
		s.asked(t, 0)
	}},
	{vector{"a callback that says success of a failure", byParameter}, func(t *testing.T, s *site, owner, _ *visitor) {
		owner.isTold(withParameter(owner.callback("06 39 98 00 02"), "status", "success"), "number_mismatch")
		s.letsIn(t, nil, owner)
	}},
	{vector{"a callback that brings a result along", byParameter}, func(t *testing.T, s *site, owner, _ *visitor) {
		owner.isTold(owner.callback("06 39 98 00 11")+"&numVerify=true&scope=numVerify&verified=1&number=0639980001", "number_mismatch")
		s.letsIn(t, nil, owner)
	}},
	{vector{"a callback of an attempt that there is not", byParameter}, func(t *testing.T, s *site, _, thief *visitor) {
		thief.isTold("/.number-verify/callback?status=success&token=TKAAAA&state="+strings.Repeat("A", 43), "attempt_unknown")
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
	{vector{"the callback by HEAD", byParameter}, func(t *testing.T, s *site, owner, thief *visitor) {
		callback := owner.callback(typedNumber)
		for _, v := range []*visitor{owner, thief} {
			v.do(v.request(http.MethodHead, callback, nil))
		}
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
		owner.arrive(callback)
		s.letsIn(t, owner)
	}},
	{vector{"the callback as a post", byParameter}, func(t *testing.T, s *site, owner, _ *visitor) {
		callback := owner.callback(typedNumber)
		at, query, _ := strings.Cut(callback, "?")
		form, _ := url.ParseQuery(query)
		for _, to := range []string{at, callback} {
			if a := owner.post(to, form, "X-HTTP-Method-Override: GET"); a.status != http.StatusMethodNotAllowed {
				t.Errorf("answers %d", a.status)
			}
		}
		s.letsIn(t, nil, owner)
		s.asked(t, 0)
	}},

	{vector{"fifty callbacks at once", race}, func(t *testing.T, s *site, owner, _ *visitor) {
		callback := owner.callback(typedNumber)
		ids := atOnce(50, func(int) string { return sessionOf(owner.get(callback)) })
		if len(ids) > 1 {
			t.Errorf("%d sessions", len(ids))
		}
		owner.arrive(callback)
		s.letsIn(t, owner)
		s.asked(t, 1)
	}},
	{vector{"fifty callbacks at once, of two browsers", race}, func(t *testing.T, s *site, owner, thief *visitor) {
		callback := owner.callback(typedNumber)
		ids := atOnce(50, func(i int) string { return sessionOf([]*visitor{owner, thief}[i%2].get(callback)) })
		if len(ids) > 1 {
			t.Errorf("%d sessions", len(ids))
		}
		s.letsIn(t, nil, thief)
		if n := s.provider.Calls().Result - s.askedBefore; n > 1 {
			t.Errorf("%d results asked for", n)
		}
	}},
	{vector{"fifty presses at once", race}, func(t *testing.T, s *site, owner, _ *visitor) {
		before := s.provider.Calls().Start
		links := atOnce(50, func(int) string { return owner.start(typedNumber, "/account/").location() })
		if starts := s.provider.Calls().Start - before; len(links) != 1 || starts != 1 {
			t.Errorf("%d links by %d starts", len(links), starts)
		}
	}},
	{vector{"one number in two browsers at once", race}, func(t *testing.T, s *site, owner, thief *visitor) {
		links := atOnce(2, func(i int) string { return []*visitor{owner, thief}[i].start(typedNumber, "/account/").location() })
		if len(links) != 2 {
			t.Errorf("%d links", len(links))
		}
		s.letsIn(t, nil, owner, thief)
	}},

	{vector{"an id that the thief made up", fixation}, func(t *testing.T, s *site, owner, thief *visitor) {
		planted := strings.Repeat("A", 43)
		owner.plant("number-verify", planted)
		owner.verify()
		thief.plant("number-verify", planted)
		s.letsIn(t, owner, thief)
	}},
	{vector{"the thief's own session", fixation}, func(t *testing.T, s *site, owner, thief *visitor) {
		thief.verify()
		_, planted := thief.session()
		owner.plant("number-verify", planted)
		owner.arrive(owner.callback(typedNumber))
		if _, id := owner.session(); id == planted {
			t.Error("the thief's id became the owner's session")
		}
		s.letsIn(t, nil, thief) // a verification ends the session that was there
	}},
	{vector{"the thief's browser cookie beside the owner's", fixation}, func(t *testing.T, s *site, owner, thief *visitor) {
		callback := thief.callback(typedNumber)
		both := "Cookie: number-verify-browser=" + owner.cookies()["number-verify-browser"] + "; number-verify-browser=" + thief.cookies()["number-verify-browser"]
		a := http11.send(s, request{method: "GET", path: strings.TrimPrefix(callback, owner.origin), fields: []string{both}})
		if sessionOf(a) != "" || !strings.HasSuffix(a.location(), "browser_mismatch") {
			t.Errorf("sent to %s", a.location())
		}
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the token as the session", fixation}, func(t *testing.T, s *site, owner, thief *visitor) {
		callback := owner.callback(typedNumber)
		owner.arrive(callback)
		for _, name := range []string{"token", "state"} {
			thief.plant("number-verify", parameter(callback, name))
			s.letsIn(t, owner, thief)
		}
	}},

	{vector{"everything but the callback", earlyResult}, func(t *testing.T, s *site, owner, _ *visitor) {
		link := owner.link(typedNumber)
		owner.get(link)
		for _, path := range []string{"/.number-verify/", "/.number-verify/status", "/.number-verify/callback", "/.number-verify/wait/" + strings.Repeat("A", 22), "/account/"} {
			for range 5 {
				owner.get(path)
			}
		}
		s.letsIn(t, nil, owner)
		s.asked(t, 0)
	}},
	{vector{"a wait page that is guessed", earlyResult}, func(t *testing.T, s *site, owner, thief *visitor) {
		owner.link("06 39 98 00 04")
		for _, id := range []string{strings.Repeat("A", 22), "x", "..", "%2e%2e", strings.Repeat("A", 4000)} {
			thief.arrive("/.number-verify/wait/" + id)
		}
		s.letsIn(t, nil, owner, thief)
		s.asked(t, 0)
	}},
	{vector{"the status of a stranger", othersState}, func(t *testing.T, s *site, owner, thief *visitor) {
		before := thief.get("/.number-verify/status").body
		owner.verify()
		if after := thief.get("/.number-verify/status").body; after != before || strings.Contains(after, "true") {
			t.Errorf("the thief reads %s", after)
		}
	}},
	{vector{"a start for a number that somebody has verified", othersState}, func(t *testing.T, s *site, owner, thief *visitor) {
		before := thief.get("/.number-verify/").body
		owner.verify()
		after := thief.get("/.number-verify/").body
		if withoutNonce(before) != withoutNonce(after) {
			t.Error("the form tells the thief of the owner")
		}
	}},
	{vector{"a sign-out by the thief", othersState}, func(t *testing.T, s *site, owner, thief *visitor) {
		owner.verify()
		thief.post("/.number-verify/sign-out", nil)
		s.letsIn(t, owner, thief)
	}},
	{vector{"a sign-out by another site", othersState}, func(t *testing.T, s *site, owner, _ *visitor) {
		owner.verify()
		for _, field := range []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example", "Origin: null"} {
			owner.post("/.number-verify/sign-out", nil, "Sec-Fetch-Site:", field)
		}
		owner.get("/.number-verify/sign-out", "Sec-Fetch-Site: cross-site")
		s.letsIn(t, owner)
	}},
}

// tampered plays a callback whose query is made of the state, by its owner: it
// is none, opens nothing, and ends nothing.
func tampered(query func(state string) string) func(*testing.T, *site, *visitor, *visitor) {
	return func(t *testing.T, s *site, owner, _ *visitor) {
		callback := owner.callback(typedNumber)
		owner.isTold("/.number-verify/callback?"+query(parameter(callback, "state")), "attempt_unknown")
		s.letsIn(t, nil, owner)
		s.asked(t, 0)
		owner.arrive(callback)
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
	s.askedBefore = s.provider.Calls().Result
	owner, thief := s.visitor(t, s.origin(http11)), s.visitor(t, s.origin(http11))
	owner.get("/.number-verify/")
	thief.get("/.number-verify/")
	story.play(t, s, owner, thief)
}

// A fleet of Caddys behind a balancer must not be easier to deceive than one.
func TestAttemptsAcrossNodes(t *testing.T) {
	s := newSite(t, strings.Replace(account, "GATE", "cache redis "+redistest.Start(t).Addr+" {\ntimeout 2s\n}\nGATE", 1))
	node := s.node(t)
	attack(t, "Attempts replayed, raced, swapped, planted", []story{
		{vector{"the callback on the other node, in another browser", replay}, func(t *testing.T, s *site, owner, thief *visitor) {
			callback := owner.callback(typedNumber)
			thief.at(node).isTold(callback, "browser_mismatch")
			owner.isTold(callback, "browser_mismatch")
			s.letsIn(t, nil, owner, thief)
			node.letsIn(t, nil, owner.at(node), thief.at(node))
			s.asked(t, 0)
		}},
		{vector{"the callback on both nodes at once", race}, func(t *testing.T, s *site, owner, _ *visitor) {
			callback := owner.callback(typedNumber)
			there := owner.at(node)
			ids := atOnce(50, func(i int) string { return sessionOf([]*visitor{owner, there}[i%2].get(callback)) })
			if len(ids) > 1 {
				t.Errorf("%d sessions", len(ids))
			}
			owner.arrive(callback)
			s.letsIn(t, owner)
			s.asked(t, 1)
		}},
		{vector{"fifty presses on both nodes at once", race}, func(t *testing.T, s *site, owner, _ *visitor) {
			there, before := owner.at(node), s.provider.Calls().Start
			links := atOnce(50, func(i int) string { return []*visitor{owner, there}[i%2].start(typedNumber, "/account/").location() })
			if starts := s.provider.Calls().Start - before; len(links) != 1 || starts != 1 {
				t.Errorf("%d links by %d starts", len(links), starts)
			}
		}},
		{vector{"a session that was ended on the other node", replay}, func(t *testing.T, s *site, owner, _ *visitor) {
			owner.verify()
			kept := owner.cookie()
			node.letsIn(t, owner.at(node))
			owner.post("/.number-verify/sign-out", nil)
			redistest.Eventually(t, "the other node knows", func() bool {
				return http11.send(node, request{method: "GET", path: "/account/", host: s.plain, fields: []string{kept}}).status == http.StatusUnauthorized
			})
			s.upstream.take()
			node.upstream.take()
			for _, at := range []*site{s, node} {
				http11.send(at, request{method: "GET", path: "/account/", host: s.plain, fields: []string{kept}})
				at.unverified(t)
			}
		}},
	}, func(t *testing.T, story story) { s.tell(t, story) })
}

// isTold checks that the visitor ends on a page with that code.
func (v *visitor) isTold(address, code string) {
	v.t.Helper()
	if a, at := v.arrive(address); a.code() != code {
		v.t.Errorf("ends on %q at %s, not on %s", a.code(), at, code)
	}
}

// letsIn checks that the gate is open for one visitor, or none, and closed to the
// others.
func (s *site) letsIn(t *testing.T, one *visitor, others ...*visitor) {
	t.Helper()
	s.upstream.take()
	if one != nil {
		one.get("/account/")
		if s.verified(t) != 1 {
			t.Error("the gate is closed to who is verified")
		}
	}
	for _, v := range others {
		if v != one {
			v.get("/account/")
			s.unverified(t)
		}
	}
}

// asked checks how often the provider was asked for a result.
func (s *site) asked(t *testing.T, want int) {
	t.Helper()
	if n := s.provider.Calls().Result - s.askedBefore; n != want {
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

// sessionOf is the session that an answer gives.
func sessionOf(a reply) string {
	for _, line := range a.header["Set-Cookie"] {
		if value, ok := strings.CutPrefix(line, "number-verify="); ok {
			value, _, _ = strings.Cut(value, ";")
			return value
		}
	}
	return ""
}

func parameter(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
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
