package bolt

import (
	"errors"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/internal/option"
)

func init() {
	caddy.RegisterModule(&Module{})
}

// Module keeps attempts and sessions in the memory of this Caddy process and in
// a file, so that they outlive a crash and a restart: for one Caddy node. They are
// on disk before the visitor gets an answer. The records in the file are sealed
// with keys that only the visitors' cookies yield.
type Module struct {
	// The file, best by its absolute path, such as
	// `/var/lib/caddy/number-verify.db`. It is made if there is none; its
	// directory must exist, on a disk of this machine. One Caddy process at a
	// time can use it. Required.
	File string `json:"file,omitempty"`

	// The secret that protects the index keys, such as
	// `{env.NUMBER_VERIFY_SECRET}`: at least 16 random characters.
	// Without it nobody finds a number or an address in the file. Previous secrets
	// follow it. To change the secret without losing anything, put the new one
	// first and leave the old one behind it until Caddy has reloaded;
	// then remove the old one. Default: the verifier's secret; then a new
	// `client_secret` makes everything that was stored before impossible to find.
	// Required if the verifier has no secret, because it uses a `token` from
	// elsewhere.
	IndexSecrets []string `json:"secret,omitempty"`

	path    string
	secrets []string
}

// CaddyModule returns the Caddy module information.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.number_verify.caches.bolt",
		New: func() caddy.Module { return new(Module) },
	}
}

// options are those of the block.
func (m *Module) options() option.Set {
	return option.Set{Owner: "cache bolt", Options: []option.Option{
		option.Words("secret", &m.IndexSecrets).Checked(cache.CheckSecret),
	}}
}

// Provision resolves placeholders. It opens nothing.
func (m *Module) Provision(caddy.Context) error {
	if m.File == "" {
		return errors.New("cache bolt: file is required: write 'cache bolt /var/lib/caddy/number-verify.db'")
	}
	resolved := *m
	set := resolved.options()
	set.Options = append(set.Options, option.Word("file", &resolved.File))
	if err := set.Resolve(); err != nil {
		return err
	}
	if wrong := set.Check(true); wrong != nil {
		return wrong
	}
	m.secrets = resolved.IndexSecrets
	path, err := filepath.Abs(resolved.File)
	m.path = path
	return err
}

// StoreName implements cache.Opener.
func (m *Module) StoreName() string { return "bolt " + m.path }

// Secrets implements cache.Opener.
func (m *Module) Secrets() []string { return m.secrets }

// HasSecret tells whether a secret is set, even before Provision.
func (m *Module) HasSecret() bool { return len(m.IndexSecrets) > 0 }

// Open implements cache.Opener.
func (m *Module) Open(log *zap.Logger, codec cache.Codec) (cache.Cache, error) {
	return Open(m.path, memory.Options{}, codec, log)
}

// UnmarshalCaddyfile sets up the module from Caddyfile tokens. Syntax:
//
//	cache bolt <file> {
//		secret <secret> [<previous>...]
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // "bolt"
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Err("cache bolt takes exactly one file: write 'cache bolt /var/lib/caddy/number-verify.db'")
	}
	m.File = args[0]
	block, err := m.options().Read(d)
	if err != nil {
		return err
	}
	return block.At(m.options().Check(false))
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ cache.Opener          = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
)
