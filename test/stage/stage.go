// Package stage sets up tests of a whole gate: a real Caddy, a site behind it that
// records its requests, the simulator as provider, and visitors, all on loopback.
// When a test ends, the logs and the answers are searched for secrets.
//
//	s := stage.New(t, simulator.Options{})
//	s.Load(`http://SITE {
//		number_verify /account/* {
//			VERIFIER
//		}
//		reverse_proxy UPSTREAM
//	}`)
//	s.Visitor().ArrivesAt("/account/")
//
// Where to look: this file for Caddy in the process of the test, process.go and
// fleet.go for Caddys in processes of their own, visitor.go for browsers that
// behave, with cookies.go and answer.go, transport.go for how their requests travel,
// wire.go for requests that no browser sends, upstream.go for the site, metrics.go for
// what Prometheus is told, terminal.go for people at a terminal, leaks.go for the search after each test. repository.go finds
// the Caddyfiles of the repository, address.go finds free ports.
//
// Packages below: redistest has real Redis servers, guest has modules of third
// parties, port has ports for servers of other makes, wait waits for real time.
package stage

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

// Stage is a site, its provider, and the addresses at which a Caddy serves it.
type Stage struct {
	// T is told of failures.
	T testing.TB
	// Provider is the simulator; nil where the test brings another provider.
	Provider    *simulator.Simulator
	ProviderURL string
	Upstream    *Upstream
	// Addr is the host:port of the site by http, Secure the one by https.
	Addr, Secure string
	// LogFile is where Caddy logs, at LogLevel.
	LogFile, LogLevel string
	// MayPanic says that the test has the gate log panics.
	MayPanic bool

	Secrets secrets
	// isWatched says that visitors are honest, so that their cookies are secret.
	isWatched bool
	// nodeLogs are the logs of Caddys in other processes.
	nodeLogs, alsoSearched []string
	// loads counts how often Caddy was loaded in this process.
	loads atomic.Int32
}

// New sets up a stage whose provider is the simulator. Numbers, tokens, nonces and
// the cookies of visitors are secret. It sets TEST_CLIENT_SECRET, which VERIFIER
// names.
func New(t testing.TB, options simulator.Options) *Stage {
	t.Helper()
	s := set(t)
	s.isWatched = true
	s.Secrets.addNumbers()
	t.Setenv("TEST_CLIENT_SECRET", simulator.DefaultClientSecret)
	operatorURL := options.OperatorURL
	options.OperatorURL = func(operator, redirectURI, token string) string {
		s.Secrets.Add(token, operator[strings.LastIndex(operator, "/")+1:], Parameter(redirectURI, "state"))
		if operatorURL != nil {
			return operatorURL(operator, redirectURI, token)
		}
		return operator
	}
	s.provide(simulator.New(options))
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
		for _, violation := range s.Provider.Violations() {
			t.Errorf("the provider's protocol was violated: %s", violation)
		}
	})
	return s
}

// Hostile sets up a stage on which visitors and the provider may send any text. Besides
// the client secret, only values that the test adds to Secrets are secret.
func Hostile(t testing.TB, provider http.Handler) *Stage {
	t.Helper()
	s := set(t)
	s.provide(provider)
	return s
}

func set(t testing.TB) *Stage {
	t.Helper()
	s := &Stage{
		T: t, Upstream: newUpstream(t), LogFile: filepath.Join(t.TempDir(), "caddy.log"), LogLevel: "DEBUG",
		Addr: FreeAddr(t), Secure: "localhost:" + Port(FreeAddr(t)),
	}
	s.Secrets.Add(simulator.DefaultClientSecret)
	t.Cleanup(s.verifyNothingLeaked)
	return s
}

func (s *Stage) provide(provider http.Handler) {
	server := httptest.NewServer(provider)
	s.T.Cleanup(server.Close)
	s.ProviderURL = server.URL
	s.Provider, _ = provider.(*simulator.Simulator)
}

// URL is the site's address, by http, with a path.
func (s *Stage) URL(path string) string { return "http://" + s.Addr + path }

// Fill puts the addresses of the site, SITE and SECURE, into a text.
func (s *Stage) Fill(text string) string {
	return strings.NewReplacer("SITE", s.Addr, "SECURE", s.Secure).Replace(text)
}

// Expand fills in SITE, SECURE, UPSTREAM, PROVIDER, PORT (the port of SITE) and
// VERIFIER, a whole block with a timeout long enough for a busy machine.
func (s *Stage) Expand(caddyfile string) string {
	return strings.NewReplacer(
		"VERIFIER", `verifier dqe {
			server `+s.ProviderURL+`
			licence `+simulator.DefaultLicence+`
			client_secret {env.TEST_CLIENT_SECRET}
			name "`+simulator.DefaultName+`"
			timeout 20s
		}`,
		"PROVIDER", s.ProviderURL, "UPSTREAM", s.Upstream.Addr,
		"SITE", s.Addr, "SECURE", s.Secure, "PORT", Port(s.Addr),
	).Replace(caddyfile)
}

// logSettings are the log settings of the documentation, with gaps for the file and the
// level.
const logSettings = `log {
		output file %s
		level %s
		format filter {
			wrap json
			fields {
				request>headers>X-Verified-Number delete
				request>headers>X-Phone-Number delete
				request>headers>X-Phone delete
				request>headers>X-Test-Login delete
				request>headers>X-User-Phone delete
				request>headers>X-Forwarded-Uri delete
				headers>X-User-Phone delete
				request>uri query {
					delete state
					delete token
				}
				uri query {
					delete state
					delete token
				}
				resp_headers>Location delete
			}
		}
	}`

// caddyfile returns a whole Caddyfile, expanded. Caddy then has only the given admin
// endpoint, writes nothing outside the test's folder, and logs to logFile unless global
// configures another log.
func (s *Stage) caddyfile(admin, logFile, global, sites string) string {
	log := ""
	if !strings.Contains(global, "log {") {
		log = fmt.Sprintf(logSettings, logFile, s.LogLevel)
	}
	return s.Expand(fmt.Sprintf(`{
	admin %s
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	storage file_system %s
	%s
	%s
}
%s`, admin, s.T.TempDir(), log, global, sites))
}

// Load starts Caddy in this process with sites, or reloads it. The text is expanded.
func (s *Stage) Load(sites string) {
	s.T.Helper()
	s.LoadWith("", sites)
}

// LoadWith is Load with more global options.
func (s *Stage) LoadWith(global, sites string) {
	s.T.Helper()
	if err := s.TryLoad(global, sites); err != nil {
		s.T.Fatalf("loading the configuration: %v", err)
	}
}

// TryLoad is LoadWith, but returns the error if Caddy refuses the configuration.
func (s *Stage) TryLoad(global, sites string) error {
	config, err := Adapt(s.caddyfile("off", s.LogFile, global, sites))
	if err != nil {
		return err
	}
	s.loads.Add(1)
	return caddy.Load(config, true)
}

// Stop ends Caddy, which writes out its logs. Load starts it again.
func (s *Stage) Stop() {
	s.T.Helper()
	if err := caddy.Stop(); err != nil {
		s.T.Fatal(err)
	}
}

// Adapt returns the JSON of a Caddyfile. Errors call the file "Caddyfile".
func Adapt(caddyfile string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// Validate does what caddy validate does with a JSON configuration.
func Validate(config []byte) error {
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
		return err
	}
	return caddy.Validate(&parsed)
}

// Parameter returns a query parameter of an address; "" if there is none.
func Parameter(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}

// FreshToken fetches a new token from the provider, for an attempt by hand.
func (s *Stage) FreshToken() string {
	s.T.Helper()
	resp, err := http.PostForm(s.ProviderURL+"/ACCESS_TOKEN/", url.Values{
		"licence": {simulator.DefaultLicence}, "client_secret": {simulator.DefaultClientSecret}, "grant_type": {"client_idmobile"},
	})
	if err != nil {
		s.T.Fatal(err)
	}
	_ = resp.Body.Close()
	attempts := s.Provider.Attempts()
	return attempts[len(attempts)-1].Token
}

// Starts returns how many starts have reached the provider.
func (s *Stage) Starts() int { return s.Provider.Calls().Start }
