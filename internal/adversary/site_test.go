package adversary

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
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
	public_url http://PLAIN https://SECURE
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

// site is a real Caddy in a process of its own, with the site that it serves and
// the provider that it asks.
type site struct {
	t *testing.T
	// plain and secure are the host:port of the site, by http and by https.
	plain, secure string
	upstream      *upstream
	provider      *simulator.Simulator
	logFile       string
	// body and providerURL make another node of the site.
	body, providerURL string
	// askedBefore is how many results the provider had been asked for when the
	// current story began.
	askedBefore int
	pid         int
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
	server := httptest.NewServer(provider)
	t.Cleanup(server.Close)
	s := newSiteAt(t, body, server.URL, servers...)
	s.provider, _ = provider.(*simulator.Simulator)
	return s
}

// newSiteAt starts one whose provider is at that address.
func newSiteAt(t *testing.T, body, providerURL string, servers ...string) *site {
	t.Helper()
	return started(t, func(s *site) {
		s.body, s.providerURL = s.fill(strings.ReplaceAll(body, "GATE", gate)), providerURL
	}, servers)
}

// started starts a site that is set up so. An address that was free may have been
// taken since: then another one is tried.
func started(t *testing.T, setUp func(*site), servers []string) *site {
	t.Helper()
	for tries := 0; ; tries++ {
		s := &site{
			t: t, plain: freeAddr(t), secure: strings.Replace(freeAddr(t), "127.0.0.1", "localhost", 1),
			upstream: newUpstream(t), logFile: filepath.Join(t.TempDir(), "caddy.log"),
		}
		setUp(s)
		serves := false
		t.Cleanup(func() { // after Caddy's end
			if serves {
				s.checkLog()
			}
		})
		err := s.start(servers)
		if serves = err == nil; serves {
			return s
		}
		if tries == 3 {
			t.Fatal(err)
		}
		t.Logf("once more, at other addresses: %v", err)
	}
}

// node starts another Caddy for the same site, whose visitors see the first one's
// addresses.
func (s *site) node(t *testing.T) *site {
	t.Helper()
	return started(t, func(n *site) { n.provider, n.body, n.providerURL = s.provider, s.body, s.providerURL }, nil)
}

func (s *site) caddyfile(servers []string) string {
	return strings.NewReplacer(
		"PROVIDER", s.providerURL, "UPSTREAM", s.upstream.addr, "SECURE", s.secure,
	).Replace(fmt.Sprintf(`{
	admin off
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	storage file_system %s
	log {
		output file %s
		level INFO
	}
	servers {
		protocols h1 h2 h2c h3
		%s
	}
}
http://:%s, https://SECURE {
	bind 127.0.0.1
	log
	%s
}
`, s.t.TempDir(), s.logFile, strings.Join(servers, "\n"), port(s.plain), s.body))
}

func port(addr string) string { return addr[strings.LastIndex(addr, ":")+1:] }

func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// start runs Caddy until the test ends, and waits until it serves.
func (s *site) start(servers []string) error {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(s.caddyfile(servers)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	binary := *caddyFile
	if binary == "" {
		binary = os.Args[0]
	}
	cmd := exec.Command(binary, "run", "--config", file, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "ADVERSARY_IS_CADDY=1", "ADVERSARY_CLIENT_SECRET="+simulator.DefaultClientSecret, "ADVERSARY_SECRET="+secretOfSite)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.pid = cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		select {
		case err := <-ended:
			ended <- err
			log, _ := os.ReadFile(s.logFile) // where there is one already
			return fmt.Errorf("Caddy ended: %w\n%s%s", err, &out, log)
		case <-tick.C:
		}
		if s.serves() {
			s.upstream.take()
			return nil
		}
	}
	return errors.New("Caddy does not serve")
}

// serves tells whether both listeners answer.
func (s *site) serves() bool {
	for _, w := range []wire{http11, http2TLS} {
		if a := w.send(s, request{method: "GET", path: "/public"}); a.status == 0 {
			return false
		}
	}
	return true
}

// log is what Caddy has logged.
func (s *site) log() string {
	text, err := os.ReadFile(s.logFile)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// checkLog searches the log for what must not be there. Each line has to be one
// that Caddy wrote itself.
func (s *site) checkLog() {
	for line := range strings.Lines(s.log()) {
		var entry struct {
			Level, Logger, Msg string
			Err                string `json:"error"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" {
			s.t.Errorf("the log holds a line of somebody else: %.200s", line)
		}
		if entry.Level == "panic" || strings.Contains(entry.Msg, "panic") {
			s.t.Errorf("Caddy panicked: %.2000s", line)
		}
		if strings.Contains(line, secretOfSite) || strings.Contains(line, simulator.DefaultClientSecret) {
			s.t.Errorf("the log holds a secret: %.500s", line)
		}
		if strings.HasPrefix(entry.Logger, "http.handlers.number_verify") && strings.Contains(strings.NewReplacer(" ", "", ".", "", "-", "").Replace(line), "6399800") {
			s.t.Errorf("the gate logs a number: %.500s", line)
		}
	}
}

// What is tried below could fail: each wire brings an honest visitor to the site.
func TestEachWireBringsAnHonestVisitorToTheSite(t *testing.T) {
	s := newSite(t, account)
	for _, w := range wires {
		t.Run(w.name, func(t *testing.T) {
			v := s.visitor(t, s.origin(w)).verify()
			s.upstream.take()
			r := request{method: "POST", path: "/account/", body: "a", fields: []string{v.cookie()}}
			if a := w.send(s, r); a.status != http.StatusOK || a.body != arrived {
				t.Errorf("%d %q", a.status, a.body)
			}
			if n := s.verified(t); n != 1 {
				t.Errorf("%d requests reached the site", n)
			}
			w.send(s, request{method: "GET", path: "/public"})
			if got := s.upstream.take(); len(got) != 1 || got[0].uri != "/public" || len(got[0].breaches(t)) > 0 {
				t.Errorf("what is open arrived as %v", got)
			}
			w.send(s, request{method: "GET", path: "/account/"})
			if got := s.upstream.take(); len(got) != 0 {
				t.Error("a stranger arrives too")
			}
		})
	}
}
