package ledger

import (
	"context"
	"errors"
	"testing"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// careless is a third party's cache that breaks the contract.
type careless struct {
	cache.Cache
	rec     *cache.Record
	counted []cache.Counted
	err     error
}

func (c careless) Get(context.Context, cache.Key) (*cache.Record, error) { return c.rec, nil }

func (c careless) Count(context.Context, []cache.Limit) ([]cache.Counted, error) {
	return c.counted, c.err
}

func ledgerOn(t *testing.T, c cache.Cache) *Ledger {
	t.Helper()
	l, err := New(Config{
		Account: "account", Secrets: []string{"secret"},
		Cache:    func(context.Context) (cache.Cache, error) { return c, nil },
		Panicked: func(string, any) {}, Failed: func(string) {}, OtherSecret: func() {}, NotErased: func(error) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Callers use a record without checking it, even while a configuration loads, when a
// panic would end Caddy.
func TestRecordThatIsNoneIsAFailureOfTheCache(t *testing.T) {
	for name, c := range map[string]careless{
		"no record":               {},
		"no value":                {rec: new(cache.Record)},
		"a nil value":             {rec: &cache.Record{Value: (*Shared)(nil)}},
		"a value of another kind": {rec: &cache.Record{Value: new(Session)}},
	} {
		l := ledgerOn(t, c)
		_, err := Get(t.Context(), l, l.sharedKey())
		if refusal.Of(err) != refusal.CacheUnavailable || errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		if err := l.Refresh(t.Context()); refusal.Of(err) != refusal.CacheUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Counts are matched to limits by their position, and a count that is left out would
// never be taken back.
func TestCountOfOtherLimitsIsAFailureOfTheCache(t *testing.T) {
	for name, c := range map[string]careless{
		"one event too many": {counted: make([]cache.Counted, 3)},
		"one event too few":  {counted: make([]cache.Counted, 1)},
		"none":               {},
		"a limit too far":    {err: &cache.LimitError{Limit: 2}},
		"a limit before all": {err: &cache.LimitError{Limit: -1}},
	} {
		_, err := ledgerOn(t, c).Count(t.Context(), make([]cache.Limit, 2))
		if _, reached := errors.AsType[*cache.LimitError](err); refusal.Of(err) != refusal.CacheUnavailable || reached {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ledgerOn(t, careless{counted: make([]cache.Counted, 2)}).Count(t.Context(), make([]cache.Limit, 2)); err != nil {
		t.Error(err)
	}
}
