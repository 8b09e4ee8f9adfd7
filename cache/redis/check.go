package redis

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
)

// Check implements cache.Checker: it connects, logs in, and asks the server for what the
// cache cannot do without.
func (m *Module) Check(ctx context.Context) error {
	c := newCache(m.opts, cache.Codec(nil), zap.NewNop())
	done := make(chan error, 1)
	go func() {
		client, err := c.newClient()
		if err == nil {
			err = client.Do(ctx, client.B().Ping().Build()).Error()
			client.Close()
			c.end()
		}
		done <- err
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	switch remedy := mistake(err); {
	case err == nil:
		return nil
	case remedy != "":
		return fmt.Errorf("%w: %s", plain(err), remedy)
	default:
		return fmt.Errorf("%w: start the server, check its address, and let this machine reach it", plain(err))
	}
}

// Interface guard
var _ cache.Checker = (*Module)(nil)
