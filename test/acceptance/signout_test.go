package acceptance_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

func TestSignOutEndsWhatParallelTabsWereGiven(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	visitor.Verify("/account/", "06 39 98 00 01")
	restore := visitor.Keep()
	visitor.Plant(stage.SessionCookie, strings.Repeat("A", 43))
	visitor.Arrive(visitor.Open("/account/")) // as if another tab had replaced the session
	if arrived := w.Upstream.Take(); len(arrived) != 2 {
		t.Fatalf("%d requests arrived, the second session was not given", len(arrived))
	}
	visitor.SignOut()
	restore()
	if visitor.Open("/account/"); len(w.Upstream.Take()) != 0 {
		t.Error("the first session outlives the sign-out")
	}
}

func TestSignOutEndsSessionAndTheSpanInWhichItIsGivenOnceMore(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	visitor.Verify("/account/", "06 39 98 00 01")
	restore := visitor.Keep()
	out := visitor.Post("/.number-verify/sign-out", url.Values{"return": {"/bye"}})
	if out.StatusCode != http.StatusSeeOther || out.Location() != "/bye" {
		t.Errorf("sign-out answers %d to %q", out.StatusCode, out.Location())
	}
	w.Upstream.Take()
	restore()
	again := visitor.Follow(visitor.Open("/account/"))
	if again.StatusCode != http.StatusOK || !strings.Contains(again.Body, `name="number"`) || len(w.Upstream.Take()) != 0 {
		t.Errorf("after the sign-out: %d\n%s", again.StatusCode, again.Body)
	}
}

// twoTabs has a visitor be verified in two tabs at once, and returns the session
// of each, which both pass.
func twoTabs(w *stage.Stage, visitor *stage.Visitor) [2]string {
	w.T.Helper()
	var callbacks, sessions [2]string
	for i := range callbacks {
		callbacks[i] = visitor.Open(visitor.Start(fmt.Sprintf("/account/?tab=%d", i), "06 39 98 00 01").Location()).Location()
	}
	for i, callback := range callbacks {
		tab := visitor.Tab("/", "")
		tab.Arrive(tab.Open(callback))
		sessions[i] = tab.Cookie(stage.SessionCookie)
	}
	for _, session := range sessions {
		w.Thief(stage.SessionCookie, session).Passes("/account/")
	}
	return sessions
}

func TestStolenSessionDoesNotGoOnUnderAnotherCookieName(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	callback := visitor.Open(visitor.Start("/account/?other=tab", "06 39 98 00 01").Location()).Location()
	visitor.ArrivesAt("/account/")
	stolen, browser := visitor.Cookie(stage.SessionCookie), visitor.Cookie(stage.BrowserCookie)
	w.Thief(stage.SessionCookie, stolen).Passes("/account/")
	w.Load(strings.Replace(account, "result_wait 3s", "cookie_name renamed", 1))
	for _, name := range []string{"renamed", stage.SessionCookie} {
		if a := w.Thief(name, stolen).Refused("/account/"); a.StatusCode != http.StatusSeeOther {
			t.Errorf("as %s: %d", name, a.StatusCode)
		}
	}
	// what the browser could be given another one by is out as well
	for _, path := range []string{callback, "/.number-verify/"} {
		renamed := w.Thief("renamed-browser", browser)
		if renamed.Arrive(renamed.Open(path)); renamed.Cookie("renamed") != "" {
			t.Errorf("%s gives a session", path)
		}
		renamed.Refused("/account/")
	}
}

func TestSignOutInOneTabEndsTheSessionsOfAllTabs(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		w := stage.New(t, simulator.Options{})
		w.Load(account)
		signOutEndsAll(w, func() {})
	})
	t.Run("bolt, reopened before and after", func(t *testing.T) {
		w := stage.New(t, simulator.Options{})
		site := strings.Replace(account, "VERIFIER", "VERIFIER\ncache bolt "+filepath.Join(t.TempDir(), "nv.db"), 1)
		w.Load(site)
		signOutEndsAll(w, func() {
			w.Stop()
			w.Load(site)
		})
	})
	t.Run("redis, on the other node", func(t *testing.T) {
		f := stage.NewFleet(t, simulator.Options{}, 2, shared, patientRedis(t))
		signOutEndsAll(f.Stage, f.OnNext)
	})
}

// signOutEndsAll signs out in one of two tabs, by its session or without one, and
// checks that neither's goes on. Something happens before and after.
func signOutEndsAll(w *stage.Stage, happens func()) {
	w.T.Helper()
	for _, withSession := range []bool{true, false} {
		visitor := w.Visitor()
		sessions := twoTabs(w, visitor)
		happens()
		tab := visitor.Tab("/", map[bool]string{true: sessions[0]}[withSession])
		if a := tab.SignOut(); a.Location() != "/" {
			w.T.Fatalf("not signed out: %d %q", a.StatusCode, a.Code())
		}
		for range 2 {
			for i, session := range sessions {
				thief := w.Thief(stage.SessionCookie, session)
				wait.Until(w.T, "the sign-out is known", func() bool { return thief.Open("/account/").StatusCode == http.StatusSeeOther })
				if thief.Refused("/account/"); thief.Status().Verified {
					w.T.Errorf("session %d is still verified", i)
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
	f := stage.NewFleet(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, _ *http.Request) bool {
		if call == simulator.CallResult {
			asked <- struct{}{}
		}
		return false
	}}, 2, site, patientRedis(t))
	given := 0
	for range 20 {
		visitor := f.Visitor()
		callback := visitor.Callback("/account/", "06 39 98 00 01")
		at := []*stage.Visitor{visitor.Tab("/", "").At(f.Nodes[0].Addr), visitor.Tab("/", "").At(f.Nodes[1].Addr)}
		var sent sync.WaitGroup
		sent.Go(func() { at[0].Open(callback) })
		sent.Go(func() {
			<-asked
			if a := at[1].Post("/.number-verify/sign-out", nil); a.Location() != "/" {
				t.Errorf("not signed out: %d %q", a.StatusCode, a.Code())
			}
		})
		sent.Wait()
		at[0].Open("/.number-verify/") // as if the answer to the sign-out had got lost
		session := at[0].Cookies("/")[stage.SessionCookie]
		if session == "" {
			continue
		}
		given++
		for node := range f.Nodes {
			f.On(node)
			thief := f.Thief(stage.SessionCookie, session)
			wait.Until(t, "the sign-out is known", func() bool { return thief.Open("/account/").StatusCode == http.StatusSeeOther })
			thief.Refused("/account/")
		}
	}
	t.Logf("%d of 20 were given a session meanwhile", given)
}

// onTwoHosts loads a gate of a cookie domain, and returns a visitor and its hosts.
func onTwoHosts(w *stage.Stage) (visitor *stage.Visitor, one, two string) {
	w.Load(`http://www.example.com:PORT, http://app.example.com:PORT {
		bind 127.0.0.1
		number_verify {
			public_url http://www.example.com:PORT http://app.example.com:PORT
			cookie_domain example.com
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	port := stage.Port(w.Addr)
	one, two = "http://www.example.com:"+port, "http://app.example.com:"+port
	visitor = w.Visitor()
	visitor.Resolve()
	return visitor, one, two
}

// With a cookie domain the session is every host's, the browser cookie is not:
// the session leads to what the browser was given elsewhere.
func TestSignOutOnOneHostOfACookieDomainEndsWhatWasGivenOnTheOthers(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	visitor, one, two := onTwoHosts(w)
	var callbacks, sessions [3]string
	for i := range callbacks {
		callbacks[i] = visitor.Open(visitor.Start(fmt.Sprintf("%s/?tab=%d", one, i), "06 39 98 00 01").Location()).Location()
	}
	for i := range 2 {
		tab := visitor.Tab(one, "")
		tab.Open(callbacks[i])
		sessions[i] = tab.Cookies(one)[stage.SessionCookie]
	}
	there := visitor.Tab(two, sessions[0]) // where it has seen no form yet
	if a := there.Post(two+"/.number-verify/sign-out", nil); a.Location() != "/" {
		t.Fatalf("not signed out: %d %q", a.StatusCode, a.Code())
	}
	tab := visitor.Tab(one, "")
	tab.Open(callbacks[2]) // under way when the visitor signed out
	tab.Open(one + "/.number-verify/")
	sessions[2] = tab.Cookies(one)[stage.SessionCookie]
	if sessions[2] != "" {
		t.Error("the attempt under way, or the grant, gives a session")
	}
	for i, session := range sessions[:2] {
		for _, host := range []string{one, two} {
			w.Upstream.Take()
			if a := visitor.Tab(host, session).Open(host + "/"); a.StatusCode != http.StatusSeeOther || len(w.Upstream.Take()) != 0 {
				t.Errorf("session %d passes at %s: %d", i, host, a.StatusCode)
			}
		}
	}
}

func TestSignOutRightAfterTheVerificationClearsTheCookieAndIsLogged(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	a := visitor.SignOut()
	if !a.Clears(stage.SessionCookie) || visitor.Cookie(stage.SessionCookie) != "" {
		t.Errorf("the session cookie stays: %v", a.Cookies())
	}
	if w.Logged(`"msg":"signed out"`) == 0 {
		t.Error("the log does not say so")
	}
}

func TestSignOutWithAnUnknownSessionClearsNoCookie(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	sessions := twoTabs(w, visitor)
	tab := visitor.Tab("/", strings.Repeat("A", 43))
	a := tab.SignOut()
	if a.Clears(stage.SessionCookie) || a.Location() != "/" {
		t.Errorf("%d: %v", a.StatusCode, a.Cookies())
	}
	for _, session := range sessions { // its browser cookie is known all the same
		w.Thief(stage.SessionCookie, session).Refused("/account/")
	}
}

func TestAnotherSiteSignsNobodyOut(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(account)
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	for _, field := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"} {
		visitor.Post("/.number-verify/sign-out", nil, field).Is(t, http.StatusForbidden, "cross_origin")
		visitor.Passes("/account/")
	}
	visitor.SignOut()
	visitor.Refused("/account/")
}

// The provider is asked to begin an attempt while the visitor signs out in
// another tab: the attempt is gone, and nobody is sent to the operator.
func TestSignOutDuringAStartEndsTheAttempt(t *testing.T) {
	var signOut func()
	w := stage.New(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, _ *http.Request) bool {
		if call == simulator.CallStart {
			signOut()
		}
		return false
	}})
	w.Load(account)
	visitor := w.Visitor()
	form := visitor.Follow(visitor.Open("/account/"))
	signOut = func() { visitor.Tab("/", "").Post("/.number-verify/sign-out", nil) }
	if a := visitor.Submit(form, "06 39 98 00 01"); a.Code() != "busy" || a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the start answers %d %q, to %q", a.StatusCode, a.Code(), a.Location())
	}
}

// A success on one host takes the session of another over, and with it the minute
// in which that is made good there: nothing would lead a sign-out to it any more.
func TestSignOutAfterAStepUpOnAnotherHostEndsTheSpanOfTheFirst(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	visitor, one, two := onTwoHosts(w)
	visitor.Verify(one+"/", "06 39 98 00 01")
	visitor.Arrive(visitor.Submit(visitor.Open(two+"/.number-verify/"), "06 39 98 00 01"))
	if n := len(w.Upstream.Take()); n != 2 {
		t.Fatalf("verified %d times", n)
	}
	if a := visitor.Post(two+"/.number-verify/sign-out", nil); !a.Clears(stage.SessionCookie) {
		t.Fatalf("not signed out: %d %q", a.StatusCode, a.Code())
	}
	visitor.Arrive(visitor.Open(one + "/"))
	if visitor.Cookies(one)[stage.SessionCookie] != "" || len(w.Upstream.Take()) != 0 {
		t.Error("the first host gives a session after the sign-out")
	}
}

// The lists of who has what are keys of their own in Redis: a server that evicts
// may lose them alone.
func TestSignOutEndsTheSessionWhereRedisHasLostItsLists(t *testing.T) {
	server := redistest.Start(t)
	w := stage.New(t, simulator.Options{})
	w.Load(strings.Replace(account, "VERIFIER", "VERIFIER\ncache redis "+server.Addr, 1))
	visitor := w.Visitor()
	visitor.Verify("/account/", "06 39 98 00 01")
	stolen := visitor.Cookie(stage.SessionCookie)
	w.Thief(stage.SessionCookie, stolen).Passes("/account/")
	lists := strings.Fields(server.Do(t, "--scan", "--pattern", "number-verify:tag*"))
	if server.Do(t, append([]string{"DEL"}, lists...)...) != "3" {
		t.Fatalf("the server held %d lists", len(lists))
	}
	if a := visitor.SignOut(); !a.Clears(stage.SessionCookie) {
		t.Fatalf("not signed out: %d %q", a.StatusCode, a.Code())
	}
	w.Thief(stage.SessionCookie, stolen).Refused("/account/")
}

// A sibling host can plant a second session cookie, for the gate's path alone, where
// the site then sees one: that must not keep the visitor's own from ending.
func TestSignOutWithAPlantedSecondSessionCookieEndsTheVisitorsSession(t *testing.T) {
	for _, planted := range []string{"planted", strings.Repeat("A", 43)} {
		w := stage.New(t, simulator.Options{})
		w.Load(strings.Replace(account, "result_wait 3s", "session_ttl 48h", 1))
		visitor := w.Visitor()
		visitor.Verify("/account/", "06 39 98 00 01")
		later := w.Thief(stage.SessionCookie, visitor.Cookie(stage.SessionCookie)) // the browser cookie has expired
		later.PlantAt("/", &http.Cookie{Name: stage.SessionCookie, Value: planted, Path: "/.number-verify"})
		if a := later.SignOut(); a.StatusCode != http.StatusSeeOther || a.Clears(stage.SessionCookie) {
			t.Errorf("%d %q to %q: %v", a.StatusCode, a.Code(), a.Location(), a.Cookies())
		}
		w.Upstream.Take()
		if a := later.Open("/account/"); a.StatusCode != http.StatusSeeOther || len(w.Upstream.Take()) != 0 {
			t.Errorf("with %s beside it the session goes on: %d", planted, a.StatusCode)
		}
	}
}

// Every host below a cookie domain sees its sessions, and could bring one to the
// host of the same name, which shares its own with nobody.
func TestSessionOfACookieDomainDoesNotOpenTheHostOfThatName(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://example.com:PORT {
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
	port := stage.Port(w.Addr)
	alone, app := "http://example.com:"+port, "http://app.example.com:"+port
	visitor, sibling := w.Visitor(), w.Visitor()
	for _, b := range []*stage.Visitor{visitor, sibling} {
		b.Resolve()
	}
	visitor.Verify(app+"/", "06 39 98 00 01")
	stolen := visitor.Cookies(app)[stage.SessionCookie]
	sibling.PlantAt(alone, &http.Cookie{Name: stage.SessionCookie, Value: stolen, Path: "/"})
	w.Upstream.Take()
	if a := sibling.Open(alone + "/"); a.StatusCode != http.StatusSeeOther || len(w.Upstream.Take()) != 0 {
		t.Errorf("it passes there: %d", a.StatusCode)
	}
}
