package redis

import (
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
)

func TestConformance(t *testing.T) {
	server := redistest.Start(t)
	cachetest.Run(t, func(t *testing.T, now func() time.Time) cache.Cache {
		return node(t, Options{Prefix: t.Name() + ":", Timeout: 5 * time.Second, Now: now, serverNow: now}, server)
	})
	cachetest.RunDurable(t, func(t *testing.T, now func() time.Time) func() cache.Cache {
		return func() cache.Cache {
			return node(t, Options{Prefix: t.Name() + ":", Timeout: 5 * time.Second, Now: now, serverNow: now}, server)
		}
	})
}

func TestConformanceWhenFull(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
	cachetest.RunFull(t, func(t *testing.T, now func() time.Time) cache.Cache {
		return node(t, Options{Timeout: 5 * time.Second, Now: now, serverNow: now}, server)
	})
}
