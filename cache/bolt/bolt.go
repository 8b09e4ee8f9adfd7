// Package bolt is the cache that survives a crash: reads are answered from memory,
// and every change is in a bbolt file before its caller gets an answer.
package bolt

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

// Open opens the cache in the file at path, which it makes if there is none. opts
// configure the memory in front of the file, and codec writes the values of records.
// Records are sealed, so the file reveals no number and no session. The error says
// what to do about the file.
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
