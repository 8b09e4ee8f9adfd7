package adversary

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// account is what most vectors attack: a path behind the gate, others open.
const account = `
@account path /account /account/*
number_verify @account {
	GATE
}
reverse_proxy UPSTREAM
`

// whole is a site that is all behind the gate.
const whole = `
number_verify {
	GATE
}
reverse_proxy UPSTREAM
`

// gate are the options of all gates. Limits are out of the way: they have tests
// of their own.
const gate = `
	public_url http://SITE https://SECURE
	result_wait 12s
	limits {
		number 100000 1h 100000
		client 100000 10m
	}
	verifier dqe {
		server PROVIDER
		licence ` + simulator.DefaultLicence + `
		client_secret {env.ADVERSARY_CLIENT_SECRET}
		name "` + simulator.DefaultName + `"
		timeout 2s
	}
`

// secretOfSite stands in the environment of Caddy, for those who would have it
// expanded.
const secretOfSite = "environment-of-the-site-9f2c"

// site is a Caddy in a process of its own, with the site that it serves and the
// provider that it asks.
type site struct {
	*stage.Stage
	caddy *stage.Process
	// body is what it serves, with the addresses that visitors see, to make another
	// node of it.
	body string
	// askedBefore is how many results the provider had been asked for when the
	// current story began.
	askedBefore int
}

// newSite starts one, with the simulator as provider, and options of Caddy's
// servers.
func newSite(t *testing.T, body string, servers ...string) *site {
	t.Helper()
	return newSiteOf(t, body, simulator.New(simulator.Options{PendingFor: time.Second}), servers...)
}

// newSiteOf starts one that asks that provider.
func newSiteOf(t *testing.T, body string, provider http.Handler, servers ...string) *site {
	t.Helper()
	s := &site{Stage: stage.Hostile(t, provider)}
	s.start(body, servers...)
	return s
}

// newSiteAt starts one whose provider is at that address.
func newSiteAt(t *testing.T, body, providerURL string) *site {
	t.Helper()
	s := &site{Stage: stage.Hostile(t, http.NotFoundHandler())}
	s.ProviderURL = providerURL
	s.start(body)
	return s
}

// node starts another Caddy for the same site, whose visitors see the first one's
// addresses.
func (s *site) node(t *testing.T) *site {
	t.Helper()
	n := &site{Stage: stage.Hostile(t, http.NotFoundHandler())}
	n.Provider, n.ProviderURL = s.Provider, s.ProviderURL
	n.start(s.body)
	return n
}

// start runs Caddy until the test ends, and waits until both listeners answer.
func (s *site) start(body string, servers ...string) {
	s.T.Helper()
	s.Secrets.Add(secretOfSite)
	s.LogLevel = "INFO"
	s.body = s.Fill(strings.ReplaceAll(body, "GATE", gate))
	global := "servers {\nprotocols h1 h2 h2c h3\n" + strings.Join(servers, "\n") + "\n}"
	s.caddy = s.RunWith(global, "http://:PORT, https://SECURE {\nbind 127.0.0.1\nlog\n"+s.body+"\n}\n", func() bool {
		for _, w := range []stage.Wire{stage.HTTP11, stage.HTTP2TLS} {
			if a := w.Send(s.Stage, stage.Request{Path: "/public"}); a.StatusCode == 0 {
				return false
			}
		}
		return true
	})
	s.Upstream.Take()
}

// environment is that of all Caddys.
func environment() error {
	if err := os.Setenv("ADVERSARY_CLIENT_SECRET", simulator.DefaultClientSecret); err != nil {
		return err
	}
	return os.Setenv("ADVERSARY_SECRET", secretOfSite)
}

// verified brings a visitor to an origin of the site, verified.
func (s *site) verifiedAt(t *testing.T, origin string) *stage.Visitor {
	t.Helper()
	v := s.VisitorAt(t, origin)
	verify(v)
	return v
}

// verify has a visitor be verified.
func verify(v *stage.Visitor) {
	v.T.Helper()
	if a := v.ArriveFrom(v.Callback("/account/", stage.TypedNumber)); a.StatusCode != http.StatusOK || a.Path() != "/account/" {
		v.T.Fatalf("not verified: %d %q at %s", a.StatusCode, a.Code(), a.Path())
	}
}

// begin opens the form and presses its button.
func begin(v *stage.Visitor, number, back string) *stage.Answer {
	v.T.Helper()
	v.Open("/.number-verify/")
	return v.Press(number, back)
}

// session is the visitor's session cookie, as name and value, at whichever origin.
func session(v *stage.Visitor) (name, value string) {
	v.T.Helper()
	for name, value := range v.Cookies("/") {
		if !strings.HasSuffix(name, "-browser") {
			return name, value
		}
	}
	v.T.Fatal("there is no session cookie")
	return "", ""
}

// What is tried below could fail: each wire brings an honest visitor to the site.
func TestEachWireBringsAnHonestVisitorToTheSite(t *testing.T) {
	s := newSite(t, account)
	for _, w := range stage.Wires {
		t.Run(w.Name, func(t *testing.T) {
			v := s.verifiedAt(t, s.Origin(w))
			s.Upstream.Take()
			r := stage.Request{Method: "POST", Path: "/account/", Body: "a", Fields: []string{v.CookieField()}}
			if a := w.Send(s.Stage, r); a.StatusCode != http.StatusOK || a.Body != "upstream saw POST /account/" {
				t.Errorf("%d %q", a.StatusCode, a.Body)
			}
			if n := s.verified(t); n != 1 {
				t.Errorf("%d requests reached the site", n)
			}
			w.Send(s.Stage, stage.Request{Path: "/public"})
			if got := s.Upstream.Take(); len(got) != 1 || got[0].RequestURI != "/public" || len(breaches(t, got[0])) > 0 {
				t.Errorf("what is open arrived as %v", got)
			}
			w.Send(s.Stage, stage.Request{Path: "/account/"})
			if got := s.Upstream.Take(); len(got) != 0 {
				t.Error("a stranger arrives too")
			}
		})
	}
}
