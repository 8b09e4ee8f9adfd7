package redis

import (
	"errors"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/remote"
)

// replies are the words that a server's refusals begin with.
var replies = []string{
	"ASK", "BUSY", "CLUSTERDOWN", "CROSSSLOT", "DENIED", "ERR", "EXECABORT", "LOADING", "MASTERDOWN", "MISCONF", "MOVED", "NOAUTH",
	"NOPERM", "NOPROTO", "NOREPLICAS", "NOSCRIPT", "OOM", "READONLY", "TRYAGAIN", "WRONGPASS", "WRONGTYPE",
}

// own are the errors whose text does not come from a server.
var own = []error{errNotConnected, errAnswer, cache.ErrClosed, rueidis.ErrClosing, rueidis.ErrNoCache, rueidis.ErrNoSlot}

// plain returns why a call failed, without the server's text: a server quotes the
// command that it refuses, and a HELLO or AUTH holds the password.
func plain(err error) error {
	if reply, ok := errors.AsType[*rueidis.RedisError](err); ok {
		word, _, _ := strings.Cut(reply.Error(), " ")
		if !slices.Contains(replies, word) {
			return errors.New("the server refuses")
		}
		return errors.New("the server refuses: " + word)
	}
	for _, known := range own {
		if errors.Is(err, known) {
			return known
		}
	}
	return remote.Plain(err)
}
