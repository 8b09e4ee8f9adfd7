package numberverify

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

// slowOpener takes some time to open, as a large file does.
type slowOpener struct {
	took time.Duration
	err  error
}

func (slowOpener) StoreName() string { return "slow" }

func (slowOpener) Secrets() []string { return nil }

func (o slowOpener) Open(*zap.Logger, cache.Codec) (cache.Cache, error) {
	timer := time.NewTimer(o.took)
	<-timer.C
	if o.err != nil {
		return nil, o.err
	}
	return memory.New(memory.Options{}), nil
}

func newApp(t *testing.T, opener cache.Opener) (*App, func(context.Context) (cache.Cache, error)) {
	t.Helper()
	app := &App{}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	if err := app.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	return app, app.use(opener.StoreName(), opener)
}

// Servers may start before the app. A visitor who comes back from the operator just then
// must not lose a verification that was paid for.
func TestRequestWaitsForACacheThatIsBeingOpened(t *testing.T) {
	broken := errors.New("no such file")
	for name, test := range map[string]struct {
		opener slowOpener
		open   bool
		waited time.Duration
	}{
		"soon open":     {slowOpener{took: time.Second}, true, time.Second},
		"never open":    {slowOpener{took: time.Second, err: broken}, false, maxOpening},
		"open too late": {slowOpener{took: time.Minute}, false, maxOpening},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app, get := newApp(t, test.opener)
				started := make(chan error, 1)
				go func() { started <- app.Start() }()
				began := time.Now()
				c, err := get(t.Context())
				if (c != nil) != test.open || (err == nil) != test.open {
					t.Errorf("the cache is %v, %v", c, err)
				}
				if waited := time.Since(began); waited != test.waited {
					t.Errorf("it took %v, want %v", waited, test.waited)
				}
				if err := <-started; !errors.Is(err, test.opener.err) {
					t.Errorf("Start = %v", err)
				}
				if err := app.Cleanup(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A reload must not close the cache even for a moment.
func TestConfigurationTakesOverAnOpenCacheWhenItIsProvisioned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, _ := newApp(t, slowOpener{})
		if err := old.Start(); err != nil {
			t.Fatal(err)
		}
		next, get := newApp(t, slowOpener{err: errors.New("must not be opened again")})
		if _, err := get(t.Context()); err != nil {
			t.Errorf("before Start: %v", err)
		}
		if err := old.Cleanup(); err != nil {
			t.Error(err)
		}
		if err := next.Start(); err != nil {
			t.Error(err)
		}
		c, err := get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(t.Context(), cache.Key{Kind: cache.KindSession}); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("it was closed: %v", err)
		}
		if err := next.Cleanup(); err != nil {
			t.Error(err)
		}
		if _, err := c.Get(t.Context(), cache.Key{Kind: cache.KindSession}); !errors.Is(err, cache.ErrClosed) {
			t.Errorf("nobody closed it: %v", err)
		}
	})
}
