package numberverify_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/redistest"
)

func TestAttemptThatWaitsInAnotherTabDoesNotVerifyAfterTheSignOut(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	callback := visitor.open(visitor.start("/account/?other=tab", "06 39 98 00 01").location()).location()
	visitor.verify("/account/", "06 39 98 00 01")
	visitor.post("/.number-verify/sign-out", nil)
	w.upstream.take()
	if end := visitor.arrive(visitor.open(callback)); end.code() != "attempt_unknown" || len(w.upstream.take()) != 0 {
		t.Errorf("the other tab ends on %s with %q", end.Request.URL.Path, end.code())
	}
}

func TestSignOutEndsWhatParallelTabsWereGiven(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	home := visitor.request("GET", "/", nil).URL
	visitor.verify("/account/", "06 39 98 00 01")
	first := visitor.client.Jar.Cookies(home)
	visitor.client.Jar.SetCookies(home, []*http.Cookie{{Name: "number-verify", Value: strings.Repeat("A", 43), Path: "/"}})
	visitor.arrive(visitor.open("/account/")) // as if another tab had replaced the session
	if arrived := w.upstream.take(); len(arrived) != 2 {
		t.Fatalf("%d requests arrived, the second session was not given", len(arrived))
	}
	visitor.post("/.number-verify/sign-out", nil)
	visitor.client.Jar.SetCookies(home, first)
	if visitor.open("/account/"); len(w.upstream.take()) != 0 {
		t.Error("the first session outlives the sign-out")
	}
}

func TestSignOutEndsSessionAndTheSpanInWhichItIsGivenOnceMore(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	visitor.verify("/account/", "06 39 98 00 01")
	kept := visitor.client.Jar.Cookies(visitor.request("GET", "/", nil).URL)
	out := visitor.post("/.number-verify/sign-out", url.Values{"return": {"/bye"}})
	if out.StatusCode != http.StatusSeeOther || out.location() != "/bye" {
		t.Errorf("sign-out answers %d to %q", out.StatusCode, out.location())
	}
	w.upstream.take()
	visitor.client.Jar.SetCookies(visitor.request("GET", "/", nil).URL, kept)
	again := visitor.follow(visitor.open("/account/"))
	if again.StatusCode != http.StatusOK || !strings.Contains(again.body, `name="number"`) || len(w.upstream.take()) != 0 {
		t.Errorf("after the sign-out: %d\n%s", again.StatusCode, again.body)
	}
}

// The gate's cookies in these tests.
const (
	sessionCookie = "number-verify"
	browserCookie = "number-verify-browser"
)

// cookies are those that b sends to an address.
func (b *browser) cookies(rawURL string) map[string]string {
	values := make(map[string]string)
	for _, c := range b.client.Jar.Cookies(b.request("GET", rawURL, nil).URL) {
		values[c.Name] = c.Value
	}
	return values
}

// tab is one of b's, with its browser cookie and a session, or none: as if the
// answers to its other tabs had not arrived yet.
func (b *browser) tab(rawURL, session string) *browser {
	tab := b.world.browser()
	tab.client.Transport = b.client.Transport
	cookies := []*http.Cookie{{Name: browserCookie, Value: b.cookies(rawURL)[browserCookie], Path: "/"}}
	if session != "" {
		cookies = append(cookies, &http.Cookie{Name: sessionCookie, Value: session, Path: "/"})
	}
	tab.client.Jar.SetCookies(tab.request("GET", rawURL, nil).URL, cookies)
	return tab
}

// thief is another browser with a session of b's.
func (w *world) thief(session, name string) *browser {
	thief := w.browser()
	thief.client.Jar.SetCookies(thief.request("GET", "/", nil).URL, []*http.Cookie{{Name: name, Value: session, Path: "/"}})
	return thief
}

// twoTabs has a visitor be verified in two tabs at once, and returns the session
// of each, which both pass.
func (w *world) twoTabs(visitor *browser) [2]string {
	w.t.Helper()
	var callbacks, sessions [2]string
	for i := range callbacks {
		callbacks[i] = visitor.open(visitor.start(fmt.Sprintf("/account/?tab=%d", i), "06 39 98 00 01").location()).location()
	}
	for i, callback := range callbacks {
		tab := visitor.tab("/", "")
		tab.arrive(tab.open(callback))
		sessions[i] = tab.cookies("/")[sessionCookie]
	}
	for _, session := range sessions {
		w.thief(session, sessionCookie).passes("/account/")
	}
	return sessions
}

func TestStolenSessionDoesNotGoOnUnderAnotherCookieName(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	callback := visitor.open(visitor.start("/account/?other=tab", "06 39 98 00 01").location()).location()
	visitor.arrivesAt("/account/")
	stolen, browser := visitor.cookies("/")[sessionCookie], visitor.cookies("/")[browserCookie]
	w.thief(stolen, sessionCookie).passes("/account/")
	w.load(strings.Replace(account, "result_wait 3s", "cookie_name renamed", 1))
	for _, name := range []string{"renamed", sessionCookie} {
		if a := w.thief(stolen, name).refused("/account/"); a.StatusCode != http.StatusSeeOther {
			t.Errorf("as %s: %d", name, a.StatusCode)
		}
	}
	// what the browser could be given another one by is out as well
	for _, path := range []string{callback, "/.number-verify/"} {
		renamed := w.thief(browser, "renamed-browser")
		if renamed.arrive(renamed.open(path)); renamed.cookies("/")["renamed"] != "" {
			t.Errorf("%s gives a session", path)
		}
		renamed.refused("/account/")
	}
}

func TestSignOutInOneTabEndsTheSessionsOfAllTabs(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		w := newWorld(t, simulator.Options{})
		w.load(account)
		w.signOutEndsAll(func() {})
	})
	t.Run("bolt, reopened before and after", func(t *testing.T) {
		w := newWorld(t, simulator.Options{})
		site := strings.Replace(account, "VERIFIER", "VERIFIER\ncache bolt "+filepath.Join(t.TempDir(), "nv.db"), 1)
		w.load(site)
		w.signOutEndsAll(func() {
			if err := caddy.Stop(); err != nil {
				t.Fatal(err)
			}
			w.load(site)
		})
	})
	t.Run("redis, on the other node", func(t *testing.T) {
		f := newFleet(t, simulator.Options{}, 2, shared, "cache redis "+redistest.Start(t).Addr)
		f.signOutEndsAll(func() { f.next.Add(1) })
	})
}

// signOutEndsAll signs out in one of two tabs, by its session or without one, and
// checks that neither's goes on. Something happens before and after.
func (w *world) signOutEndsAll(happens func()) {
	w.t.Helper()
	for _, withSession := range []bool{true, false} {
		visitor := w.browser()
		sessions := w.twoTabs(visitor)
		happens()
		tab := visitor.tab("/", map[bool]string{true: sessions[0]}[withSession])
		if a := tab.post("/.number-verify/sign-out", nil); a.location() != "/" {
			w.t.Fatalf("not signed out: %d %q", a.StatusCode, a.code())
		}
		for range 2 {
			for i, session := range sessions {
				thief := w.thief(session, sessionCookie)
				redistest.Eventually(w.t, "the sign-out is known", func() bool { return thief.open("/account/").StatusCode == http.StatusSeeOther })
				if thief.refused("/account/"); thief.status().Verified {
					w.t.Errorf("session %d is still verified", i)
				}
			}
			happens()
		}
	}
}

// The visitor signs out at one node while the other takes him in.
func TestSignOutThatRacesACallbackOnAnotherNodeLeavesNoSession(t *testing.T) {
	site := strings.Replace(shared, "result_wait 20s", "limits {\nnumber 1000 1h 1000\n}", 1)
	asked := make(chan struct{})
	f := newFleet(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, _ *http.Request) bool {
		if call == simulator.CallResult {
			asked <- struct{}{}
		}
		return false
	}}, 2, site, "cache redis "+redistest.Start(t).Addr)
	given := 0
	for range 20 {
		visitor := f.browser()
		callback := visitor.open(visitor.start("/account/", "06 39 98 00 01").location()).location()
		at := []*browser{visitor.tab("/", ""), visitor.tab("/", "")}
		for i, tab := range at {
			tab.client.Transport = &toNode{f.nodes[i].addr, tab.client.Transport}
		}
		var sent sync.WaitGroup
		sent.Go(func() { at[0].open(callback) })
		sent.Go(func() {
			<-asked
			if a := at[1].post("/.number-verify/sign-out", nil); a.location() != "/" {
				t.Errorf("not signed out: %d %q", a.StatusCode, a.code())
			}
		})
		sent.Wait()
		at[0].open("/.number-verify/") // as if the answer to the sign-out had got lost
		session := at[0].cookies("/")[sessionCookie]
		if session == "" {
			continue
		}
		given++
		for node := range f.nodes {
			f.on(node)
			thief := f.thief(session, sessionCookie)
			redistest.Eventually(t, "the sign-out is known", func() bool { return thief.open("/account/").StatusCode == http.StatusSeeOther })
			thief.refused("/account/")
		}
	}
	t.Logf("%d of 20 were given a session meanwhile", given)
}

// toNode sends everything for the site to one node.
type toNode struct {
	addr string
	next http.RoundTripper
}

func (n *toNode) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = n.addr
	return n.next.RoundTrip(r)
}

// onTwoHosts loads a gate of a cookie domain, and returns a visitor and its hosts.
func (w *world) onTwoHosts() (visitor *browser, one, two string) {
	w.load(`http://www.example.com:PORT, http://app.example.com:PORT {
		bind 127.0.0.1
		number_verify {
			public_url http://www.example.com:PORT http://app.example.com:PORT
			cookie_domain example.com
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	_, port, _ := strings.Cut(w.addr, ":")
	one, two = "http://www.example.com:"+port, "http://app.example.com:"+port
	visitor = w.browser()
	visitor.client.Transport.(*http.Transport).DialContext = dialLoopback(w.addr)
	return visitor, one, two
}

// With a cookie domain the session is every host's, the browser cookie is not:
// the session leads to what the browser was given elsewhere.
func TestSignOutOnOneHostOfACookieDomainEndsWhatWasGivenOnTheOthers(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	visitor, one, two := w.onTwoHosts()
	var callbacks, sessions [3]string
	for i := range callbacks {
		callbacks[i] = visitor.open(visitor.start(fmt.Sprintf("%s/?tab=%d", one, i), "06 39 98 00 01").location()).location()
	}
	for i := range 2 {
		tab := visitor.tab(one, "")
		tab.open(callbacks[i])
		sessions[i] = tab.cookies(one)[sessionCookie]
	}
	there := visitor.tab(two, sessions[0]) // where it has seen no form yet
	if a := there.post(two+"/.number-verify/sign-out", nil); a.location() != "/" {
		t.Fatalf("not signed out: %d %q", a.StatusCode, a.code())
	}
	tab := visitor.tab(one, "")
	tab.open(callbacks[2]) // under way when the visitor signed out
	tab.open(one + "/.number-verify/")
	sessions[2] = tab.cookies(one)[sessionCookie]
	if sessions[2] != "" {
		t.Error("the attempt under way, or the grant, gives a session")
	}
	for i, session := range sessions[:2] {
		for _, host := range []string{one, two} {
			w.upstream.take()
			if a := visitor.tab(host, session).open(host + "/"); a.StatusCode != http.StatusSeeOther || len(w.upstream.take()) != 0 {
				t.Errorf("session %d passes at %s: %d", i, host, a.StatusCode)
			}
		}
	}
}

func TestSignOutRightAfterTheVerificationClearsTheCookieAndIsLogged(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	visitor.arrivesAt("/account/")
	a := visitor.post("/.number-verify/sign-out", nil)
	if !clears(a, sessionCookie) || visitor.cookies("/")[sessionCookie] != "" {
		t.Errorf("the session cookie stays: %v", a.Cookies())
	}
	text, err := os.ReadFile(w.logFile)
	if err != nil || !strings.Contains(string(text), `"msg":"signed out"`) {
		t.Errorf("the log does not say so, %v", err)
	}
}

func TestSignOutWithAnUnknownSessionClearsNoCookie(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(account)
	visitor := w.browser()
	sessions := w.twoTabs(visitor)
	tab := visitor.tab("/", strings.Repeat("A", 43))
	a := tab.post("/.number-verify/sign-out", nil)
	if clears(a, sessionCookie) || a.location() != "/" {
		t.Errorf("%d: %v", a.StatusCode, a.Cookies())
	}
	for _, session := range sessions { // its browser cookie is known all the same
		w.thief(session, sessionCookie).refused("/account/")
	}
}

func clears(a *answer, name string) bool {
	for _, c := range a.Cookies() {
		if c.Name == name && c.MaxAge < 0 {
			return true
		}
	}
	return false
}

// The provider is asked to begin an attempt while the visitor signs out in
// another tab: the attempt is gone, and nobody is sent to the operator.
func TestSignOutDuringAStartEndsTheAttempt(t *testing.T) {
	var signOut func()
	w := newWorld(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, _ *http.Request) bool {
		if call == simulator.CallStart {
			signOut()
		}
		return false
	}})
	w.load(account)
	visitor := w.browser()
	form := visitor.follow(visitor.open("/account/"))
	signOut = func() { visitor.tab("/", "").post("/.number-verify/sign-out", nil) }
	if a := visitor.submit(form, "06 39 98 00 01"); a.code() != "busy" || a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the start answers %d %q, to %q", a.StatusCode, a.code(), a.location())
	}
}

// A success on one host takes the session of another over, and with it the minute
// in which that is made good there: nothing would lead a sign-out to it any more.
func TestSignOutAfterAStepUpOnAnotherHostEndsTheSpanOfTheFirst(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	visitor, one, two := w.onTwoHosts()
	visitor.verify(one+"/", "06 39 98 00 01")
	visitor.arrive(visitor.submit(visitor.open(two+"/.number-verify/"), "06 39 98 00 01"))
	if n := len(w.upstream.take()); n != 2 {
		t.Fatalf("verified %d times", n)
	}
	if a := visitor.post(two+"/.number-verify/sign-out", nil); !clears(a, sessionCookie) {
		t.Fatalf("not signed out: %d %q", a.StatusCode, a.code())
	}
	visitor.arrive(visitor.open(one + "/"))
	if visitor.cookies(one)[sessionCookie] != "" || len(w.upstream.take()) != 0 {
		t.Error("the first host gives a session after the sign-out")
	}
}

// The lists of who has what are keys of their own in Redis: a server that evicts
// may lose them alone.
func TestSignOutEndsTheSessionWhereRedisHasLostItsLists(t *testing.T) {
	server := redistest.Start(t)
	w := newWorld(t, simulator.Options{})
	w.load(strings.Replace(account, "VERIFIER", "VERIFIER\ncache redis "+server.Addr, 1))
	visitor := w.browser()
	visitor.verify("/account/", "06 39 98 00 01")
	stolen := visitor.cookies("/")[sessionCookie]
	w.thief(stolen, sessionCookie).passes("/account/")
	lists := strings.Fields(server.Do(t, "--scan", "--pattern", "number-verify:tag*"))
	if server.Do(t, append([]string{"DEL"}, lists...)...) != "3" {
		t.Fatalf("the server held %d lists", len(lists))
	}
	if a := visitor.post("/.number-verify/sign-out", nil); !clears(a, sessionCookie) {
		t.Fatalf("not signed out: %d %q", a.StatusCode, a.code())
	}
	w.thief(stolen, sessionCookie).refused("/account/")
}

// A sibling host can plant a second session cookie, for the gate's path alone, where
// the site then sees one: that must not keep the visitor's own from ending.
func TestSignOutWithAPlantedSecondSessionCookieEndsTheVisitorsSession(t *testing.T) {
	for _, planted := range []string{"planted", strings.Repeat("A", 43)} {
		w := newWorld(t, simulator.Options{})
		w.load(strings.Replace(account, "result_wait 3s", "session_ttl 48h", 1))
		visitor := w.browser()
		visitor.verify("/account/", "06 39 98 00 01")
		later := w.thief(visitor.cookies("/")[sessionCookie], sessionCookie) // the browser cookie has expired
		later.client.Jar.SetCookies(later.request("GET", "/", nil).URL, []*http.Cookie{{Name: sessionCookie, Value: planted, Path: "/.number-verify"}})
		if a := later.post("/.number-verify/sign-out", nil); a.StatusCode != http.StatusSeeOther || clears(a, sessionCookie) {
			t.Errorf("%d %q to %q: %v", a.StatusCode, a.code(), a.location(), a.Cookies())
		}
		w.upstream.take()
		if a := later.open("/account/"); a.StatusCode != http.StatusSeeOther || len(w.upstream.take()) != 0 {
			t.Errorf("with %s beside it the session goes on: %d", planted, a.StatusCode)
		}
	}
}

// Every host below a cookie domain sees its sessions, and could bring one to the
// host of the same name, which shares its own with nobody.
func TestSessionOfACookieDomainDoesNotOpenTheHostOfThatName(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(`http://example.com:PORT {
		bind 127.0.0.1
		number_verify {
			public_url http://example.com:PORT
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}
	http://app.example.com:PORT {
		bind 127.0.0.1
		number_verify {
			public_url http://app.example.com:PORT
			cookie_domain example.com
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	_, port, _ := strings.Cut(w.addr, ":")
	alone, app := "http://example.com:"+port, "http://app.example.com:"+port
	visitor, sibling := w.browser(), w.browser()
	for _, b := range []*browser{visitor, sibling} {
		b.client.Transport.(*http.Transport).DialContext = dialLoopback(w.addr)
	}
	visitor.verify(app+"/", "06 39 98 00 01")
	stolen := visitor.cookies(app)[sessionCookie]
	sibling.client.Jar.SetCookies(sibling.request("GET", alone, nil).URL, []*http.Cookie{{Name: sessionCookie, Value: stolen, Path: "/"}})
	w.upstream.take()
	if a := sibling.open(alone + "/"); a.StatusCode != http.StatusSeeOther || len(w.upstream.take()) != 0 {
		t.Errorf("it passes there: %d", a.StatusCode)
	}
}
