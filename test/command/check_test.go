package command_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
)

// quoted is a text of the other side, which no command may repeat.
const quoted = "text-of-the-other-side"

// configuration writes a Caddyfile with a gate and returns its name. The options of the
// verifier and of the directive come on top of those that work.
func configuration(t *testing.T, server, verifier, directive string) string {
	t.Helper()
	t.Setenv("TEST_CLIENT_SECRET", simulator.DefaultClientSecret)
	lines := map[string]string{
		"server": server, "licence": simulator.DefaultLicence, "client_secret": "{env.TEST_CLIENT_SECRET}", "name": `"` + simulator.DefaultName + `"`, "timeout": "5s",
	}
	for line := range strings.Lines(verifier) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		lines[name] = value
	}
	if lines["token"] != "" {
		delete(lines, "client_secret")
	}
	var block strings.Builder
	for name, value := range lines {
		fmt.Fprintf(&block, "\t\t\t%s %s\n", name, value)
	}
	text := fmt.Sprintf("{\n\tadmin off\n\tstorage file_system %s\n\tlog {\n\t\toutput file %s\n\t}\n}\nhttp://localhost:1 {\n\tnumber_verify {\n\t\tverifier dqe {\n%s\t\t}\n%s\n\t}\n}\n",
		t.TempDir(), filepath.Join(t.TempDir(), "none.log"), &block, directive)
	return write(t, "Caddyfile", []byte(text))
}

// safe checks that no secret, and nothing of the other side, was said.
func (s said) safe(t *testing.T) {
	t.Helper()
	s.hasNot(t, simulator.DefaultClientSecret, "TEST-TOKEN", quoted, "TK9")
}

func TestCheckOfAConfigurationThatWorks(t *testing.T) {
	sim := simulator.New(simulator.Options{})
	dqe := httptest.NewServer(sim)
	t.Cleanup(dqe.Close)
	file := configuration(t, dqe.URL, "", "cache bolt "+filepath.Join(t.TempDir(), "n.db"))
	got := run(t, "", "check", "--config", file)
	got.safe(t)
	got.has(t, 0, "ok     loading: it loads, with 1 gate.", "verifier dqe, account dqe/", "ok     connection", "ok     HTTP", "ok     token", "ok     credits", "note   name",
		"ok     clock", "cache bolt", "ok     use", "note   public_url: there is none", "Nothing is wrong.")
	got.hasNot(t, "WRONG", "DNS", "TLS")
	if calls := sim.Calls(); calls != (simulator.Calls{Token: 1}) {
		t.Errorf("it makes the calls %+v", calls)
	}
	for _, violation := range sim.Violations() {
		t.Error(violation)
	}
	var printed struct{ Findings []map[string]string }
	if err := json.Unmarshal([]byte(run(t, "", "check", "--json", "--config", file).out), &printed); err != nil || len(printed.Findings) < 6 || printed.Findings[0]["grade"] != "right" {
		t.Errorf("--json prints %v, %v", printed, err)
	}
}

// dqeThat starts a provider that answers the call for a token with what answer writes.
func dqeThat(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.URL
}

func closedPort(t *testing.T) string { return "http://" + stage.FreeAddr(t) }

func TestCheckSaysWhatIsWrongWithTheProvider(t *testing.T) {
	sim := simulator.New(simulator.Options{})
	good := httptest.NewServer(sim)
	t.Cleanup(good.Close)
	exhausted := simulator.New(simulator.Options{})
	exhausted.SetCredits(false)
	selfSigned := httptest.NewTLSServer(sim)
	t.Cleanup(selfSigned.Close)
	page := func(status int, text string) string {
		return dqeThat(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://"+quoted+".example.com/")
			w.WriteHeader(status)
			fmt.Fprint(w, text)
		})
	}
	clock := func(offset time.Duration) string {
		return dqeThat(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(offset).UTC().Format(http.TimeFormat))
			sim.ServeHTTP(w, r)
		})
	}
	refuses := func(id string) string {
		return page(200, `{"status":"error","error_id":"`+id+`","error_type":"`+quoted+`"}`)
	}
	for name, c := range map[string]struct {
		server, options string
		wants           []string
	}{
		"the secret is wrong":      {good.URL, "client_secret {env.HOME}/TEST-TOKEN", []string{"WRONG  licence and client_secret: DQE refuses them"}},
		"the licence is wrong":     {good.URL, "licence other", []string{"WRONG  licence and client_secret: DQE refuses them"}},
		"credits are exhausted":    {dqeThat(t, exhausted.ServeHTTP), "", []string{"WRONG  credits: DQE refuses, with error id 98", "buy more"}},
		"the licence, by an id":    {refuses("02"), "", []string{"WRONG  licence: DQE refuses, with error id 02", "check licence"}},
		"the secret, by an id":     {refuses("03"), "", []string{"WRONG  client_secret: DQE refuses, with error id 03"}},
		"the client, by an id":     {refuses("22"), "", []string{"WRONG  licence and client_secret: DQE refuses, with error id 22"}},
		"the scope":                {refuses("04"), "", []string{"WRONG  scope: DQE refuses, with error id 04", "numVerify"}},
		"the grant type":           {refuses("31"), "", []string{"WRONG  grant type"}},
		"an id that is not known":  {refuses("77"), "", []string{"WRONG  token: DQE refuses, with error id 77", "ask DQE what"}},
		"DQE is down":              {page(500, quoted), "", []string{"WRONG  token: there is none: HTTP status 500"}},
		"it is a web server":       {page(200, "<html>"+quoted), "", []string{"WRONG  DQE: something answers, but not as DQE does: HTTP status 200", "another web server"}},
		"it is a web server's 404": {page(404, quoted), "", []string{"WRONG  DQE: something answers, but not as DQE does: HTTP status 404"}},
		"it redirects":             {page(302, quoted), "", []string{"WRONG  DQE:", "sends callers elsewhere"}},
		"a proxy wants a password": {page(407, quoted), "", []string{"WRONG  DQE:", "a proxy in between"}},
		"an empty token":           {page(200, `{"access_token":""}`), "", []string{"WRONG  DQE:"}},
		"self-signed":              {selfSigned.URL, "", []string{"ok     connection", "WRONG  TLS: the server's certificate comes from an authority that this machine does not know"}},
		"TLS on a port without":    {strings.Replace(good.URL, "http:", "https:", 1), "", []string{"WRONG  TLS: the server does not speak TLS on this port"}},
		"the port is closed":       {closedPort(t), "", []string{"WRONG  connection: the connection is refused"}},
		"the host is not known":    {"https://dqe.invalid", "", []string{"WRONG  DNS: "}},
		"it hangs": {dqeThat(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}), "timeout 200ms", []string{"WRONG  connection: there is no answer in time"}},
		"it hangs up":               {dqeThat(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "", []string{"WRONG  connection: the connection is c"}},
		"the clock is ahead":        {clock(-2 * time.Hour), "", []string{"ok     token", "WRONG  clock: this machine's is 2h0m", "ahead of DQE's", "NTP"}},
		"the clock is behind":       {clock(90 * time.Second), "", []string{"WRONG  clock: this machine's is 1m", "behind DQE's"}},
		"there is no static token":  {good.URL, "token {env.NOTHING_AT_ALL}", []string{"WRONG  token: the option token yields nothing"}},
		"the server is not written": {"dqe.example.com", "", []string{"WRONG  loading:", "server is no address"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, "", "check", "--config", configuration(t, c.server, c.options, ""))
			got.safe(t)
			got.has(t, 1, append(c.wants, "\n1 thing is wrong.")...)
			if got.err != "" {
				t.Errorf("it says more: %s", got.err)
			}
		})
	}
	got := run(t, "", "check", "--config", configuration(t, good.URL, "token {env.HOME}TEST-TOKEN", ""))
	got.safe(t)
	got.has(t, 0, "note   token: there is one from elsewhere", "ok     clock")
}

// certificate returns a certificate for loopback, changed, and the file of the authority
// that it comes from.
func certificate(t *testing.T, change func(*x509.Certificate)) (pair tls.Certificate, authority string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	change(made)
	der, err := x509.CreateCertificate(rand.Reader, made, made, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		write(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestCheckTellsCertificatesApart(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		status int
		wants  string
	}{
		"valid":            {func(*x509.Certificate) {}, 0, "ok     TLS"},
		"expired":          {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, 1, "WRONG  TLS: the server's certificate has expired"},
		"not valid yet":    {func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, 1, "WRONG  TLS: the server's certificate has expired, or is not valid yet"},
		"for another name": {func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{quoted + ".example.com"} }, 1, "WRONG  TLS: the server's certificate is for another name"},
	} {
		t.Run(name, func(t *testing.T) {
			pair, authority := certificate(t, c.change)
			dqe := httptest.NewUnstartedServer(simulator.New(simulator.Options{}))
			dqe.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
			dqe.StartTLS()
			t.Cleanup(dqe.Close)
			t.Setenv("SSL_CERT_FILE", authority) // read once in each process
			got := process(t, nil, "check", "--config", configuration(t, dqe.URL, "", ""))
			got.safe(t)
			got.has(t, c.status, c.wants)
		})
	}
}

func TestCheckOfTheAddressThatVisitorsComeBackTo(t *testing.T) {
	s := stage.New(t, simulator.Options{})
	s.Load(`http://SITE {
		number_verify /account* {
			VERIFIER
			public_url http://SITE
		}
		respond "the site"
	}`)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"status":"`+quoted+`"}`) }))
	t.Cleanup(other.Close)
	for name, c := range map[string]struct {
		options string
		status  int
		wants   []string
	}{
		"this gate":         {"public_url " + s.URL(""), 0, []string{"note   " + s.URL("") + ": is on loopback", "ok     " + s.URL("") + ": visitors come back"}},
		"another path":      {"public_url " + s.URL("") + "\n path /verify", 1, []string{"not this gate: HTTP status 200", "another route answers /verify"}},
		"another server":    {"public_url " + other.URL, 1, []string{"WRONG  " + other.URL + ": something answers there, but not this gate"}},
		"nobody":            {"public_url " + closedPort(t), 1, []string{"cannot be reached from here (connection)", "Caddy does not run"}},
		"one of two":        {"public_url " + s.URL("") + " " + other.URL, 1, []string{"ok     " + s.URL(""), "WRONG  " + other.URL}},
		"a name of nobody":  {"public_url https://www.example.invalid", 1, []string{"cannot be reached from here (DNS)"}},
		"http for visitors": {"public_url http://www.example.invalid", 1, []string{"is not https"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := process(t, nil, "check", "--config", configuration(t, s.ProviderURL, "", c.options))
			got.safe(t)
			got.has(t, c.status, c.wants...)
		})
	}
}

func TestCheckOfCaches(t *testing.T) {
	dqe := httptest.NewServer(simulator.New(simulator.Options{}))
	t.Cleanup(dqe.Close)
	dir := t.TempDir()
	used := write(t, "used.db", []byte("not looked at"))
	readOnly := write(t, "readonly.db", nil)
	if err := os.Chmod(readOnly, 0o400); err != nil {
		t.Fatal(err)
	}
	server := redistest.Start(t)
	locked := redistest.Start(t, "--requirepass", "TEST-TOKEN")
	for name, c := range map[string]struct {
		cache  string
		status int
		wants  string
	}{
		"memory":                  {"memory", 0, "there is nothing to check"},
		"a file of a running one": {"bolt " + used, 0, "ok     use"},
		"a new file":              {"bolt " + filepath.Join(dir, "new.db"), 0, "ok     use"},
		"no directory":            {"bolt " + filepath.Join(dir, "none", "new.db"), 1, "make its directory first"},
		"a directory":             {"bolt " + dir, 1, "this is a directory"},
		"a read-only file":        {"bolt " + readOnly, 1, "the file is read-only"},
		"redis":                   {"redis " + server.Addr, 0, "ok     use"},
		"redis that is down":      {"redis " + stage.FreeAddr(t), 1, "connection refused: start the server"},
		"redis with a password":   {"redis " + locked.Addr, 1, "the server wants a password"},
		"a wrong password":        {"redis " + locked.Addr + " {\n password wrong\n }", 1, "username or password is wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, "", "check", "--config", configuration(t, dqe.URL, "", "cache "+c.cache))
			got.safe(t)
			got.has(t, c.status, c.wants)
		})
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("it leaves %v, %v", entries, err)
	}
	if text, err := os.ReadFile(used); err != nil || string(text) != "not looked at" {
		t.Errorf("it changes the file: %q, %v", text, err)
	}
}

func TestCheckOfAConfigurationWithoutAGate(t *testing.T) {
	run(t, "", "check", "--config", write(t, "Caddyfile", []byte("http://localhost:1 {\n}\n"))).has(t, 1, "WRONG  loading", "no site has number_verify")
	run(t, "", "check", "--config", "/none").has(t, 1, "WRONG  loading", "no such file")
	t.Chdir(t.TempDir())
	run(t, "", "check").has(t, 1, "name the configuration with --config")
}

// TestCheckOfAGateWhosePagesNobodyCanReach: validating does not find it.
func TestCheckOfAGateWhosePagesNobodyCanReach(t *testing.T) {
	dqe := httptest.NewServer(simulator.New(simulator.Options{}))
	t.Cleanup(dqe.Close)
	t.Setenv("TEST_CLIENT_SECRET", simulator.DefaultClientSecret)
	file := write(t, "Caddyfile", fmt.Appendf(nil, "http://localhost:1 {\n\thandle /account/* {\n\t\tnumber_verify {\n\t\t\tverifier dqe {\n\t\t\t\tserver %s\n\t\t\t\tlicence %s\n\t\t\t\tclient_secret {env.TEST_CLIENT_SECRET}\n\t\t\t\tname \"%s\"\n\t\t\t}\n\t\t}\n\t}\n}\n",
		dqe.URL, simulator.DefaultLicence, simulator.DefaultName))
	run(t, "", "check", "--config", file).has(t, 1, "WRONG  endpoints: number_verify", "path /account/.number-verify")
}
