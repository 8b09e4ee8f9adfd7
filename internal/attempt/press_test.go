package attempt

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// The first press may panic, in a third party's verifier: those that wait for it are
// refused.
func TestPressThatPanicsRefusesWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p presses
		go func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is lost")
				}
			}()
			p.do(t.Context(), cache.Key{}, func() *ledger.Press {
				pause(t.Context(), time.Second)
				panic("verifier")
			})
		}()
		synctest.Wait()
		got := p.do(t.Context(), cache.Key{}, func() *ledger.Press { return &ledger.Press{URL: "a second start"} })
		if got.Code != string(refusal.ProviderUnavailable) {
			t.Errorf("%+v", got)
		}
		got = p.do(t.Context(), cache.Key{}, func() *ledger.Press { return &ledger.Press{URL: "anew"} })
		if got.URL != "anew" {
			t.Errorf("after it: %+v", got)
		}
	})
}

func TestVisitorWhoWaitsForHisFirstTapMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p presses
		go p.do(t.Context(), cache.Key{}, func() *ledger.Press {
			pause(context.Background(), time.Minute)
			return pressOf(t.Context(), refusal.Busy)
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		p.do(ctx, cache.Key{}, func() *ledger.Press { return nil })
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("he waits %v", waited)
		}
		pause(t.Context(), time.Hour)
	})
}
