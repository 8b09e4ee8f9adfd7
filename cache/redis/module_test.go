package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap/zaptest"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/test/manual"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
)

// provisioned reads input as it follows the word cache in a Caddyfile.
func provisioned(t *testing.T, input string) (*Module, error) {
	t.Helper()
	d := caddyfile.NewTestDispenser("cache " + input)
	d.Next()
	d.NextArg()
	module, err := caddyfile.UnmarshalModule(d, "http.number_verify.caches."+d.Val())
	if err != nil {
		return nil, err
	}
	m := module.(*Module)
	return m, m.Provision(caddy.Context{})
}

// TestDefaultsOfTheDocumentationAreThoseOfTheCode sets each option to the default that
// docs/configuration.md states. That must change nothing.
func TestDefaultsOfTheDocumentationAreThoseOfTheCode(t *testing.T) {
	with := func(line string) Options {
		m, err := provisioned(t, "redis localhost {\n"+line+"\n}")
		if err != nil {
			t.Fatal(err)
		}
		o := m.opts.withDefaults()
		o.Now = nil // a function, which compares with nothing
		return o
	}
	if stated := manual.CheckDefaults(t, "## cache redis", with); stated < 4 {
		t.Errorf("the documentation tells %d defaults", stated)
	}
}

// opens opens the cache and uses it once.
func opens(t *testing.T, input string) error {
	t.Helper()
	m, err := provisioned(t, input)
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Open(zaptest.NewLogger(t), cachetest.Codec{})
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Put(t.Context(), sessionKey, sessionRecord())
}

func TestOptionsAreResolved(t *testing.T) {
	t.Setenv("REDIS_TEST_PASSWORD", "the-password")
	t.Setenv("REDIS_TEST_SECRET", "the-secret-of-the-cache")
	t.Setenv("REDIS_TEST_HOST", "redis.example.com")
	m, err := provisioned(t, `redis {env.REDIS_TEST_HOST} [::1]:7000 {
		username caddy
		password {env.REDIS_TEST_PASSWORD}
		prefix   shop:
		timeout  100ms
		stale_if_error 3s
		secret   {env.REDIS_TEST_SECRET} the-previous-secret
		tls
	}`)
	if err != nil {
		t.Fatal(err)
	}
	o := m.opts
	if o.Addresses[0] != "redis.example.com:6379" || o.Addresses[1] != "[::1]:7000" || o.Username != "caddy" || o.Password != "the-password" ||
		o.Prefix != "shop:" || o.Timeout != 100*time.Millisecond || o.StaleIfError != 3*time.Second || o.TLS == nil || !slices.Equal(m.Secrets(), []string{"the-secret-of-the-cache", "the-previous-secret"}) {
		t.Errorf("the options are %+v, the secrets %q", o, m.Secrets())
	}
	if strings.Contains(m.StoreName(), "the-password") || m.Password != "{env.REDIS_TEST_PASSWORD}" {
		t.Error("the password is where it may be logged")
	}
	if _, err := provisioned(t, "redis localhost {\n\tpassword {env.REDIS_TEST_MISSING}\n}"); err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("an empty placeholder: %v", err)
	}
}

// Braces in a prefix would decide on which node a Cluster keeps the keys. They are
// refused wherever they come from.
func TestPrefixWithBracesIsRefused(t *testing.T) {
	t.Setenv("REDIS_TEST_BRACES", "with-{braces}")
	for _, test := range []struct{ name, option, value, says string }{
		{"empty braces", "prefix", "{}", "write 'prefix shop:'"},
		{"braces", "prefix", "{shop}:", "write 'prefix shop:'"},
		{"one brace", "prefix", "shop}:", "write 'prefix shop:'"},
		{"braces beside a placeholder", "prefix", "{env.HOME}{}", "write 'prefix shop:'"},
		{"braces out of a placeholder", "prefix", "{env.REDIS_TEST_BRACES}", "write 'prefix shop:'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := provisioned(t, "redis localhost {\n\tdb 0\n\t"+test.option+" "+test.value+"\n}")
			if err == nil || !strings.Contains(err.Error(), "cache redis: "+test.option) || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "with-") {
				t.Errorf("Caddyfile: %v", err)
			}
			if resolved := strings.Contains(test.value, "REDIS_TEST"); err != nil && strings.Contains(err.Error(), "Testfile:3") == resolved {
				t.Errorf("Caddyfile: %v: the line", err)
			}
			text, _ := json.Marshal(map[string]any{"addresses": []string{"localhost"}, test.option: test.value})
			var m Module
			must(t, json.Unmarshal(text, &m))
			if err := m.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), "cache redis: "+test.option) {
				t.Errorf("JSON: %v", err)
			}
		})
	}
	if _, err := provisioned(t, "redis localhost {\n\tprefix {system.os}:{env.HOME}:\n}"); err != nil {
		t.Error(err)
	}
}

// Modules share a store only if all of their settings are equal.
func TestStoresAreToldApart(t *testing.T) {
	names := make(map[string]string)
	for _, input := range []string{
		"redis localhost", "redis localhost:6380", "redis localhost {\n\tdb 1\n}", "redis localhost {\n\tpassword a\n}",
		"redis localhost {\n\tpassword b\n}", "redis localhost {\n\tprefix a:\n}", "redis localhost {\n\ttls\n}", "redis localhost {\n\ttimeout 1s\n}",
	} {
		m, err := provisioned(t, input)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := names[m.StoreName()]; ok {
			t.Errorf("%q and %q share a store", input, other)
		}
		names[m.StoreName()] = input
	}
	one, _ := provisioned(t, "redis localhost {\n\tsecret one-secret-of-the-cache\n}")
	other, _ := provisioned(t, "redis localhost {\n\tsecret other-secret-of-the-cache one-secret-of-the-cache\n}")
	if one.StoreName() != other.StoreName() {
		t.Error("another secret is another store")
	}
}

func TestServerThatRefusesIsAnErrorThatSaysWhatToDo(t *testing.T) {
	server := redistest.Start(t)
	server.Do(t, "ACL", "SETUSER", "caddy", "on", ">the-password", "~*", "+@all")
	locked := redistest.Start(t, "--requirepass", "the-password")
	tests := map[string]struct{ input, says string }{
		"no password":      {"redis " + locked.Addr, "add 'password"},
		"wrong password":   {"redis " + server.Addr + " {\n\tusername caddy\n\tpassword another\n}", "username or password is wrong"},
		"no such db":       {"redis " + server.Addr + " {\n\tdb 99\n}", "no such db"},
		"not a cluster":    {"redis " + server.Addr + " " + server.Addr, "name one server alone"},
		"not allowed much": {"redis " + server.Addr + " {\n\tusername few\n\tpassword the-password\n}", "tracking"},
		"not told of ends": {"redis " + server.Addr + " {\n\tusername deaf\n\tpassword the-password\n}", "tracking"},
	}
	server.Do(t, "ACL", "SETUSER", "deaf", "on", ">the-password", "~*", "+@all", "-client|caching")
	server.Do(t, "ACL", "SETUSER", "few", "on", ">the-password", "~*", "+@read", "+hello", "+auth")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := opens(t, test.input)
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "the-password") {
				t.Errorf("Open: %v, want %q", err, test.says)
			}
		})
	}
}

// With the access rules of docs/storage.md the server denies no command.
func TestAccessRulesOfTheDocumentation(t *testing.T) {
	rules := regexp.MustCompile(`ACL SETUSER caddy on >… (.+)`).FindStringSubmatch(manual.Page(t, "docs/storage.md"))
	if rules == nil {
		t.Fatal("docs/storage.md has no access rules")
	}
	server := redistest.Start(t)
	server.Do(t, append([]string{"ACL", "SETUSER", "caddy", "on", ">the-password"}, strings.Fields(rules[1])...)...)
	c := node(t, Options{Username: "caddy", Password: "the-password", Timeout: 5 * time.Second}, server)
	useAll(t, c)
	if denied := server.Do(t, "ACL", "LOG"); denied != "" {
		t.Errorf("denied: %s", denied)
	}
}

// useAll calls every method.
func useAll(t *testing.T, c *Cache) {
	t.Helper()
	must(t, c.Put(t.Context(), sessionKey, sessionRecord()))
	holds(t, c, sessionKey)
	must(t, c.Replace(t.Context(), key(1, "other"), nil, sessionRecord()))
	old, err := c.Get(t.Context(), sessionKey)
	must(t, err)
	used := *old
	must(t, c.Replace(t.Context(), sessionKey, old, &used))
	_, err = c.Find(t.Context(), sessionRecord().Tags[0])
	must(t, err)
	_, err = c.Label(t.Context(), sessionKey.Ref())
	must(t, err)
	must(t, c.Walk(t.Context(), func(cache.Ref) error { return nil }))
	_, err = c.Sessions(t.Context())
	must(t, err)
	_, err = c.Total(t.Context(), limits()[0])
	must(t, err)
	counted, err := c.Count(t.Context(), limits())
	must(t, err)
	must(t, c.Uncount(t.Context(), counted))
	_, err = c.Count(t.Context(), limits())
	must(t, err)
	must(t, c.Delete(t.Context(), sessionKey.Ref()))
}

func TestTLSWithCertificatesOfAnAuthorityOfOnesOwn(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	writeCertificates(t, dir)
	server := redistest.New(t)
	server.Args("--port", "0", "--tls-port", server.Port, "--tls-cert-file", file("server.pem"), "--tls-key-file", file("server.key"),
		"--tls-ca-cert-file", file("ca.pem"), "--tls-auth-clients", "yes")
	server.Start(t)
	name := func() string {
		m, err := provisioned(t, "redis "+server.Addr+" {\n\ttls {\n\tca "+file("ca.pem")+"\n}\n}")
		must(t, err)
		return m.StoreName()
	}
	before := name()
	own := "\n\tcertificate " + file("client.pem") + " " + file("client.key")
	if err := opens(t, "redis "+server.Addr+" {\n\ttls {\n\tca "+file("ca.pem")+own+"\n}\n}"); err != nil {
		t.Errorf("with the authority and a certificate: %v", err)
	}
	if err := opens(t, "redis "+server.Addr+" {\n\ttls {"+own+"\n}\n}"); err == nil || !strings.Contains(err.Error(), "name its authority") {
		t.Errorf("without the authority: %v", err)
	}
	if err := opens(t, "redis "+server.Addr+" {\n\ttls {\n\tserver_name redis.example.com\n\tca "+file("ca.pem")+own+"\n}\n}"); err == nil {
		t.Error("a certificate for another name is accepted")
	}
	if err := opens(t, "redis "+server.Addr+" {\n\ttls {\n\tca "+file("ca.pem")+"\n}\n}"); err == nil {
		t.Error("the server takes a client without a certificate")
	}
	writeCertificates(t, dir)
	if name() == before {
		t.Error("a renewed certificate is not used after a reload")
	}
}

// writeCertificates writes an authority, and the server's and a client's
// certificates that come from it.
func writeCertificates(t *testing.T, dir string) {
	t.Helper()
	var authority *x509.Certificate
	var authorityKey *ecdsa.PrivateKey
	for i, name := range []string{"ca", "server", "client"} {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: i == 0, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		}
		if i == 0 {
			authority, authorityKey = template, own
		}
		der, err := x509.CreateCertificate(rand.Reader, template, authority, &own.PublicKey, authorityKey)
		must(t, err)
		private, err := x509.MarshalPKCS8PrivateKey(own)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
		must(t, os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	}
}
