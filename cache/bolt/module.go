package bolt

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

func init() {
	caddy.RegisterModule(&Module{})
}

// Module keeps attempts and sessions in the memory of this Caddy process and in
// a file, so that they outlive a crash and a restart: for one Caddy node. What a
// visitor was told is on disk before the answer leaves; the records in the file
// are sealed with keys that only the visitors' cookies yield.
type Module struct {
	// The file, best by its absolute path, such as
	// `/var/lib/caddy/number-verify.db`. It is made if there is none; its
	// directory must exist, on a disk of this machine. One Caddy process at a
	// time can use it. Required.
	File string `json:"file,omitempty"`

	path string
}

// CaddyModule returns the Caddy module information.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.number_verify.caches.bolt",
		New: func() caddy.Module { return new(Module) },
	}
}

// Provision resolves the file's name. It opens nothing.
func (m *Module) Provision(caddy.Context) error {
	path, err := caddy.NewReplacer().ReplaceOrErr(m.File, true, true)
	if err != nil {
		return fmt.Errorf("cache bolt: file: %w", err)
	}
	if path == "" {
		return fmt.Errorf("cache bolt: file is required: write 'cache bolt /var/lib/caddy/number-verify.db'")
	}
	m.path, err = filepath.Abs(path)
	return err
}

// StoreName implements cache.Opener.
func (m *Module) StoreName() string { return "bolt " + m.path }

// Open implements cache.Opener.
func (m *Module) Open(log *zap.Logger) (cache.Cache, error) {
	return Open(m.path, memory.Options{}, log)
}

// UnmarshalCaddyfile reads the line
//
//	cache bolt <file>
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // "bolt"
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Err("cache bolt takes exactly one file: write 'cache bolt /var/lib/caddy/number-verify.db'")
	}
	m.File = args[0]
	if d.Next() {
		return d.Err("cache bolt has no options and takes no block: write just 'cache bolt /var/lib/caddy/number-verify.db'")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ cache.Opener          = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
)
