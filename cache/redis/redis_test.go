package redis

import (
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/internal/redistest"
)

func open1(t *testing.T, opts Options) *Cache {
	t.Helper()
	c, err := Open(opts, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestConformance(t *testing.T) {
	server := redistest.Start(t)
	cachetest.Run(t, func(t *testing.T, now func() time.Time) cache.Cache {
		return open1(t, Options{Addresses: []string{server.Addr}, Prefix: t.Name() + ":", Timeout: 5 * time.Second, Now: now})
	})
	cachetest.RunDurable(t, func(t *testing.T, now func() time.Time) func() cache.Cache {
		return func() cache.Cache {
			return open1(t, Options{Addresses: []string{server.Addr}, Prefix: t.Name() + ":", Timeout: 5 * time.Second, Now: now})
		}
	})
}
