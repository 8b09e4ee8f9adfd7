package numberverify_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

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

// thief is another browser with a session that is not its own.
func (w *world) thief(session, name string) *browser {
	thief := w.browser()
	thief.client.Jar.SetCookies(thief.request("GET", "/", nil).URL, []*http.Cookie{{Name: name, Value: session, Path: "/"}})
	return thief
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
