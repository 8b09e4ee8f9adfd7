package acceptance_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

const onLoggedPaths = `http://SITE {
	number_verify /account* {
		public_url http://SITE
		limits {
			number 1 1h 1
		}
		VERIFIER
	}
	number_verify /known* {
		public_url http://SITE
		path /known/nv
		number {http.request.header.X-User-Phone}
		VERIFIER
	}
	number_verify /errors* {
		public_url http://SITE
		path /errors/nv
		number {http.request.header.X-User-Phone}
		pass_errors
		VERIFIER
	}
	reverse_proxy UPSTREAM
}`

func TestEachMistakeOfAVisitorStandsInTheLogOnce(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(onLoggedPaths)
	form := func(number string) url.Values { return url.Values{"number": {number}} }
	ready := func() *stage.Visitor {
		b := w.Visitor()
		b.Open("/.number-verify/")
		return b
	}
	unknown := strings.Repeat("A", 43)
	for _, c := range []struct {
		name, code string
		attempt    bool
		do         func()
	}{
		{"no number", "number_invalid", false, func() { ready().Post("/.number-verify/start", form("12")) }},
		{"a number from elsewhere", "number_unsupported", false, func() { ready().Post("/.number-verify/start", form("+1 202 555 0100")) }},
		{"no cookie", "cookies_required", false, func() { w.Visitor().Post("/.number-verify/start", form("06 39 98 00 01")) }},
		{"another site", "cross_origin", false, func() {
			b := ready()
			r := b.Request(http.MethodPost, "/.number-verify/start", strings.NewReader("number=1"))
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			b.Do(r)
		}},
		{"a callback without a nonce", "attempt_unknown", false, func() { ready().Open("/.number-verify/callback") }},
		{"an unknown callback", "attempt_unknown", true, func() { ready().Open("/.number-verify/callback?state=" + unknown) }},
		{"an unknown wait page", "attempt_unknown", true, func() { ready().Open("/.number-verify/wait/" + unknown[:22]) }},
		{"a wait page that is none", "attempt_unknown", false, func() { ready().Open("/.number-verify/wait/x") }},
		{"another's callback", "browser_mismatch", true, func() {
			b := ready()
			callback := b.Callback("/account/", "06 39 98 00 09")
			w.Visitor().Open(callback)
		}},
		{"another's wait page", "browser_mismatch", true, func() {
			b := ready()
			wait := b.Open(b.Callback("/account/", "06 39 98 00 04")).Location()
			ready().Open(wait)
		}},
		{"a number that nobody knows", "number_unknown", false, func() { w.Visitor().Open("/known/") }},
		{"the form of such a number", "number_unknown", false, func() { w.Visitor().Open("/known/nv/") }},
		{"the same, for the site's own pages", "number_unknown", false, func() { w.Visitor().Fetch("/errors/") }},
		{"a stranger's page load", "", false, func() { w.Visitor().Open("/account/") }},
		{"a stranger's script", "", false, func() { w.Visitor().Fetch("/account/") }},
		{"the page of a problem", "", false, func() { w.Visitor().Open("/.number-verify/problem/attempt_unknown") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(w.Entries("visitor refused"))
			c.do()
			got := w.Entries("visitor refused")[before:]
			if c.code == "" {
				if len(got) != 0 {
					t.Errorf("logged: %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Level != "debug" || got[0].Code != c.code || got[0].Client != "127.0.0.0/24" || (got[0].Attempt != "") != c.attempt {
				t.Errorf("logged: %+v", got)
			}
		})
	}
	burned := w.Entries("attempt burned")
	if len(burned) != 1 || burned[0].Code != "browser_mismatch" {
		t.Errorf("burned: %+v", burned)
	}
}

func TestLogTellsOfAnAttemptFromItsStartToItsEndWhereItComesFrom(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(onLoggedPaths)
	w.Visitor().ArrivesAt("/account/")
	w.Visitor().Verify("/account/", "06 39 98 00 02")
	w.Visitor().Verify("/account/", "06 39 98 00 02") // past the limit
	count := map[string]int{"attempt started": 2, "verified": 1, "not verified": 1, "start refused by a limit": 1}
	attempts := make(map[string]int)
	for msg, want := range count {
		got := w.Entries(msg)
		if len(got) != want {
			t.Errorf("%s: %d times, want %d", msg, len(got), want)
		}
		for _, e := range got {
			if e.Client != "127.0.0.0/24" {
				t.Errorf("%s: the client is %q", msg, e.Client)
			}
			if e.Attempt != "" {
				attempts[e.Attempt]++
			}
			if (msg == "not verified" && e.Code != "number_mismatch") || (msg == "start refused by a limit" && e.Code != "rate_limited") {
				t.Errorf("%s: the code is %q", msg, e.Code)
			}
		}
	}
	for attempt, lines := range attempts {
		if lines != 2 || len(attempts) != 2 {
			t.Errorf("attempt %s has %d lines of %d attempts", attempt, lines, len(attempts))
		}
	}
}
