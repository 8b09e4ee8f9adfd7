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
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
)

func init() {
	caddy.RegisterModule(&Module{})
}

const (
	defaultPort  = "6379"
	maxStale     = 10 * time.Second
	addressesFix = "name host:port of one server, or of some nodes of a Cluster: 'cache redis localhost:6379'"
)

// Module keeps attempts, sessions and limits in Redis or Valkey, so that several
// Caddy nodes share them: a visitor may come back to another node than the one
// that sent him off, and a sign-out ends the session on all. The server must be
// Redis 6 or newer, or Valkey; alone or a Cluster. The records in it are sealed
// with keys that only the visitors' cookies yield.
//
// Caddy starts while the server is down. Until it answers, requests that need it
// get `cache_unavailable`; it should not evict keys (`maxmemory-policy
// noeviction`), since an evicted session has to be verified again.
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

	// What stands before every key, so that several sites can share a server.
	// Nodes share what they keep under equal prefixes. It holds no braces.
	// Default: `number-verify:`.
	Prefix string `json:"prefix,omitempty"`

	// How long a request waits for the server; allow three round trips to one
	// that is far away. Default: 250ms.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long a session that this node holds goes on after the server's last
	// answer, at most 10s. A sign-out on another node may be missed for so long
	// while the server is away. Default: 5s.
	StaleIfError caddy.Duration `json:"stale_if_error,omitempty"`

	// The secret from which index keys are derived, those by which numbers and
	// addresses are found, such as `{env.NUMBER_VERIFY_SECRET}`: at least 16 random characters, equal
	// on all nodes. Default: the verifier's secret, so that another
	// `client_secret` finds nothing of what the earlier one has stored; required
	// where it has none, since it uses a `token` from elsewhere.
	IndexSecret string `json:"secret,omitempty"`

	opts   Options
	name   string
	secret string
}

// TLS is how to trust the server, and how it is to trust this node.
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
	if err := resolved.check(); err != nil {
		return err
	}
	m.secret = resolved.IndexSecret
	m.opts = Options{
		Username: resolved.Username, Password: resolved.Password, DB: m.DB, Prefix: resolved.Prefix,
		Timeout: time.Duration(m.Timeout), StaleIfError: time.Duration(m.StaleIfError),
	}
	for _, address := range resolved.Addresses {
		host, port, err := splitAddress(address)
		if err != nil {
			return mistaken("addresses", addressesFix)
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

// nameKey keeps what a store's name is made of from being guessed from a log.
var nameKey = rand.Text()

// storeName tells stores apart by all that makes them differ, a password and what
// stands in the files of certificates too: a renewed one needs a new connection.
func (m *Module) storeName(addresses []string, files string) string {
	shared := *m
	shared.IndexSecret = ""
	settings, _ := json.Marshal(shared) // of strings and numbers
	mac := hmac.New(sha256.New, []byte(nameKey))
	mac.Write(settings)
	mac.Write([]byte(files))
	return "redis " + strings.Join(addresses, ",") + " " + hex.EncodeToString(mac.Sum(nil)[:6])
}

// resolve returns the module with its placeholders resolved.
func (m *Module) resolve() (*Module, error) {
	repl := caddy.NewReplacer()
	resolved := *m
	resolved.Addresses = append([]string(nil), m.Addresses...)
	options := map[string]*string{
		"username": &resolved.Username, "password": &resolved.Password,
		"prefix": &resolved.Prefix, "secret": &resolved.IndexSecret,
	}
	for i := range resolved.Addresses {
		options["address "+strconv.Itoa(i+1)] = &resolved.Addresses[i]
	}
	if m.TLS != nil {
		own := *m.TLS
		resolved.TLS = &own
		for name, value := range own.options() {
			options["tls "+name] = value
		}
	}
	for name, value := range options {
		if *value == "" {
			continue
		}
		text, err := repl.ReplaceOrErr(*value, true, true)
		if err != nil || text == "" {
			// never with the value: it may be a secret
			return nil, mistaken(name, "holds a placeholder that is empty or unknown: set what it stands for")
		}
		*value = text
	}
	return &resolved, nil
}

var placeholder = regexp.MustCompile(`\{[^{}.]+\.[^{}]*\}`)

// written is what of the module can be checked before it is resolved.
func (m *Module) written() *Module {
	written := *m
	written.Prefix = placeholder.ReplaceAllString(m.Prefix, "")
	if strings.Contains(m.IndexSecret, "{") {
		written.IndexSecret = ""
	}
	return &written
}

// check finds the first mistake of a module that is resolved, or written.
func (m *Module) check() error {
	switch {
	case len(m.Addresses) == 0:
		return mistaken("addresses", addressesFix)
	case m.Username != "" && m.Password == "":
		return mistaken("password", "is required with username: add 'password {env.REDIS_PASSWORD}'")
	case m.DB < 0:
		return mistaken("db", "must be 0 or more")
	case m.DB > 0 && len(m.Addresses) > 1:
		return mistaken("db", "must be 0 for a Cluster: remove it, or name one address")
	case m.Timeout < 0:
		return mistaken("timeout", "must be longer than 0; write it like 250ms")
	case m.StaleIfError < 0 || time.Duration(m.StaleIfError) > maxStale:
		return mistaken("stale_if_error", "must be longer than 0 and at most 10s; write it like 5s")
	case strings.ContainsAny(m.Prefix, "{}"):
		return mistaken("prefix", "must hold no braces, by which a Cluster places keys: write 'prefix shop:'")
	case m.IndexSecret != "" && cache.CheckSecret(m.IndexSecret) != nil:
		return mistaken("secret", cache.CheckSecret(m.IndexSecret).Error())
	case m.TLS != nil && (m.TLS.Certificate == "") != (m.TLS.Key == ""):
		return mistaken("tls", "certificate and key belong together: write 'certificate <file> <key file>'")
	default:
		return nil
	}
}

// optionError is a mistake in one option. It never holds a value: it may be a
// secret.
type optionError struct{ option, text string }

func (e *optionError) Error() string { return "cache redis: " + e.option + " " + e.text }

func mistaken(option, text string) error { return &optionError{option, text} }

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

func (t *TLS) options() map[string]*string {
	return map[string]*string{"ca": &t.CA, "certificate": &t.Certificate, "key": &t.Key, "server_name": &t.ServerName}
}

// content is what stands in the files, as far as they can be read.
func (t *TLS) content() string {
	var all strings.Builder
	for _, name := range []string{t.CA, t.Certificate, t.Key} {
		text, _ := os.ReadFile(name) // config has just read it
		all.Write(text)
		all.WriteByte(0)
	}
	return all.String()
}

// config reads the files.
func (t *TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("cache redis: tls ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, mistaken("tls ca", "is a file that holds no certificate (PEM)")
		}
	}
	if t.Certificate == "" {
		return config, nil
	}
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return nil, fmt.Errorf("cache redis: tls certificate: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

// StoreName implements cache.Opener.
func (m *Module) StoreName() string { return m.name }

// Secret implements cache.Opener.
func (m *Module) Secret() string { return m.secret }

// HasSecret tells whether Secret will be one.
func (m *Module) HasSecret() bool { return m.IndexSecret != "" }

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
//		secret         <secret>
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // "redis"
	start := *d
	m.Addresses = d.RemainingArgs()
	if err := m.checkAddresses(); err != nil {
		return d.WrapErr(err)
	}
	set := make(map[string]caddyfile.Dispenser)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if first, ok := set[name]; ok {
			return d.Errf("cache redis: %s is set twice, first in line %d; keep one", name, first.Line())
		}
		set[name] = *d
		if err := m.option(d, name); err != nil {
			return err
		}
	}
	err := m.written().check()
	var wrong *optionError
	if !errors.As(err, &wrong) {
		return err
	}
	if at, ok := set[wrong.option]; ok {
		return at.WrapErr(err)
	}
	return start.WrapErr(err)
}

func (m *Module) checkAddresses() error {
	for _, address := range m.Addresses {
		if strings.Contains(address, "{") {
			continue // checked when it is resolved
		}
		if _, _, err := splitAddress(address); err != nil {
			return mistaken("addresses", addressesFix)
		}
	}
	if len(m.Addresses) == 0 {
		return mistaken("addresses", addressesFix)
	}
	return nil
}

// option reads one subdirective. Its errors never repeat a value: it may be a
// secret.
func (m *Module) option(d *caddyfile.Dispenser, name string) error {
	if name == "tls" {
		return m.tls(d)
	}
	texts := map[string]*string{
		"username": &m.Username, "password": &m.Password, "prefix": &m.Prefix, "secret": &m.IndexSecret,
	}
	durations := map[string]*caddy.Duration{"timeout": &m.Timeout, "stale_if_error": &m.StaleIfError}
	text, duration := texts[name], durations[name]
	if text == nil && duration == nil && name != "db" {
		return d.Errf("cache redis: unknown subdirective %q; there are username, password, db, tls, prefix, timeout, stale_if_error, secret", name)
	}
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("cache redis: %s takes exactly one value; put quotes around one with blanks", name)
	}
	switch {
	case text != nil:
		*text = args[0]
	case duration != nil:
		parsed, err := caddy.ParseDuration(args[0])
		if err != nil || parsed <= 0 {
			return d.Errf("cache redis: %s must be a duration longer than 0; write it like 5s", name)
		}
		*duration = caddy.Duration(parsed)
	default:
		n, err := strconv.ParseUint(args[0], 10, 16)
		if err != nil {
			return d.Err("cache redis: db must be a number such as 0")
		}
		m.DB = int(n)
	}
	return nil
}

func (m *Module) tls(d *caddyfile.Dispenser) error {
	m.TLS = new(TLS)
	if d.NextArg() {
		return d.Err("cache redis: tls takes no arguments; write just tls, or a block with ca, certificate, server_name")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name, args := d.Val(), d.RemainingArgs()
		switch {
		case name == "certificate" && len(args) == 2:
			m.TLS.Certificate, m.TLS.Key = args[0], args[1]
		case name == "certificate":
			return d.Err("cache redis: tls certificate takes two files: the certificate's and its key's")
		case name != "ca" && name != "server_name":
			return d.Errf("cache redis: unknown subdirective %q of tls; there are ca, certificate, server_name", name)
		case len(args) != 1 || args[0] == "":
			return d.Errf("cache redis: tls %s takes exactly one value", name)
		default:
			*m.TLS.options()[name] = args[0]
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ cache.Opener          = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
)
