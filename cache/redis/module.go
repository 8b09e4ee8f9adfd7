package redis

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/option"
)

func init() {
	caddy.RegisterModule(&Module{})
}

const (
	defaultPort = "6379"
	maxStale    = 10 * time.Second
)

// Module keeps attempts, sessions and limits in Redis or Valkey, so that several
// Caddy nodes share them: a visitor may come back to another node than the one
// that sent them off, and a sign-out ends the session on all. The server must be
// Redis 6 or newer, or Valkey; alone or a Cluster. The records in it are sealed
// with keys that only the visitors' cookies yield.
//
// Caddy starts while the server is down. Until it answers, requests that need it
// get `cache_unavailable`. The server should not evict keys (`maxmemory-policy
// noeviction`): whoever loses a session has to verify the number again.
type Module struct {
	// The server's `host:port`, or those of some nodes of a Cluster, which names
	// the others. The port may be left out: 6379. Required.
	Addresses []string `json:"addresses,omitempty"`

	// The user to log in as (ACL). Default: the server's default user.
	Username string `json:"username,omitempty"`

	// The password, best as `{env.REDIS_PASSWORD}`. Default: none.
	Password string `json:"password,omitempty"`

	// The database number; a Cluster has just 0. Default: 0.
	DB int `json:"db,omitempty"`

	// Connects by TLS. Default: no TLS.
	TLS *TLS `json:"tls,omitempty"`

	// The beginning of every key, so that several sites can share a server.
	// Nodes with the same prefix share what they keep. It holds no braces.
	// Default: `number-verify:`.
	Prefix string `json:"prefix,omitempty"`

	// How long a request waits for the server; allow three round trips to one
	// that is far away. Default: 250ms.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long after the server's last answer this node serves the sessions that
	// it holds, at most 10s. While the server is away, this node may miss a
	// sign-out on another node for that long. Default: 5s.
	StaleIfError caddy.Duration `json:"stale_if_error,omitempty"`

	// The secret that protects the index keys, such as
	// `{env.NUMBER_VERIFY_SECRET}`: at least 16 random characters, the same on
	// all nodes.
	// Without it nobody finds a number or an address on the server. Previous secrets
	// follow it. To change the secret without losing anything, put the new one
	// first and leave the old one behind it until all nodes have reloaded;
	// then remove the old one. Default: the verifier's secret; then a new
	// `client_secret` makes everything that was stored before impossible to find.
	// Required if the verifier has no secret, because it uses a `token` from
	// elsewhere.
	IndexSecrets []string `json:"secret,omitempty"`

	opts    Options
	name    string
	secrets []string
}

// TLS names the certificates by which this node trusts the server, and the server
// this node.
type TLS struct {
	// The file of the authorities (PEM) that the server's certificate may come
	// from. Default: those of the system.
	CA string `json:"ca,omitempty"`

	// The files of this node's own certificate and key (PEM), where the server
	// asks for one.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`

	// The name that the server's certificate must be for. Default: the host of
	// the address.
	ServerName string `json:"server_name,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.number_verify.caches.redis",
		New: func() caddy.Module { return new(Module) },
	}
}

// Provision resolves placeholders and reads certificates. It connects to nobody.
func (m *Module) Provision(caddy.Context) error {
	resolved, err := m.resolve()
	if err != nil {
		return err
	}
	if wrong := resolved.check(true); wrong != nil {
		return wrong
	}
	m.secrets = resolved.IndexSecrets
	m.opts = Options{
		Username: resolved.Username, Password: resolved.Password, DB: m.DB, Prefix: resolved.Prefix,
		Timeout: time.Duration(m.Timeout), StaleIfError: time.Duration(m.StaleIfError),
	}
	for _, address := range resolved.Addresses {
		host, port, err := splitAddress(address)
		if err != nil {
			return errAddresses
		}
		m.opts.Addresses = append(m.opts.Addresses, net.JoinHostPort(host, port))
	}
	files := ""
	if resolved.TLS != nil {
		if m.opts.TLS, err = resolved.TLS.config(); err != nil {
			return err
		}
		files = resolved.TLS.content()
	}
	m.name = resolved.storeName(m.opts.Addresses, files)
	return nil
}

// nameKey keys the hash in a store's name, so that nobody can guess the password from
// a name in a log.
var nameKey = rand.Text()

// storeName returns a name that is another for any other setting, password or content
// of the certificate files: a renewed certificate needs a new connection.
func (m *Module) storeName(addresses []string, files string) string {
	shared := *m
	shared.IndexSecrets = nil
	settings, _ := json.Marshal(shared) // of strings and numbers
	mac := hmac.New(sha256.New, []byte(nameKey))
	mac.Write(settings)
	mac.Write([]byte(files))
	return "redis " + strings.Join(addresses, ",") + " " + hex.EncodeToString(mac.Sum(nil)[:6])
}

// owner names the module in errors, as it is written in a Caddyfile.
const owner = "cache redis"

// options are the options of the block: the name of each in a Caddyfile, the field
// that it sets, and the check of its value.
func (m *Module) options() option.Set {
	return option.Set{Owner: owner, Options: []option.Option{
		option.Word("username", &m.Username),
		option.Word("password", &m.Password),
		option.Custom("db", m.readDB),
		option.Custom("tls", m.readTLS),
		option.Word("prefix", &m.Prefix),
		option.Duration("timeout", &m.Timeout),
		option.Duration("stale_if_error", &m.StaleIfError),
		option.Words("secret", &m.IndexSecrets).Checked(cache.CheckSecret),
	}}
}

func (t *TLS) options() []option.Option {
	return []option.Option{
		option.Word("ca", &t.CA),
		option.Custom("certificate", t.readCertificate, &t.Certificate, &t.Key),
		option.Word("server_name", &t.ServerName),
	}
}

func (m *Module) readDB(l *option.Line) error {
	args, err := l.Args()
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(strings.Join(args, " "), 10, 16)
	if err != nil {
		return l.Errf("must be a number such as 0")
	}
	m.DB = int(n)
	return nil
}

func (m *Module) readTLS(l *option.Line) error {
	m.TLS = new(TLS)
	_, err := l.Block(m.TLS.options()...)
	return err
}

func (t *TLS) readCertificate(l *option.Line) error {
	args, err := l.Args()
	if err != nil {
		return err
	}
	if len(args) != 2 {
		return l.Errf("takes two files: the certificate's and its key's")
	}
	t.Certificate, t.Key = args[0], args[1]
	return nil
}

// resolve returns the module with its placeholders resolved.
func (m *Module) resolve() (*Module, error) {
	resolved := *m
	set := resolved.options()
	set.Options = append(set.Options, option.Words("addresses", &resolved.Addresses))
	if err := set.Resolve(); err != nil {
		return nil, err
	}
	if m.TLS == nil {
		return &resolved, nil
	}
	own := *m.TLS
	resolved.TLS = &own
	return &resolved, option.Set{Owner: owner + ": tls", Options: own.options()}.Resolve()
}

// placeholder matches a placeholder, the only thing in a prefix that may have braces.
var placeholder = regexp.MustCompile(`\{[^{}.]+\.[^{}]*\}`)

// check returns the first mistake, or nil. A value with a placeholder cannot be checked
// before it is resolved, and passes until then.
func (m *Module) check(resolved bool) *option.Mistake {
	prefix := m.Prefix
	if !resolved {
		prefix = placeholder.ReplaceAllString(prefix, "")
	}
	set := m.options()
	switch {
	case len(m.Addresses) == 0 || slices.ContainsFunc(m.Addresses, isNoAddress(resolved)):
		return errAddresses
	case m.Username != "" && m.Password == "":
		return set.Wrong("password", "is required with username: add 'password {env.REDIS_PASSWORD}'")
	case m.DB < 0:
		return set.Wrong("db", "must be 0 or more")
	case m.DB > 0 && len(m.Addresses) > 1:
		return set.Wrong("db", "must be 0 for a Cluster: remove it, or name one address")
	case time.Duration(m.StaleIfError) > maxStale:
		return set.Wrong("stale_if_error", "must be at most 10s; write it like 5s")
	case strings.ContainsAny(prefix, "{}"):
		return set.Wrong("prefix", "must hold no braces, by which a Cluster places keys: write 'prefix shop:'")
	case m.TLS != nil && (m.TLS.Certificate == "") != (m.TLS.Key == ""):
		return set.Wrong("tls", "certificate and key belong together: write 'certificate <file> <key file>'")
	default:
		return set.Check(resolved)
	}
}

var errAddresses = &option.Mistake{Owner: owner, Option: "addresses", Text: "are missing or malformed; write the host:port of one server, or of some nodes of a Cluster: 'cache redis localhost:6379'"}

func isNoAddress(resolved bool) func(string) bool {
	known := option.Known(resolved)
	return func(s string) bool {
		_, _, err := splitAddress(s)
		return known(s) && err != nil
	}
}

// splitAddress reads host, host:port, [IPv6] or [IPv6]:port.
func splitAddress(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		host, port, err = net.SplitHostPort(address + ":" + defaultPort)
	}
	if err != nil || host == "" || strings.ContainsAny(host, "/@ ") {
		return "", "", errors.New("no address")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", errors.New("no port")
	}
	return host, port, nil
}

// content returns the text of all files, without those that cannot be read.
func (t *TLS) content() string {
	var all strings.Builder
	for _, name := range []string{t.CA, t.Certificate, t.Key} {
		text, _ := os.ReadFile(name) // config has just read it
		all.Write(text)
		all.WriteByte(0)
	}
	return all.String()
}

// config reads the files, and returns the configuration for crypto/tls.
func (t *TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("cache redis: tls: ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("cache redis: tls: ca is a file that holds no certificate (PEM)")
		}
	}
	if t.Certificate == "" {
		return config, nil
	}
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return nil, fmt.Errorf("cache redis: tls: certificate: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// StoreName implements cache.Opener.
func (m *Module) StoreName() string { return m.name }

// Secrets implements cache.Opener.
func (m *Module) Secrets() []string { return m.secrets }

// HasSecret tells whether a secret is set, even before Provision.
func (m *Module) HasSecret() bool { return len(m.IndexSecrets) > 0 }

// Open implements cache.Opener.
func (m *Module) Open(log *zap.Logger, codec cache.Codec) (cache.Cache, error) {
	c, err := Open(m.opts, codec, log)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// UnmarshalCaddyfile sets up the module from Caddyfile tokens. Syntax:
//
//	cache redis <address...> {
//		username       <name>
//		password       <password>
//		db             <number>
//		tls {
//			ca          <file>
//			certificate <file> <key file>
//			server_name <name>
//		}
//		prefix         <prefix>
//		timeout        <duration>
//		stale_if_error <duration>
//		secret         <secret> [<previous>...]
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // "redis"
	m.Addresses = d.RemainingArgs()
	block, err := m.options().Read(d)
	if err != nil {
		return err
	}
	return block.At(m.check(false))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ cache.Opener          = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
)
