package memory

import (
	"crypto/rand"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
)

func init() {
	caddy.RegisterModule(&Module{})
}

// Module keeps attempts and sessions in the memory of this Caddy process: the
// default, for one Caddy node. Sessions outlive a reload of the configuration,
// but not a restart: visitors then verify their number again. It has no options.
// A session takes about 0.9 kilobytes.
type Module struct{}

// CaddyModule returns the Caddy module information.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.number_verify.caches.memory",
		New: func() caddy.Module { return new(Module) },
	}
}

// StoreName implements cache.Opener.
func (*Module) StoreName() string { return "memory" }

// secret is this process's own, since nobody else reads what it has stored. It
// outlives a reload, as the records do.
var secret = rand.Text()

// Secrets implements cache.Opener.
func (*Module) Secrets() []string { return []string{secret} }

// HasSecret tells that there is a secret.
func (*Module) HasSecret() bool { return true }

// Open implements cache.Opener.
func (*Module) Open(*zap.Logger, cache.Codec) (cache.Cache, error) {
	return New(Options{}), nil
}

// UnmarshalCaddyfile reads the line
//
//	cache memory
func (*Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // "memory"
	if d.NextArg() {
		return d.Errf("cache memory takes no arguments, but there is %q: write just: cache memory", d.Val())
	}
	if d.Next() {
		return d.Errf("cache memory has no options and takes no block: write just: cache memory")
	}
	return nil
}

// Interface guards
var (
	_ cache.Opener          = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
)
