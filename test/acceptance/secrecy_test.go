package acceptance_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// blockedLastHop is a stranger's attack where an operator shows redirect_uri to
// whoever fetches his first page. The stranger starts an attempt for the victim's
// number, and has the victim's phone load the operator's link as an image, by a
// page whose Content-Security-Policy blocks the callback: the SIM is recognised,
// nobody comes back, nothing burns. Then he reads the nonce without any SIM, and
// comes back himself.
func blockedLastHop(t *testing.T, options string) (w *stage.Stage, end *stage.Answer) {
	t.Helper()
	var sent atomic.Value // redirect_uri
	first := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, r.URL.Query().Get("to")+"?redirect_uri="+url.QueryEscape(sent.Load().(string)), http.StatusFound)
	}))
	t.Cleanup(first.Close)
	w = stage.New(t, simulator.Options{OperatorURL: func(operator, redirectURI, _ string) string {
		sent.Store(redirectURI)
		return first.URL + "/?to=" + url.QueryEscape(operator)
	}})
	w.Load(`http://SITE {
		number_verify /account* {
			public_url http://SITE
			verifier dqe {
				server PROVIDER
				licence ` + simulator.DefaultLicence + `
				client_secret {env.TEST_CLIENT_SECRET}
				name "` + simulator.DefaultName + `"
				` + options + `
			}
		}
		reverse_proxy UPSTREAM
	}`)
	stranger, victim := w.Visitor(), w.Visitor()
	link := stranger.Start("/account/", "06 39 98 00 01").Location()
	if blocked := victim.Open(victim.Open(link).Location()); blocked.StatusCode != http.StatusFound || stage.Parameter(blocked.Location(), "state") == "" {
		t.Fatalf("the victim's SIM is not recognised: %d", blocked.StatusCode)
	}
	shown, err := url.Parse(stranger.Open(link).Location())
	if err != nil {
		t.Fatal(err)
	}
	return w, stranger.Arrive(stranger.Open(shown.Query().Get("redirect_uri")))
}

// This is a limit and not a defence: it stays open as long as an operator does so.
func TestLimitThatWhereAnOperatorShowsTheCallbackTheNonceIsNoSecretAndNothingBurns(t *testing.T) {
	w, end := blockedLastHop(t, "")
	got := w.Upstream.Take()
	if end.Request.URL.Path != "/account/" || len(got) != 1 || got[0].Header.Get("X-Verified-Number") != "+33639980001" {
		t.Errorf("the stranger ends at %s %q: if this is defended now, tell so in README and docs/security.md", end.Request.URL.Path, end.Code())
	}
}

func TestOperatorWhoShowsTheCallbackButNotTheTokenIsNoHelpWhereTheTokenIsRequired(t *testing.T) {
	w, end := blockedLastHop(t, "callback_token require")
	if end.Code() != "browser_mismatch" || len(w.Upstream.Take()) != 0 || w.Provider.Calls().Result != 0 {
		t.Errorf("the stranger ends at %s %q", end.Request.URL.Path, end.Code())
	}
}
