package numberverify

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/command"
	"github.com/numberverify/caddy-number-verify/internal/gate"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/metrics"
)

func init() {
	caddy.RegisterModule(&App{})
}

// appName is the name of the app, of the directive and of the global option.
const appName = "number_verify"

// stores are the open caches, by name. They outlive a reload: the new configuration
// takes its share before the old one lets go.
var stores = caddy.NewUsagePool()

// App is what all number_verify handlers of a configuration share. It opens their
// caches when Caddy starts. It needs no configuration of its own: the first handler
// loads it.
type App struct {
	ctx    caddy.Context
	logger *zap.Logger
	gates  map[string]*gate.Gate
	stores map[string]*store
	// accounts are what gates of one verifier account share.
	accounts map[string]*gate.Account
	// records are those of each account in each cache.
	records map[home]*records
	// parts are what commands look at of each gate.
	parts []command.Gate
	// storeOf is the cache of each verifier account that takes tokens from elsewhere.
	storeOf map[string]string
	// outlet is nil where nobody can be told of events.
	outlet *outlet
}

// store is a cache of this configuration: closed until the app starts.
type store struct {
	opener cache.Opener
	open   atomic.Pointer[pooledStore]
	opened chan struct{} // closed when open is set
}

// pooledStore closes its cache after the last configuration has let go of it.
type pooledStore struct {
	cache.Cache
	name string
}

// Destruct implements caddy.Destructor.
func (p *pooledStore) Destruct() error {
	_, err := guarded("cache "+p.name, func() (any, error) { return nil, p.Close() })
	return err
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appName,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets up the app. It opens nothing, since caddy validate calls it too.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.gates = make(map[string]*gate.Gate)
	a.stores = make(map[string]*store)
	a.accounts = make(map[string]*gate.Account)
	a.records = make(map[home]*records)
	a.storeOf = make(map[string]string)
	var err error
	if a.outlet, err = newOutlet(ctx); err != nil {
		return err
	}
	return metrics.Process.Register(ctx.GetMetricsRegistry())
}

// Start checks that visitors can reach the endpoints, and opens the caches.
func (a *App) Start() error {
	a.enlist() // first: what is revoked meanwhile must be known here
	if err := a.start(); err != nil {
		a.delist()
		return err
	}
	return nil
}

func (a *App) start() error {
	a.outlet.open()
	if err := a.CheckReach(); err != nil {
		return err
	}
	for name, s := range a.stores {
		if s.open.Load() != nil {
			continue
		}
		err := s.take(name, func() (caddy.Destructor, error) {
			// guarded here, since a panic would leave the pool locked
			open, err := guarded("cache "+name, func() (cache.Cache, error) {
				return opened(s.opener.Open(a.logger.Named(name), ledger.Codec{}))
			})
			return &pooledStore{open, name}, err
		})
		if err != nil {
			return fmt.Errorf("opening cache %s: %w", name, err)
		}
	}
	for _, account := range a.accounts {
		account.Watch(a.ctx)
	}
	// Only now, since Caddy may serve the registry while handlers are provisioned.
	return a.ctx.GetMetricsRegistry().Register(a.state())
}

// Gates implements command.App.
func (a *App) Gates() []command.Gate { return a.parts }

// CheckReach implements command.App.
func (a *App) CheckReach() error {
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return nil // no visitors then
	}
	return checkReach(app.(*caddyhttp.App))
}

// opened refuses a cache that is none.
func opened(c cache.Cache, err error) (cache.Cache, error) {
	if c == nil && err == nil {
		return nil, errors.New("it opened nothing, which is a mistake in that module")
	}
	return c, err
}

// take takes a share in the open cache of that name. If there is none, it calls open.
func (s *store) take(name string, open caddy.Constructor) error {
	value, _, err := stores.LoadOrNew(name, open)
	if err != nil {
		return err
	}
	s.open.Store(value.(*pooledStore))
	close(s.opened)
	return nil
}

// wait returns the cache once it is open. Servers may start before this app, and a
// visitor who comes back just then should not lose a verification that was paid for.
func (s *store) wait(ctx context.Context) (cache.Cache, error) {
	timer := time.NewTimer(maxOpening)
	defer timer.Stop()
	select {
	case <-s.opened:
		return s.open.Load().Cache, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, errNotOpen
}

// Stop waits until events have been handled, while their handlers still work. It closes
// nothing, since requests that still run need it.
func (a *App) Stop() error {
	a.delist()
	a.outlet.drain()
	return nil
}

// Cleanup lets go of the caches. Where that closes a cache, requests that still run get
// errors from it, which refuse.
func (a *App) Cleanup() error {
	if dropped := a.outlet.close(); dropped > 0 {
		journal.New(a.logger).EventsDropped(dropped, "the configuration ended before handlers had done")
	}
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

// maxOpening is how long a request waits for a cache that is being opened.
const maxOpening = 2 * time.Second

// errNotOpen is the error of a cache that is not open.
var errNotOpen = errors.New("cache is not open yet")

// use adds a cache to the app. It returns the function that returns the cache, and
// waits while that is being opened. Caches of the same name are one cache.
func (a *App) use(name string, opener cache.Opener) func(context.Context) (cache.Cache, error) {
	s, ok := a.stores[name]
	if !ok {
		s = &store{opener: opener, opened: make(chan struct{})}
		a.stores[name] = s
		// An open cache is taken over at once, so that requests find it open even if
		// servers start before this app.
		_ = s.take(name, func() (caddy.Destructor, error) { return nil, errNotOpen })
	}
	return func(ctx context.Context) (cache.Cache, error) {
		if open := s.open.Load(); open != nil {
			return open.Cache, nil
		}
		return s.wait(ctx)
	}
}

// oneStore refuses a second cache for a verifier account that takes tokens from
// elsewhere. A token that is claimed in one cache is not claimed in the other, so it
// could serve two attempts, and one of them would get the other's result.
func (a *App) oneStore(account, store string) error {
	if first, ok := a.storeOf[account]; ok && first != store {
		return fmt.Errorf("cache: directives that take tokens from one place need one cache, but there are %s and %s; give all of them the same", first, store)
	}
	a.storeOf[account] = store
	return nil
}

// account returns what the gates of a verifier account share.
func (a *App) account(name string) *gate.Account {
	if a.accounts[name] == nil {
		a.accounts[name] = gate.NewAccount(name, a.logger)
	}
	return a.accounts[name]
}

// record notes where a gate keeps its records, and the names of the modules.
func (a *App) record(at home, g *gate.Gate, verifier, cache string) {
	if a.records[at] == nil {
		a.records[at] = &records{verifier: verifier, cache: cache}
	}
	a.records[at].gates = append(a.records[at].gates, g)
}

// gate returns the gate of that key. If there is none, it calls build.
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
	_ command.App        = (*App)(nil)
)
