package acceptance_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// gateWith is a directive for a matcher, with more options.
func gateWith(matcher, options string) string {
	return "number_verify " + matcher + " {\npublic_url http://SITE\nfallback_url /other-way\nVERIFIER\n" + options + "\n}\n"
}

func siteWith(gates ...string) string {
	return "http://SITE {\n" + strings.Join(gates, "") + "reverse_proxy UPSTREAM\n}"
}

// circle has a visitor do what the pages ask for, from a path to where nothing is left
// to do, and returns the last page. Before each page something happens to the browser.
func circle(v *stage.Visitor, path string, before func()) *stage.Answer {
	v.T.Helper()
	next := func() *stage.Answer { return v.Open(path) }
	for range 60 {
		before()
		a := next()
		switch {
		case a.Location() != "" || a.Refresh() != "":
			to, err := a.Request.URL.Parse(a.Location() + a.Refresh())
			if err != nil {
				v.T.Fatal(err)
			}
			next = func() *stage.Answer { return v.Open(to.String()) }
		case strings.Contains(a.Body, `name="return"`):
			next = func() *stage.Answer { return v.Submit(a, stage.TypedNumber) }
		default:
			return a
		}
	}
	v.T.Fatal("the visitor goes in circles")
	return nil
}

// startsNothing checks that a press is answered like the page, to a person and to a
// program.
func startsNothing(v *stage.Visitor, status int, code string) {
	v.T.Helper()
	before := v.Stage.Starts()
	v.Press(stage.TypedNumber, "/account/").Is(v.T, status, code)
	a := v.Post("/.number-verify/start", url.Values{"number": {stage.TypedNumber}}, "Accept: application/json")
	if a.Is(v.T, status, code); a.Header.Get("Content-Type") != "application/problem+json" {
		v.T.Errorf("JSON: %s", a.Body)
	}
	a.RetryAfter(v.T, time.Second, time.Minute)
	if n := v.Stage.Starts() - before; n != 0 {
		v.T.Errorf("billed %d times more", n)
	}
}

func TestBrowserThatDropsTheSessionCookieIsToldWhyAndNotVerifiedAgain(t *testing.T) {
	for _, store := range []string{"memory", "bolt", "redis"} {
		t.Run(store, func(t *testing.T) {
			line := "cache memory"
			switch store {
			case "bolt":
				line = "cache bolt " + filepath.Join(t.TempDir(), "nv.db")
			case "redis":
				line = patientRedis(t)
			}
			w := stage.New(t, simulator.Options{})
			w.Load(siteWith(gateWith("/account*", line)))
			visitor := w.Visitor()
			drop := func() { visitor.Drop(stage.SessionCookie) }
			for range 3 {
				a := circle(visitor, "/account/", drop)
				a.Is(t, http.StatusBadRequest, "cookies_required")
				a.RetryAfter(t, time.Second, time.Minute)
				if !strings.Contains(a.Body, "inside another app, open it in your browser") {
					t.Errorf("the page does not say what to do:\n%s", a.Body)
				}
			}
			startsNothing(visitor, http.StatusBadRequest, "cookies_required")
			if n := w.Starts(); n != 1 {
				t.Errorf("billed %d times", n)
			}
			if n := w.Logged("again and again"); n != 0 {
				t.Error("the log asks to mend the configuration")
			}
			w.Visitor().ArrivesAt("/account/")
		})
	}
}

// A script never comes to the form.
func TestScriptInABrowserThatDropsTheSessionCookieIsStopped(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(siteWith(gateWith("/account*", "")))
	visitor := w.Visitor()
	visitor.Fetch("/.number-verify/status")
	for range 3 {
		a := visitor.Press(stage.TypedNumber, "/")
		if a.StatusCode != http.StatusSeeOther {
			t.Fatalf("a start answers %d %q", a.StatusCode, a.Code())
		}
		visitor.Arrive(a)
		visitor.Drop(stage.SessionCookie)
		for range 5 { // of one page
			visitor.Fetch("/account/data").Is(t, http.StatusUnauthorized, "verification_required")
		}
	}
	startsNothing(visitor, http.StatusBadRequest, "cookies_required")
	visitor.Open("/.number-verify/").Is(t, http.StatusBadRequest, "cookies_required")
}

func TestVisitorWhomNoVerificationLetsPassIsToldThatTheSiteMustBeMended(t *testing.T) {
	t.Setenv("ONE_PHONE", stage.VisitorsNumber)
	t.Setenv("OTHER_PHONE", "+33639980020")
	otherAccount := func(w *stage.Stage) string { // for the gate, not for the simulator
		return strings.Replace(w.Expand(gateWith("/account*", "path /.other")), w.ProviderURL, strings.Replace(w.ProviderURL, "127.0.0.1", "localhost", 1), 1)
	}
	none := func(*stage.Stage) string { return "" }
	lenient := func(*stage.Stage) string { return gateWith("/open*", "") }
	for name, c := range map[string]struct {
		gate, cause string
		beside      func(*stage.Stage) string
		billed      int
	}{
		"max_age is shorter than the way":           {gateWith("/account*", "max_age 1us"), "too old", none, 3},
		"session_ttl is":                            {gateWith("/account*", "session_ttl 1us"), "session unknown", none, 3},
		"session_ttl is, another route's is not":    {gateWith("/account*", "session_ttl 1us"), "too old", lenient, 3},
		"session_idle is":                           {gateWith("/account*", "session_idle 1us"), "session unknown", none, 1},
		"session_idle is, another route has none":   {gateWith("/account*", "session_idle 1us"), "idle for too long", lenient, 3},
		"gates of two accounts on one route":        {gateWith("/account*", ""), "other account", otherAccount, 2},
		"number is another one on the gate's pages": {"vars phone {env.ONE_PHONE}\nvars /account* phone {env.OTHER_PHONE}\n" + gateWith("/account*", "number {vars.phone}"), "other number", none, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			w.Load(siteWith(c.gate, c.beside(w)))
			visitor := w.Visitor()
			a := circle(visitor, "/account/", func() {})
			a.Is(t, http.StatusServiceUnavailable, "provider_misconfigured")
			a.RetryAfter(t, time.Second, time.Minute)
			for _, text := range []string{"You did nothing wrong", `href="/"`, `href="/other-way"`, "You can try again in"} {
				if !strings.Contains(a.Body, text) {
					t.Errorf("the page lacks %q:\n%s", text, a.Body)
				}
			}
			inFrench := visitor.Open(a.Request.URL.RequestURI(), "Accept-Language: fr")
			if !strings.Contains(inFrench.Body, "Vous n’y êtes pour rien") {
				t.Errorf("in French:\n%s", inFrench.Body)
			}
			startsNothing(visitor, http.StatusServiceUnavailable, "provider_misconfigured")
			if n := w.Starts(); n != c.billed {
				t.Errorf("billed %d times, want %d", n, c.billed)
			}
			if n := w.Logged(`"msg":"verified again and again, and turned down"`); n != 1 || w.Logged(`"cause":"`+c.cause+`"`) != 1 {
				t.Errorf("the log says so %d times, and names the cause %d times", n, w.Logged(`"cause":"`+c.cause+`"`))
			}
			for line := range strings.Lines(w.Log()) {
				if strings.Contains(line, "again and again") && !strings.Contains(line, `"reference":"`+a.Reference()+`"`) {
					t.Errorf("the page's reference is %q, the line is\n%s", a.Reference(), line)
				}
			}
			if n := len(w.Upstream.Take()); n != 0 {
				t.Errorf("%d requests arrived", n)
			}
		})
	}
}

// Requests of one page, which the route turns down one by one, are one round.
func TestRequestsOfOnePageAreOneRound(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(siteWith(gateWith("/account*", "max_age 1us"), gateWith("/open*", "")))
	visitor := w.Visitor()
	visitor.Verify("/open/", stage.TypedNumber)
	var sent sync.WaitGroup
	for range 20 {
		sent.Go(func() { visitor.Fetch("/account/data") })
	}
	sent.Wait()
	for range 5 {
		visitor.Follow(visitor.Open("/account/")) // reloads it
	}
	visitor.Passes("/open/")
	if a := visitor.Start("/account/", stage.TypedNumber); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the second round: %d %q", a.StatusCode, a.Code())
	}
}

func TestVisitorWhoSignsOutAndComesAgainOnPurposeIsNotStopped(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(siteWith(gateWith("/account*", "max_age 1us"), gateWith("/open*", "")))
	visitor := w.Visitor()
	for range 3 {
		visitor.ArrivesAt("/open/")
		visitor.SignOut()
	}
	for range 3 {
		for range 2 { // the third would be stopped
			visitor.Arrive(visitor.Open(visitor.Link("/open/", stage.TypedNumber)))
			visitor.Refused("/account/")
		}
		restore := visitor.Keep()
		visitor.SignOut()
		restore() // as if the answer had got lost
	}
	visitor.ArrivesAt("/open/")
}

func TestVisitorInParallelTabsIsNotStopped(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(siteWith(gateWith("/account*", "")))
	visitor := w.Visitor()
	var tabs []*stage.Answer
	for i := range 4 {
		tabs = append(tabs, visitor.Follow(visitor.Open(fmt.Sprintf("/account/?tab=%d", i))))
	}
	for i, form := range tabs {
		end := visitor.Arrive(visitor.Submit(form, stage.TypedNumber))
		if end.StatusCode != http.StatusOK || end.Request.URL.RequestURI() != fmt.Sprintf("/account/?tab=%d", i) {
			t.Errorf("tab %d ends at %s: %d %q", i, end.Request.URL, end.StatusCode, end.Code())
		}
	}
	// all at once, before an answer of one is known to another
	before := visitor.Cookie(stage.SessionCookie)
	var links []string
	for i := range 4 {
		links = append(links, visitor.Open(visitor.Link(fmt.Sprintf("/account/?again=%d", i), stage.TypedNumber)).Location())
	}
	for _, callback := range links {
		tab := visitor.Tab("/", before)
		if end := tab.Arrive(tab.Open(callback)); end.StatusCode != http.StatusOK || end.Path() != "/account/" {
			t.Errorf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.Code())
		}
	}
	if form := visitor.Open("/.number-verify/"); form.StatusCode != http.StatusOK {
		t.Errorf("the form answers %d %q", form.StatusCode, form.Code())
	}
}

// What counts is what routes turn down of that which the visitor was given. A stranger
// cannot have him be given anything.
func TestStrangerCannotHaveAVisitorStopped(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(siteWith(gateWith("/account*", ""), gateWith("/transfer*", "max_age 1us")))
	visitor, stranger := w.Visitor(), w.Visitor()
	visitor.ArrivesAt("/account/")
	session := visitor.Cookie(stage.SessionCookie)
	fromElsewhere := []string{"Sec-Fetch-Site: cross-site"}
	for range 10 {
		// the visitor's browser is sent to the form, and to routes that want more
		visitor.Open("/.number-verify/?max_age=1&return=/account/", fromElsewhere...)
		visitor.Open("/.number-verify/?resume=1", fromElsewhere...)
		visitor.Open("/transfer/", fromElsewhere...)
		visitor.Open("/.number-verify/callback?state=unknown", fromElsewhere...)
		visitor.Post("/.number-verify/start", url.Values{"number": {stage.TypedNumber}}, fromElsewhere...).Is(t, http.StatusForbidden, "cross_origin")
		// without the cookies of the site, as another site's images and scripts are
		w.Visitor().Open("/transfer/")
		w.Visitor().Open("/.number-verify/")
		// with what a stranger may write
		stranger.Plant(stage.BrowserCookie, strings.Repeat("A", 43))
		stranger.Open("/transfer/")
		w.Thief(stage.SessionCookie, session).Open("/transfer/")
	}
	// the stranger goes in circles himself, with the visitor's number
	circle(stranger, "/transfer/", func() {}).Is(t, http.StatusServiceUnavailable, "provider_misconfigured")
	visitor.Passes("/account/")
	if a := visitor.Press(stage.TypedNumber, "/account/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the visitor's start is answered %d %q", a.StatusCode, a.Code())
	}
}

func TestRoundsCountOnAllNodesTogether(t *testing.T) {
	site := strings.Replace(shared, "result_wait 20s", "result_wait 20s\nmax_age 1us", 1)
	f := stage.NewFleet(t, simulator.Options{}, 2, site, patientRedis(t))
	visitor := f.Visitor()
	a := circle(visitor, "/account/", f.OnNext)
	a.Is(t, http.StatusServiceUnavailable, "provider_misconfigured")
	if n := f.Starts(); n != 3 {
		t.Errorf("billed %d times", n)
	}
	for node := range f.Nodes {
		f.On(node)
		startsNothing(visitor, http.StatusServiceUnavailable, "provider_misconfigured")
	}
	if n := strings.Count(f.Log(), "verified again and again"); n != 1 {
		t.Errorf("the logs say so %d times", n)
	}

	// turned down on both nodes at once, it is one round
	other := f.Visitor()
	other.Arrive(other.Start("/account/", "06 39 98 00 01"))
	var sent sync.WaitGroup
	for i := range 20 {
		at := other.Tab("/", other.Cookie(stage.SessionCookie)).At(f.Nodes[i%2].Addr)
		sent.Go(func() { at.Fetch("/account/") })
	}
	sent.Wait()
	if a := other.Start("/account/", "06 39 98 00 01"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("the second round: %d %q", a.StatusCode, a.Code())
	}
}
