package gate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/quota"
	"go.uber.org/zap"
)

// The /48 of one customer must not use up the share of the whole operator.
func TestOneIPv6LineDoesNotLockItsOperatorsNetwork(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		limits, n := defaultLimits, 0
		limits.Client, limits.Global.Max = []quota.Rate{{Max: 6, Window: 10 * time.Minute}, {Max: 60, Window: 24 * time.Hour}}, 2000
		g := s.gate(limits)
		for range 11 {
			for line := range 16 { // a /60
				for range 6 {
					n++
					press(g, fmt.Sprintf("2001:db8:1:%x::1", line), ledger.NewID(), anyNumber(n))
				}
			}
			pause(t.Context(), 11*time.Minute)
		}
		if !passes(g, "2001:db8:ffff::1", anyNumber(0)) {
			t.Error("a neighbour, at another /48 of the /32, is locked out")
		}
	})
}

func TestOneStrangerDoesNotKeepTheBreakerOpenOnceItIs(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g := s.gate(defaultLimits)
		s.err = outage
		for i := range 10 {
			press(g, fmt.Sprint("192.0.2.", i), ledger.NewID(), anyNumber(i))
		}
		// The provider has recovered, except for numbers that the stranger knows.
		s.failing = make(map[string]bool)
		for i := range 100 {
			s.failing[anyNumber(1000+i)] = true
		}
		for round := range 3 {
			pause(t.Context(), 30*time.Second+time.Millisecond)
			press(g, "198.51.100.66", ledger.NewID(), anyNumber(1000+round)) // the stranger comes first
			if passes(g, fmt.Sprint("203.0.113.", round), anyNumber(round)) {
				return
			}
		}
		t.Error("one stranger keeps the provider from being called")
	})
}

// A site may have only one visitor: its failures alone must not keep calls suspended.
func TestClientWhoFailedLastIsLetThroughAfterAnOutage(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g := s.gate(defaultLimits)
		s.err = outage
		for i := range 10 {
			press(g, fmt.Sprint("192.0.2.", i), ledger.NewID(), anyNumber(i))
		}
		s.err = nil
		pause(t.Context(), 30*time.Second+time.Millisecond)
		if !passes(g, "192.0.2.9", anyNumber(9)) {
			t.Error("he does not pass")
		}
	})
}

func TestOneStrangerDoesNotTakeUpAllCalls(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g := s.gate(defaultLimits)
		s.took, s.slow = 10*time.Second, make(map[string]bool)
		var sent sync.WaitGroup
		for i := range 110 {
			s.slow[anyNumber(1000+i)] = true
		}
		for i := range 110 {
			sent.Go(func() { press(g, fmt.Sprintf("2001:db8:1:%x::1", i), ledger.NewID(), anyNumber(1000+i)) })
		}
		pause(t.Context(), time.Second)
		if !passes(g, "198.51.100.1", anyNumber(0)) {
			t.Error("there is no call left for others")
		}
		sent.Wait()
	})
}

// A burst waits until calls end, and exactly as many starts pass as the limit allows.
func TestBurstBeyondTheCallsUnderWayPassesExactlyItsLimit(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		limits := defaultLimits
		limits.Client = []quota.Rate{{Max: 150, Window: time.Hour}}
		g := s.gate(limits)
		s.took = 300 * time.Millisecond
		var sent sync.WaitGroup
		var passed, limited atomic.Int64
		for i := range 300 {
			sent.Go(func() {
				switch answer := press(g, "192.0.2.1", ledger.NewID(), anyNumber(i)); {
				case strings.HasPrefix(answer, "https://operator.example/"):
					passed.Add(1)
				case answer == "rate_limited":
					limited.Add(1)
				}
			})
		}
		sent.Wait()
		if passed.Load() != 150 || limited.Load() != 150 {
			t.Errorf("%d pass, %d are told of the limit", passed.Load(), limited.Load())
		}
	})
}

// In mobile networks many visitors share few addresses. A stranger who uses one after
// the other must not lock out the others while there is budget.
func TestStrangerOnAMobileNetworkDoesNotLockItWhileHalfOfTheBudgetIsLeft(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		limits, n := defaultLimits, 0
		limits.Client, limits.Global.Max = []quota.Rate{{Max: 60, Window: 24 * time.Hour}}, 2000
		g := s.gate(limits)
		for i := range 12 {
			for range 60 {
				n++
				press(g, fmt.Sprintf("192.0.2.%d", i), ledger.NewID(), anyNumber(n))
			}
		}
		if !passes(g, "192.0.3.1", anyNumber(0)) {
			t.Error("a neighbour is locked out")
		}
	})
}

func TestSlowStartsDoNotLoseAResultThatWasPaidFor(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g := s.gate(defaultLimits)
		browser := ledger.NewID()
		press(g, "203.0.113.1", browser, anyNumber(0))
		nonce := s.nonce.Load().(string)
		s.took = 25 * time.Second
		var sent sync.WaitGroup
		stop := make(chan struct{})
		for i := range allCalls {
			sent.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					press(g, fmt.Sprintf("192.0.2.%d", i), ledger.NewID(), anyNumber(1000+i*20+n))
					pause(context.Background(), time.Millisecond)
				}
			})
		}
		pause(t.Context(), time.Second)
		r := httptest.NewRequest(http.MethodGet, "http://localhost/.number-verify/callback?state="+nonce, nil)
		at := visit(g, r, browser).Header().Get("Location")
		for range 60 {
			if !strings.Contains(at, "/wait/") {
				break
			}
			w := visit(g, httptest.NewRequest(http.MethodGet, "http://localhost"+at, nil), browser)
			if next := w.Header().Get("Location"); next != "" {
				at = next
			}
			pause(t.Context(), time.Second)
		}
		if at != "/account/" {
			t.Errorf("he ends at %s", at)
		}
		close(stop)
		sent.Wait()
	})
}

func visit(g *Gate, r *http.Request, browser string) *httptest.ResponseRecorder {
	r.AddCookie(&http.Cookie{Name: "number-verify-browser", Value: browser})
	w := httptest.NewRecorder()
	v := NewVisit(r.Method, r.URL)
	g.Strip(r, v, "X-Verified-")
	g.ServeEndpoint(w, r, v)
	return w
}

// brokenCache fails, or panics, in one step.
type brokenCache struct {
	cache.Cache
	get     func(cache.Key) error
	replace func(cache.Key) error
	put     func(cache.Key)
}

func (c *brokenCache) Put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	if c.put != nil {
		c.put(key)
	}
	return c.Cache.Put(ctx, key, rec)
}

func (c *brokenCache) Get(ctx context.Context, key cache.Key) (*cache.Record, error) {
	if c.get != nil {
		if err := c.get(key); err != nil {
			return nil, err
		}
	}
	return c.Cache.Get(ctx, key)
}

func (c *brokenCache) Replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	if c.replace != nil {
		if err := c.replace(key); err != nil {
			return err
		}
	}
	return c.Cache.Replace(ctx, key, old, rec)
}

func TestSecondTapIsNotBilledWhenTheCacheCannotTellOfTheFirst(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gate(defaultLimits), ledger.NewID()
		press(g, "192.0.2.1", browser, anyNumber(1))
		broken := &brokenCache{Cache: s.store, get: func(key cache.Key) error {
			if key.Kind == cache.KindAttempt {
				return errors.New("no answer in time")
			}
			return nil
		}}
		s.broken = broken
		if got := press(g, "192.0.2.1", browser, anyNumber(1)); got != "cache_unavailable" {
			t.Errorf("the second tap gets %s", got)
		}
		if n := s.starts.Load(); n != 1 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestPanicOfACacheTakesUpNoCallForEver(t *testing.T) {
	for name, kind := range map[string]cache.Kind{"at the press": cache.KindPress, "at the attempt": cache.KindAttempt} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				g := s.gate(defaultLimits)
				broken := &brokenCache{Cache: s.store, replace: func(key cache.Key) error {
					if key.Kind == kind {
						panic("cache")
					}
					return nil
				}}
				s.broken = broken
				for i := range allCalls {
					func() {
						defer func() { _ = recover() }()
						press(g, fmt.Sprint("192.0.2.", i), ledger.NewID(), anyNumber(i))
					}()
				}
				s.broken = nil
				pause(t.Context(), 48*time.Hour)
				if !passes(g, "203.0.113.1", anyNumber(1)) {
					t.Error("nobody is let through two days later")
				}
			})
		})
	}
}

// A panic in a goroutine of the gate would end the process.
func TestPanicOfACacheWhileTheProviderIsAskedDoesNotEndCaddy(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gate(defaultLimits), ledger.NewID()
		broken := &brokenCache{Cache: s.store, put: func(key cache.Key) { // while a press is kept reserved
			if key.Kind == cache.KindPress {
				panic("cache")
			}
		}}
		s.broken = broken
		s.took = 2 * time.Second
		func() {
			defer func() { _ = recover() }()
			press(g, "192.0.2.1", browser, anyNumber(1))
		}()
		asked := 0
		broken.put, broken.replace = nil, func(key cache.Key) error { // while a result is recorded
			if asked++; asked == 3 {
				panic("cache")
			}
			return nil
		}
		r := httptest.NewRequest(http.MethodGet, "http://localhost/.number-verify/callback?state="+s.nonce.Load().(string), nil)
		visit(g, r, browser)
		panics := s.logs.FilterMessage("cache panicked")
		for _, method := range []string{"put", "replace"} {
			if panics.FilterField(zap.String("step", method)).Len() == 0 {
				t.Errorf("none of %s in the log", method)
			}
		}
		pause(t.Context(), time.Minute)
	})
}

// A start beyond its network's share counts against no limit of its client, so there can
// be any number of them. They must neither fill the counters nor write to a disk.
func TestStartsOverTheShareOfTheirNetworkTakeUpNoRoom(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		if err := s.store.Close(); err != nil {
			t.Fatal(err)
		}
		s.store.Cache = memory.New(memory.Options{Records: 8000})
		limits := defaultLimits
		limits.Client, limits.Global.Max = []quota.Rate{{Max: 6, Window: 10 * time.Minute}, {Max: 60, Window: 24 * time.Hour}}, 2000
		g := s.gate(limits)
		for i := range 1001 {
			press(g, fmt.Sprintf("192.0.%d.%d", 1+i/600, i/6%100), ledger.NewID(), anyNumber(i))
		}
		before := s.store.writes.Load()
		for i := range 3000 {
			if got := press(g, "192.0.99.99", ledger.NewID(), anyNumber(2000+i)); got != "rate_limited" {
				t.Errorf("start %d of the stranger gets %s", i, got)
				break
			}
		}
		if n := s.store.writes.Load() - before; n > 10 {
			t.Errorf("%d refused starts were stored", n)
		}
		if !passes(g, "203.0.113.1", anyNumber(1)) {
			t.Error("others are locked out")
		}
	})
}

// A sibling host may plant as many cookies as a browser keeps for a domain. With the
// gate's path they come before the visitor's own.
func TestSignOutUnderAHeapOfPlantedSessionCookiesEndsTheVisitorsSession(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gate(defaultLimits), ledger.NewID()
		press(g, "192.0.2.1", browser, anyNumber(1))
		r := httptest.NewRequest(http.MethodGet, "http://localhost/.number-verify/callback?state="+s.nonce.Load().(string), nil)
		cookies := visit(g, r, browser).Result().Cookies()
		if len(cookies) != 1 || cookies[0].Name != "number-verify" {
			t.Fatalf("not verified: %v", cookies)
		}
		r = httptest.NewRequest(http.MethodPost, "http://localhost/.number-verify/sign-out", nil)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		for range 180 {
			r.AddCookie(&http.Cookie{Name: "number-verify", Value: ledger.NewID()})
		}
		r.AddCookie(cookies[0])
		r.AddCookie(&http.Cookie{Name: "number-verify-browser", Value: ledger.NewID()}) // the visitor's own has expired
		v := NewVisit(r.Method, r.URL)
		g.Strip(r, v, "X-Verified-")
		w := httptest.NewRecorder()
		g.ServeEndpoint(w, r, v)
		if n := s.store.Cache.(cache.Sized).Held(); w.Code != http.StatusSeeOther || n != 0 {
			t.Errorf("%d, and %d sessions go on", w.Code, n)
		}
	})
}
