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
	mark := &cache.Record{Value: &Shared{Sum: markOf(own.derived, "account")}, Expires: time.Now().Add(time.Hour)}
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

func TestRealmIsRevokedByWhatCameAfterItAlone(t *testing.T) {
	const base = "www.example.com number-verify"
	none, all := &agreed{}, &agreed{all: 3}
	scope := &agreed{scopes: map[string]uint64{"www.example.com": 2}}
	for name, c := range map[string]struct {
		a     *agreed
		realm string
		want  bool
	}{
		"nothing revoked":                   {none, base, false},
		"this node does not know of it yet": {none, all.realm(base), false},
		"everything revoked":                {all, base, true},
		"everything revoked once more":      {all, base + " 2.5", true},
		"after everything was revoked":      {all, all.realm(base), false},
		"the realm revoked":                 {scope, base, true},
		"after the realm was revoked":       {scope, scope.realm(base), false},
		"the realm revoked once more":       {scope, base + " 9.1", true},
		"another realm":                     {scope, "shop.example.com number-verify", false},
		"another name of the cookie":        {scope, "www.example.com other 0.1", true},
		"a name of a later version":         {all, base + " x", false},
	} {
		if got := c.a.isRevoked(c.realm); got != c.want {
			t.Errorf("%s: isRevoked(%q) = %v", name, c.realm, got)
		}
	}
}

// While one revocation is erased, another one is made, and visitors verify again.
func TestEraseLeavesWhatWasVerifiedAfterARevocationThatItDoesNotKnow(t *testing.T) {
	store := newStore(t)
	here, there := nodeOn(t, store, "account", "secret"), nodeOn(t, store, "account", "secret")
	ctx := t.Context()
	session := func(base string) Key[Session] {
		b := Browser{Realm: here.Realm(ctx, base), Secret: NewID()}
		key, s := here.SessionKey(b.Realm, NewID()), NewSession(Session{Number: "+33639980001", VerifiedAt: time.Now()})
		if err := Put(ctx, here.Ledger, key, s, here.SessionLife(key, s, b, time.Hour, 0)); err != nil {
			t.Fatal(err)
		}
		return key
	}
	lives := func(key Key[Session]) bool {
		_, err := Get(ctx, here.Ledger, key)
		return err == nil
	}
	before := session("a.example.com number-verify")
	if err := errors.Join(here.RevokeScope(ctx, "a.example.com"), there.Refresh(ctx), here.RevokeScope(ctx, "b.example.com")); err != nil {
		t.Fatal(err)
	}
	after := session("b.example.com number-verify")
	if err := there.eraseRevoked(ctx, there.known.Load()); err != nil {
		t.Fatal(err)
	}
	if lives(before) || !lives(after) {
		t.Errorf("the session from before lives: %v, the one from after: %v", lives(before), lives(after))
	}
	if there.erase(ctx); !here.stored(t).Unerased {
		t.Error("what this node does not know of is taken for erased")
	}
	_ = there.Refresh(ctx)
	if there.erase(ctx); here.stored(t).Unerased || !lives(after) {
		t.Error("after the sessions were erased they are still to be erased")
	}
}

// A revocation that was made while an earlier one was being erased is erased next.
func TestEraseIsNotDoneWhileThereAreNewerRevocations(t *testing.T) {
	store := &revoking{Cache: newStore(t)}
	n := nodeOn(t, store, "account", "secret")
	if err := n.RevokeAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	store.amid = func() { _ = n.RevokeAll(t.Context()) }
	n.erase(t.Context())
	if s := n.stored(t); !s.Unerased {
		t.Error("the second revocation is taken for erased")
	}
}

// revoking is a cache in which something happens during a walk.
type revoking struct {
	cache.Cache
	amid func()
}

// Walk implements cache.Cache.
func (r *revoking) Walk(ctx context.Context, visit func(cache.Ref) error) error {
	r.amid()
	return r.Cache.Walk(ctx, visit)
}

// A node that was set up with another secret must not cost the others what they know:
// numbers would not be found, and revoking them would end nothing.
func TestNodeWithAnotherSecretThatStartsTwiceTakesNoKeyAway(t *testing.T) {
	store := newStore(t)
	right := nodeOn(t, store, "account", "secret")
	for range 2 {
		nodeOn(t, store, "account", "another secret")
	}
	if again := nodeOn(t, store, "account", "secret"); !again.finds(right) {
		t.Error("after its restart the node finds nothing any more")
	}
}

// A configuration that goes has one more look at the record, while the next one, which
// has dropped the old secret, is already there.
func TestRemovedSecretIsNotPutBackByTheConfigurationThatGoes(t *testing.T) {
	store := newStore(t)
	nodeOn(t, store, "account", "the old secret")
	goes := nodeOn(t, store, "account", "the new secret", "the old secret")
	comes := nodeOn(t, store, "account", "the new secret")
	if err := goes.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(comes.stored(t).Keys); n != 1 {
		t.Errorf("%d secrets open the key", n)
	}
}

// After a reload the old configuration finishes its requests. Nobody watches for it.
func TestConfigurationThatWasReplacedAsksBeforeItLetsAnybodyPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Options{})
		old, fresh := nodeOn(t, store, "account", "secret"), nodeOn(t, store, "account", "secret")
		ctx, cancel := context.WithCancel(t.Context())
		go old.Watch(ctx)
		synctest.Wait()
		cancel()
		synctest.Wait()
		for range 2 {
			if err := fresh.RevokeAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			const base = "www.example.com number-verify"
			if got, want := old.Realm(t.Context(), base), fresh.Realm(t.Context(), base); got != want {
				t.Errorf("the old configuration has the realm %q, not %q", got, want)
			}
		}
		_ = store.Close()
	})
}

// readOnly is a cache that can be read, such as a Redis whose memory is full.
type readOnly struct{ cache.Cache }

// Replace implements cache.Cache.
func (readOnly) Replace(context.Context, cache.Key, *cache.Record, *cache.Record) error {
	return errCut
}

func TestCacheThatTakesNoMoreWritesStillSaysWhatWasRevoked(t *testing.T) {
	store := newStore(t)
	n := nodeOn(t, store, "account", "the old secret")
	if err := n.RevokeAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := nodeOn(t, readOnly{store}, "account", "the new secret", "the old secret")
	if !after.finds(n) || after.Realm(t.Context(), "www.example.com number-verify") != n.Realm(t.Context(), "www.example.com number-verify") {
		t.Error("the node does not know what it could read")
	}
	if err := after.RevokeAll(t.Context()); err == nil {
		t.Error("a revocation that could not be stored is taken for done")
	}
}

// Two nodes revoke at the same time, and the cache loses what the first one wrote.
func TestRevocationsOfTwoNodesAreNeverTakenForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.New(memory.Options{})
		first, second := nodeOn(t, store, "account", "secret"), nodeOn(t, store, "account", "secret")
		before := first.stored(t).clone()
		_ = first.RevokeAll(t.Context())
		given := first.Realm(t.Context(), "www.example.com number-verify")
		_ = Put(t.Context(), first.Ledger, first.sharedKey(), before, Life{Expires: time.Now().Add(time.Hour)})
		time.Sleep(100 * time.Millisecond)
		_ = second.RevokeAll(t.Context())
		_ = first.Refresh(t.Context())
		if first.Realm(t.Context(), "www.example.com number-verify") == given {
			t.Error("what was given between the revocations outlives the second")
		}
		_ = store.Close()
	})
}

func BenchmarkRealm(b *testing.B) {
	const base = "www.example.com number-verify"
	for name, a := range map[string]*agreed{
		"nothing revoked": {}, "everything": {all: 1}, "this realm": {scopes: map[string]uint64{"www.example.com": 1}},
		"another realm": {scopes: map[string]uint64{"shop.example.com": 1}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a.realm(base)
			}
		})
	}
}

// After a new secret without the previous one, numbers no longer lead to earlier sessions,
// which an administrator must be told.
func TestNodeKnowsThatThereMayBeRecordsUnderAnotherSecret(t *testing.T) {
	store := newStore(t)
	old := nodeOn(t, store, "account", "the old secret")
	after := nodeOn(t, store, "account", "the new secret")
	_ = old.Refresh(t.Context())
	for name, c := range map[string]struct {
		n    *node
		want bool
	}{
		"with the new secret": {after, true}, "with the old secret": {old, true},
		"with both": {nodeOn(t, store, "account", "a third secret", "the old secret"), true},
		"alone":     {nodeOn(t, newStore(t), "account", "the old secret"), false},
	} {
		if got, err := c.n.HasOthers(t.Context()); got != c.want || err != nil {
			t.Errorf("%s: HasOthers = %v, %v", name, got, err)
		}
	}
}
