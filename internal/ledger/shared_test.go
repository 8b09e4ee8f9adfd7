package ledger

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
)

// stored returns the record that the nodes of the account share.
func (n *node) stored(t *testing.T) *Shared {
	t.Helper()
	entry, err := Get(t.Context(), n.Ledger, n.sharedKey())
	if err != nil {
		t.Fatal(err)
	}
	return entry.Value
}

func TestRotationOfTheSecretLosesNoIndexAndNoCount(t *testing.T) {
	store := newStore(t)
	old := nodeOn(t, store, "account", "the old secret")
	both := nodeOn(t, store, "account", "the new secret", "the old secret")
	if !both.finds(old) || !old.finds(nodeOn(t, store, "account", "the old secret")) {
		t.Error("while one node has both secrets, nodes do not find what the other one stored")
	}
	if err := both.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
	after := nodeOn(t, store, "account", "the new secret")
	if !after.finds(old) {
		t.Error("after the rotation nothing from before is found")
	}
	if n := len(after.stored(t).Keys); n != 1 {
		t.Errorf("%d secrets open the key after the rotation", n)
	}
	if old.others+both.others+after.others > 0 {
		t.Error("the rotation was taken for another secret")
	}
	late := nodeOn(t, store, "account", "the old secret")
	if late.finds(old) || late.others == 0 {
		t.Error("the old secret still opens the key")
	}
	if err := after.Refresh(t.Context()); err != nil || after.others == 0 || !after.finds(old) {
		t.Errorf("the node with the new secret: other secret noticed %d times, %v", after.others, err)
	}
}

// A node that was not told of the rotation, and starts in its middle, must not take the
// key from those that were.
func TestNodeWithTheOldSecretThatStartsAmidARotationTakesNoKeyAway(t *testing.T) {
	store := newStore(t)
	old := nodeOn(t, store, "account", "the old secret")
	both := nodeOn(t, store, "account", "the new secret", "the old secret")
	nodeOn(t, store, "account", "the old secret")
	if err := both.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := nodeOn(t, store, "account", "the new secret"); !after.finds(old) {
		t.Error("after the rotation nothing from before is found")
	}
}

func TestNodesThatStartAtOnceAgreeOnOneKey(t *testing.T) {
	for range 50 {
		store := newStore(t)
		nodes := make([]*node, 4)
		var started sync.WaitGroup
		for i := range nodes {
			started.Go(func() { nodes[i] = nodeOn(t, store, "account", "secret") })
		}
		started.Wait()
		for _, n := range nodes[1:] {
			if !n.finds(nodes[0]) {
				t.Fatal("they have different keys")
			}
		}
	}
}

// Earlier versions derived the index key from the secret and stored only its mark.
func TestIndexOfAnEarlierVersionIsStillFound(t *testing.T) {
	store := newStore(t)
	own, err := newSecret("secret", "account")
	if err != nil {
		t.Fatal(err)
	}
	key := cache.Key{Kind: cache.KindShared, Realm: "account", Secret: "account"}
	mark := &cache.Record{Value: &Shared{Sum: sumOf(own.derived, "fingerprint", "account")}, Expires: time.Now().Add(time.Hour)}
	if err := store.Put(t.Context(), key, mark); err != nil {
		t.Fatal(err)
	}
	n := nodeOn(t, store, "account", "a newer secret", "secret")
	if tag := n.tags("+33639980001", cache.Tag{})[numberTag]; !slices.Equal(tag[:], sumOf(own.derived, "number", "+33639980001")) {
		t.Error("numbers are looked for under another key")
	}
	if next := nodeOn(t, store, "account", "a newer secret"); !next.finds(n) {
		t.Error("the next node has another key")
	}
}

// A server that fails over may lose its last writes, an operator may restore a backup.
func TestRevocationAndKeyThatTheCacheHasLostAreStoredAgain(t *testing.T) {
	store := newStore(t)
	n := nodeOn(t, store, "account", "secret")
	before := n.stored(t)
	if err := errors.Join(n.RevokeAll(t.Context()), n.RevokeScope(t.Context(), "www.example.com")); err != nil {
		t.Fatal(err)
	}
	realm := n.Realm(t.Context(), "www.example.com number-verify")
	for name, lose := range map[string]func() error{
		"all of it": func() error { return n.Remove(t.Context(), n.sharedKey().Ref()) },
		"the last changes": func() error {
			return Put(t.Context(), n.Ledger, n.sharedKey(), before.clone(), Life{Expires: time.Now().Add(time.Hour)})
		},
	} {
		if err := errors.Join(lose(), n.Refresh(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := n.Realm(t.Context(), "www.example.com number-verify"); got != realm {
			t.Errorf("%s was lost: the realm is %q again, not %q", name, got, realm)
		}
		other := nodeOn(t, store, "account", "secret")
		if got := other.Realm(t.Context(), "www.example.com number-verify"); got != realm || !other.finds(n) {
			t.Errorf("%s was lost: another node has the realm %q, not %q", name, got, realm)
		}
	}
}

func TestRevocationReachesOtherNodesWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		here, there := nodeOn(t, store, "account", "secret"), nodeOn(t, store, "account", "secret")
		go there.Watch(ctx)
		const base = "www.example.com number-verify"
		for name, revoke := range map[string]func() error{
			"all":   func() error { return here.RevokeAll(ctx) },
			"realm": func() error { return here.RevokeScope(ctx, "www.example.com") },
		} {
			before := there.Realm(ctx, base)
			if err := revoke(); err != nil {
				t.Fatal(err)
			}
			if here.Realm(ctx, base) == before {
				t.Errorf("%s: the node that revokes does not know", name)
			}
			time.Sleep(time.Second)
			if got := there.Realm(ctx, base); got != here.Realm(ctx, base) {
				t.Errorf("%s: after a second the other node has the realm %q", name, got)
			}
			if other := there.Realm(ctx, "shop.example.com number-verify"); (name == "realm") != strings.HasSuffix(other, ".0") && here.Realm(ctx, "shop.example.com number-verify") != other {
				t.Errorf("%s: the realm of another host is %q", name, other)
			}
		}
		cancel()
		synctest.Wait()
		_ = store.Close()
	})
}

// cut is a cache that fails while it is cut off.
type cut struct {
	cache.Cache
	off atomic.Bool
}

var errCut = errors.New("cut off")

// Get implements cache.Cache.
func (c *cut) Get(ctx context.Context, key cache.Key) (*cache.Record, error) {
	if c.off.Load() {
		return nil, errCut
	}
	return c.Cache.Get(ctx, key)
}

// Something may have been revoked elsewhere meanwhile.
func TestNobodyPassesWhereItIsNotKnownForLongWhatWasRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &cut{Cache: memory.New(memory.Options{})}
		ctx, cancel := context.WithCancel(t.Context())
		n := nodeOn(t, store, "account", "secret")
		go n.Watch(ctx)
		store.off.Store(true)
		time.Sleep(maxStale - time.Second)
		if n.Realm(ctx, "www.example.com number-verify") == "" {
			t.Error("the realm is unknown although the cache has failed only for a moment")
		}
		time.Sleep(2 * time.Second)
		if got := n.Realm(ctx, "www.example.com number-verify"); got != "" {
			t.Errorf("the realm is still %q", got)
		}
		store.off.Store(false)
		if n.Realm(ctx, "www.example.com number-verify") == "" {
			t.Error("the realm is unknown although the cache answers")
		}
		cancel()
		synctest.Wait()
		_ = store.Cache.Close()
	})
}

// The zero key would be one and the same for everybody.
func TestRecordsOfAnUnknownRealmCanBeNeitherReadNorWritten(t *testing.T) {
	n := nodeOn(t, newStore(t), "account", "secret")
	ctx, life := t.Context(), Life{Expires: time.Now().Add(time.Hour)}
	b := Browser{Secret: NewID()}
	_, got := Get(ctx, n.Ledger, n.SessionKey("", NewID()))
	_, swapped := Swap(ctx, n.Ledger, Nothing(n.AttemptKey("", "id")), &Attempt{}, life)
	for name, err := range map[string]error{
		"a session is read":     got,
		"an attempt is begun":   swapped,
		"a grant is stored":     Put(ctx, n.Ledger, n.GrantKey(b), &Grant{}, life),
		"a refusal is stored":   Put(ctx, n.Ledger, n.RefusalKey(b), &Refusal{}, life),
		"a press is remembered": Put(ctx, n.Ledger, n.PressKey(b, "", ""), &Press{}, life),
	} {
		if err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRealmIsCurrentUntilItOrEverythingIsRevoked(t *testing.T) {
	const base = "www.example.com number-verify"
	none, all := &agreed{}, &agreed{all: 1}
	scope := &agreed{scopes: map[string]uint64{"www.example.com": 2}}
	for name, c := range map[string]struct {
		a     *agreed
		realm string
		want  bool
	}{
		"nothing revoked":               {none, base, true},
		"nothing known to be revoked":   {none, all.realm(base), false},
		"everything revoked":            {all, base, false},
		"after everything was revoked":  {all, all.realm(base), true},
		"the realm revoked":             {scope, base, false},
		"after the realm was revoked":   {scope, scope.realm(base), true},
		"another realm":                 {scope, "shop.example.com number-verify", true},
		"another name of the cookie":    {scope, "www.example.com other 0.2", true},
		"an earlier one of that name":   {scope, "www.example.com other 0.1", false},
		"no realm":                      {none, "", false},
		"a realm without a cookie name": {none, "www.example.com", false},
	} {
		if got := c.a.isCurrent(c.realm); got != c.want {
			t.Errorf("%s: isCurrent(%q) = %v", name, c.realm, got)
		}
	}
}
