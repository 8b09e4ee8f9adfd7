package ledger

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

// node is a ledger on a cache, as another node has it.
type node struct {
	*Ledger
	// others counts how often another node's secret was noticed.
	others int
}

// nodeOn returns a node that has read what the nodes share.
func nodeOn(t *testing.T, c cache.Cache, account string, secrets ...string) *node {
	t.Helper()
	n := new(node)
	l, err := New(Config{
		Account: account, Secrets: secrets,
		Cache:    func(context.Context) (cache.Cache, error) { return c, nil },
		Panicked: func(string, any) {}, Failed: func(string) {}, OtherSecret: func() { n.others++ }, NotErased: func(error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Ledger = l
	if err := n.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func newStore(t *testing.T) *memory.Cache {
	t.Helper()
	c := memory.New(memory.Options{})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestKeyDerivedFromNothingIsRefused(t *testing.T) {
	for _, secrets := range [][]string{nil, {""}, {"0123456789abcdef", ""}} {
		if _, err := New(Config{Account: "dqe/account", Secrets: secrets}); !errors.Is(err, errNoSecret) {
			t.Errorf("with %q anybody can derive the key: %v", secrets, err)
		}
	}
}

// index is what a node writes into the cache about a number and an address.
func (n *node) index() [][]byte {
	const number, network = "+33639980001", "192.0.2.1"
	tags, count := n.tags(number, cache.Tag{}), n.CountKey("number", number)
	return [][]byte{tags[numberTag][:], []byte(n.ClientName(network)), []byte(count.Secret)}
}

func (n *node) finds(other *node) bool {
	found := other.index()
	for i, own := range n.index() {
		if !bytes.Equal(own, found[i]) {
			return false
		}
	}
	return true
}

// Whoever has stolen a cache can try all numbers and addresses, but not without the
// secret.
func TestNumberAndAddressAreNotGuessedFromAStolenIndexWithoutItsSecret(t *testing.T) {
	store := newStore(t)
	own := nodeOn(t, store, "account", "secret")
	if !own.finds(nodeOn(t, store, "account", "secret")) {
		t.Error("another node finds nothing")
	}
	for name, guess := range map[string]*node{
		"another secret": nodeOn(t, store, "account", "guessed"), "another account": nodeOn(t, store, "other", "secret"),
		"another cache": nodeOn(t, newStore(t), "account", "secret"),
	} {
		if own.finds(guess) {
			t.Errorf("%s gives the same index", name)
		}
	}
}
