package numberverify

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/gate"
)

func init() {
	caddy.RegisterModule(&App{})
}

// appName is the name of the app, of the directive and of the global option.
const appName = "number_verify"

// stores holds the open caches, by name. They live on through a reload: the new
// configuration takes its hold before the old one lets go.
var stores = caddy.NewUsagePool()

// App holds what all number_verify handlers of a configuration share, and opens
// their caches when Caddy starts. It needs no configuration: the first handler
// makes it.
type App struct {
	ctx    caddy.Context
	logger *zap.Logger
	gates  map[string]*gate.Gate
	stores map[string]*store
}

// store is a cache of this configuration: closed until the app starts.
type store struct {
	opener cache.Opener
	open   atomic.Pointer[pooledStore]
}

// pooledStore closes its cache when the last configuration has let go of it.
type pooledStore struct{ cache.Cache }

// Destruct implements caddy.Destructor.
func (p *pooledStore) Destruct() error { return p.Close() }

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appName,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets up the app. It opens nothing: caddy validate comes here too.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.gates = make(map[string]*gate.Gate)
	a.stores = make(map[string]*store)
	return nil
}

// Start opens the caches.
func (a *App) Start() error {
	for name, s := range a.stores {
		value, _, err := stores.LoadOrNew(name, func() (caddy.Destructor, error) {
			opened, err := s.opener.Open(a.logger.Named(name))
			return &pooledStore{opened}, err
		})
		if err != nil {
			return fmt.Errorf("opening cache %s: %w", name, err)
		}
		s.open.Store(value.(*pooledStore))
	}
	for _, g := range a.gates {
		g.CheckSecret(a.ctx)
	}
	return nil
}

// Stop does nothing: requests still run, and need the caches.
func (*App) Stop() error { return nil }

// Cleanup lets go of the caches that Start took hold of. Requests that still
// run keep what they have; a cache that is closed under them refuses.
func (a *App) Cleanup() error {
	var errs []error
	for name, s := range a.stores {
		if s.open.Load() == nil {
			continue
		}
		if _, err := stores.Delete(name); err != nil {
			errs = append(errs, fmt.Errorf("closing cache %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// errNotOpen is what requests get that come before the app has started.
var errNotOpen = errors.New("cache is not open yet")

// use makes a cache known to the app and returns how to get at it once it is
// open. Caches of one name are one.
func (a *App) use(opener cache.Opener) func() (cache.Cache, error) {
	name := opener.StoreName()
	s, ok := a.stores[name]
	if !ok {
		s = &store{opener: opener}
		a.stores[name] = s
	}
	return func() (cache.Cache, error) {
		if open := s.open.Load(); open != nil {
			return open.Cache, nil
		}
		return nil, errNotOpen
	}
}

// gate returns the gate of that key, made by build where it is the first.
func (a *App) gate(key string, build func() (*gate.Gate, error)) (*gate.Gate, error) {
	if g, ok := a.gates[key]; ok {
		return g, nil
	}
	g, err := build()
	if err != nil {
		return nil, err
	}
	a.gates[key] = g
	return g, nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
