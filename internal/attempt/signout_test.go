package attempt

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

// It could not be read what was revoked, so the visitor's session cannot be found, and
// nothing else leads to it: it was given under an earlier browser cookie.
func TestSignOutIsNotTakenForDoneWhereTheSessionCannotBeFound(t *testing.T) {
	c := memory.New(memory.Options{})
	t.Cleanup(func() { _ = c.Close() })
	l, err := ledger.New(ledger.Config{Account: "account", Secrets: []string{"secret"},
		Cache:    func(context.Context) (cache.Cache, error) { return c, nil },
		Panicked: func(string, any) {}, Failed: func(string) {}, OtherSecret: func() {}, NotErased: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	d := &Desk{Config: Config{Ledger: l, Journal: journal.New(zap.NewNop())}}
	id, b := ledger.NewID(), ledger.Browser{Realm: l.Realm(t.Context(), "www.example.com number-verify"), Secret: ledger.NewID()}
	key, s := l.SessionKey(b.Realm, id), ledger.NewSession(ledger.Session{Account: "account", Number: "+33639980001", VerifiedAt: time.Now()})
	if err := ledger.Put(t.Context(), l, key, s, l.SessionLife(key, s, b, time.Hour, 0)); err != nil {
		t.Fatal(err)
	}
	v := &Visitor{Browser: ledger.NewID(), Session: id}
	_, err = d.SignOut(t.Context(), v, []string{id})
	if _, gone := ledger.Get(t.Context(), l, key); err == nil && gone == nil {
		t.Error("the visitor is told of a sign-out, and the session goes on")
	}
}
