package cachetest_test

import (
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/cachetest"
)

func TestExampleConforms(t *testing.T) {
	cachetest.Run(t, func(_ *testing.T, now func() time.Time) cache.Cache { return newTable(cachetest.Codec{}, now) })
}
