package redis

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
)

const (
	// dialTime is how long a call, or Open, waits for a connection. The connection
	// itself may take up to connectTime to make, and then serves a later call.
	dialTime    = time.Second
	connectTime = 5 * time.Second
	// A connection that has been silent for askAfter is asked for a sign of life,
	// and given up if none comes within giveUpAfter.
	askAfter    = 250 * time.Millisecond
	giveUpAfter = 500 * time.Millisecond
	// connectEvery is the pause between attempts to connect for the first time.
	connectEvery = 250 * time.Millisecond
)

// Options tell how to reach the server. Addresses are required.
type Options struct {
	// Addresses are host:port: one server, or some nodes of a Cluster.
	Addresses          []string
	Username, Password string
	DB                 int
	// TLS is nil for none.
	TLS *tls.Config
	// Prefix stands before all keys. Default: "number-verify:".
	Prefix string
	// Timeout bounds each call. Default: 250 ms.
	Timeout time.Duration
	// StaleIfError is how long after the server's last answer this node serves the
	// sessions that it holds. Default: 5 s.
	StaleIfError time.Duration
	// Now is the clock by which records expire. Default: time.Now.
	Now func() time.Time

	// serverNow is for tests: the clock of counters and of the lists of tags.
	// Default: the server's own, which all nodes share.
	serverNow func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = "number-verify:"
	}
	if o.Timeout == 0 {
		o.Timeout = 250 * time.Millisecond
	}
	if o.StaleIfError == 0 {
		o.StaleIfError = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Open opens the cache; codec writes the values of records. It is no error if the
// server cannot be reached: calls fail until it can. It is an error if the server
// refuses because of a mistake in the options.
func Open(opts Options, codec cache.Codec, log *zap.Logger) (*Cache, error) {
	c := newCache(opts, codec, log)
	first := make(chan error, 1)
	go c.connect(first)
	timer := time.NewTimer(dialTime)
	defer timer.Stop()
	select {
	case err := <-first:
		if remedy := mistake(err); remedy != "" {
			return nil, errors.Join(fmt.Errorf("%w: %s", plain(err), remedy), c.Close())
		}
	case <-timer.C:
	}
	return c, nil
}

// newCache returns a cache that is not connected.
func newCache(opts Options, codec cache.Codec, log *zap.Logger) *Cache {
	opts = opts.withDefaults()
	return &Cache{
		opts: opts, now: opts.Now, codec: codec, log: log, held: newHeld(opts),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// connect tries to make the client until it succeeds; the client then connects again
// by itself. It sends the outcome of the first try to first.
func (c *Cache) connect(first chan<- error) {
	defer close(c.done)
	tick := time.NewTicker(connectEvery)
	defer tick.Stop()
	for said := ""; ; {
		client, err := c.newClient()
		if err == nil {
			c.client.Store(&client)
		}
		select {
		case first <- err:
		default:
		}
		if err == nil {
			c.log.Info("cache connected", zap.Strings("addresses", c.opts.Addresses))
			return
		}
		if cause := plain(err); cause.Error() != said {
			said = cause.Error()
			c.log.Error("cache not connected: trying on", zap.Strings("addresses", c.opts.Addresses),
				zap.Error(cause), zap.String("hint", mistake(err)))
		}
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
	}
}

// newClient connects, and checks that this user may track keys.
func (c *Cache) newClient() (rueidis.Client, error) {
	ctx, end := context.WithCancel(context.Background())
	client, err := rueidis.NewClient(c.clientOption(ctx))
	if err == nil {
		if err = mayTrack(client); err != nil {
			client.Close()
		}
	}
	if err != nil {
		end()
		return nil, err
	}
	c.end = end
	return client, nil
}

func mayTrack(client rueidis.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), dialTime)
	defer cancel()
	err := client.DoMulti(ctx, askTracking(client)...)[0].Error()
	if _, refused := rueidis.IsRedisErr(err); refused {
		return fmt.Errorf("%w: %w", err, rueidis.ErrNoCache)
	}
	return err
}

// clientOption returns the options of a client whose connections end with ctx.
func (c *Cache) clientOption(ctx context.Context) rueidis.ClientOption {
	dialer := &dialer{cache: c, ctx: ctx, coming: make(map[string]*coming)}
	return rueidis.ClientOption{
		InitAddress: c.opts.Addresses,
		Username:    c.opts.Username, Password: c.opts.Password, SelectDB: c.opts.DB,
		TLSConfig: c.opts.TLS, DialCtxFn: dialer.dial,
		Dialer:            net.Dialer{Timeout: dialTime, KeepAlive: askAfter},
		ConnWriteTimeout:  giveUpAfter,
		ClientName:        "number_verify",
		OnInvalidations:   c.held.invalidated,
		AlwaysPipelining:  true,
		PipelineMultiplex: -1, // one connection to each server
		RingScaleEachConn: 13, // 2^13 calls may wait for a server that hangs
		CacheSizeEachConn: 64 << 20, ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
	}
}

// mistake returns advice if err comes from a mistake in the options or the server's
// setup, which no retry cures, and else "".
func mistake(err error) string {
	var certificate *tls.CertificateVerificationError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &certificate):
		return "the server's certificate is not trusted: name its authority with 'tls { ca <file> }'"
	case strings.HasPrefix(err.Error(), "BUSY "), strings.HasPrefix(err.Error(), "LOADING "), strings.HasPrefix(err.Error(), "MASTERDOWN "):
		return "" // passes by itself, whatever was asked
	case errors.Is(err, rueidis.ErrNoCache):
		return "the server must be Redis 6 or newer, or Valkey, and let this user run CLIENT: tracking is how a sign-out reaches every node"
	}
	text := err.Error()
	for prefix, remedy := range map[string]string{
		"WRONGPASS": "username or password is wrong",
		"NOAUTH":    "the server wants a password: add 'password {env.REDIS_PASSWORD}'",
		"AUTH ":     "the server has no password set: remove 'password'",
		"NOPERM":    "the user may not do what is needed: see the access rules in docs/storage.md",
		"DB index":  "there is no such db",
	} {
		if strings.HasPrefix(text, prefix) {
			return remedy
		}
	}
	if strings.Contains(text, "cluster support disabled") {
		return "several addresses are those of a Cluster: name one server alone"
	}
	return ""
}

// parseKey is the inverse of encode. It also tells whether name is such a key.
func parseKey(name string) (cache.Ref, bool) {
	var ref cache.Ref
	if len(name) != base64.RawURLEncoding.EncodedLen(len(ref)) {
		return ref, false
	}
	_, err := base64.RawURLEncoding.Decode(ref[:], []byte(name))
	return ref, err == nil
}
