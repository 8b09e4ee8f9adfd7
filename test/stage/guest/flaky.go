package guest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

// Flaky is a third party's cache, which can be made to fail.
type Flaky struct {
	IndexSecrets []string `json:"secret,omitempty"`
}

// The behaviour of all Flaky caches, and how many have been opened.
var (
	CacheIsDown  atomic.Bool
	CachePanics  atomic.Bool // in the next Replace
	CachesOpened atomic.Int32
)

var errDown = errors.New("connection refused")

// CaddyModule implements caddy.Module.
func (*Flaky) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.caches.test_flaky", New: func() caddy.Module { return new(Flaky) }}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler.
func (c *Flaky) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	c.IndexSecrets = d.RemainingArgs()
	return nil
}

// StoreName implements cache.Opener.
func (*Flaky) StoreName() string { return "test_flaky" }

// Secrets implements cache.Opener.
func (c *Flaky) Secrets() []string { return c.IndexSecrets }

// Open implements cache.Opener.
func (*Flaky) Open(*zap.Logger, cache.Codec) (cache.Cache, error) {
	CachesOpened.Add(1)
	return &flaky{memory.New(memory.Options{})}, nil
}

type flaky struct{ cache.Cache }

// Get implements cache.Cache.
func (f *flaky) Get(ctx context.Context, key cache.Key) (*cache.Record, error) {
	if CacheIsDown.Load() {
		return nil, errDown
	}
	return f.Cache.Get(ctx, key)
}

// Put implements cache.Cache.
func (f *flaky) Put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	if CacheIsDown.Load() {
		return errDown
	}
	return f.Cache.Put(ctx, key, rec)
}

// Replace implements cache.Cache.
func (f *flaky) Replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	if CachePanics.CompareAndSwap(true, false) {
		panic(fmt.Sprint(rec.Value))
	}
	if CacheIsDown.Load() {
		return errDown
	}
	return f.Cache.Replace(ctx, key, old, rec)
}

// Sessions implements cache.Cache.
func (f *flaky) Sessions(ctx context.Context) (int64, error) {
	if CacheIsDown.Load() {
		return 0, errDown
	}
	return f.Cache.Sessions(ctx)
}

// Delete implements cache.Cache.
func (f *flaky) Delete(ctx context.Context, ref cache.Ref) error {
	if CacheIsDown.Load() {
		return errDown
	}
	return f.Cache.Delete(ctx, ref)
}
