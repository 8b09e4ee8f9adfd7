// Package bolt is the cache that outlives a crash: everything is read from
// memory, and written through to a bbolt file before anybody is told of it.
package bolt

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

// Open opens the cache in the file at path, which it makes if there is none. The
// options are those of the memory in front of it; codec writes the values of its
// records, which are sealed: the file opens no session and names no number.
func Open(path string, opts memory.Options, codec cache.Codec, log *zap.Logger) (cache.Cache, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	began := time.Now()
	f, err := openFile(path, opts.Now, codec, log)
	if err != nil {
		return nil, err
	}
	c, err := memory.NewBacked(opts, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	log.Info("cache opened", zap.String("file", path), zap.Duration("took", time.Since(began)))
	return c, nil
}
