package gate

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/internal/attempt"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/pages"
	"github.com/numberverify/caddy-number-verify/internal/quota"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// defaultLimits are those of the documentation.
var defaultLimits = quota.Limits{
	NumberEach: 5, NumberAll: 30, NumberWindow: time.Hour,
	Client:   []quota.Rate{{Max: 60, Window: 10 * time.Minute}, {Max: 600, Window: 24 * time.Hour}},
	Global:   quota.Rate{Max: 20_000, Window: 24 * time.Hour},
	Attempts: 10_000, Sessions: 1_000_000,
}

var (
	outage  = &verifier.Error{Call: "start", Err: context.DeadlineExceeded}
	mistake = &verifier.Error{Class: verifier.Misconfigured, Call: "token", ID: "98"}
)

// allCalls is how many calls of an account may be under way at once.
const allCalls = 100

// stage is a provider's account and a cache, which gates share.
type stage struct {
	t       *testing.T
	store   *observedCache
	broken  cache.Cache // if not nil, used in place of store
	account *Account
	logs    *observer.ObservedLogs
	log     *zap.Logger
	starts  atomic.Int64
	results atomic.Int64
	took    time.Duration // by each start
	err     error         // of each start
	lost    error         // of each result
	pending atomic.Bool   // as long as it is, so is each result
	nonce   atomic.Value  // of the last start
	// slow is how long the start of a number takes, failing are numbers whose start
	// fails.
	slow, failing map[string]bool
}

// observedCache counts the calls that change it. After the count of a start it gives
// others time to act.
type observedCache struct {
	cache.Cache
	writes atomic.Int64
}

func (c *observedCache) Put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	c.writes.Add(1)
	return c.Cache.Put(ctx, key, rec)
}

func (c *observedCache) Replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	c.writes.Add(1)
	return c.Cache.Replace(ctx, key, old, rec)
}

func (c *observedCache) Count(ctx context.Context, limits []cache.Limit) ([]cache.Counted, error) {
	counted, err := c.Cache.Count(ctx, limits)
	if err == nil {
		c.writes.Add(1)
		pause(ctx, time.Millisecond)
	}
	return counted, err
}

// onStage runs a test with a clock of its own.
func onStage(t *testing.T, test func(t *testing.T, s *stage)) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		s := &stage{t: t, store: &observedCache{Cache: memory.New(memory.Options{})}, logs: logs, log: zap.New(core)}
		s.account = NewAccount("stage", s.log)
		test(t, s)
		if err := s.store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// gate returns a gate with limits; each one may stand for another node.
func (s *stage) gate(limits quota.Limits) *Gate {
	s.t.Helper()
	return s.gateWith(func(cfg *Config) { cfg.Limits = limits })
}

// gateWith returns a gate that is configured otherwise than most.
func (s *stage) gateWith(change func(*Config)) *Gate {
	s.t.Helper()
	visible, err := pages.New(pages.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := Config{
		Verifier: s, Account: s.account, Pages: visible, Log: s.log,
		Cache: func(context.Context) (cache.Cache, error) {
			if s.broken != nil {
				return s.broken, nil
			}
			return s.store, nil
		},
		Origins: []string{"http://localhost"}, Path: "/.number-verify", Region: "FR", Countries: []string{"FR"},
		ClientIP: func(r *http.Request) string { return r.Header.Get("X-Test-Address") }, Secrets: []string{"secret"},
		Limits: defaultLimits, AttemptTTL: 3 * time.Minute, RefusedTTL: time.Minute, ResultWait: 30 * time.Second, CookieName: "number-verify",
	}
	change(&cfg)
	g, err := New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	g.AddRoute(attempt.Terms{SessionTTL: time.Hour})
	return g
}

// Account implements verifier.Verifier.
func (*stage) Account() string { return "stage" }

// Secret implements verifier.Verifier.
func (*stage) Secret() string { return "the stage's secret" }

// Recipient implements verifier.Verifier.
func (*stage) Recipient() string { return "Example" }

// Understands implements verifier.Verifier.
func (*stage) Understands(string) bool { return true }

// Start implements verifier.Verifier.
func (s *stage) Start(_ context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	n := s.starts.Add(1)
	s.nonce.Store(req.State)
	if s.slow == nil || s.slow[req.Number] {
		pause(context.Background(), s.took)
	}
	if s.err != nil && (s.failing == nil || s.failing[req.Number]) {
		return nil, s.err
	}
	return &verifier.Started{URL: fmt.Sprint("https://operator.example/", n), Expires: time.Now().Add(10 * time.Minute)}, nil
}

// Callback implements verifier.Verifier.
func (*stage) Callback(state verifier.State, _ url.Values) (verifier.State, error) { return state, nil }

// Result implements verifier.Verifier.
func (s *stage) Result(context.Context, verifier.State) (verifier.Outcome, error) {
	s.results.Add(1)
	if s.pending.Load() {
		return verifier.Pending, nil
	}
	return verifier.Verified, s.lost
}

// startRequest is a press of the start button, without cookies.
func startRequest(address, number, back string) *http.Request {
	body := strings.NewReader(`{"number":"` + number + `","return":"` + back + `"}`)
	r := httptest.NewRequest(http.MethodPost, "http://localhost/.number-verify/start", body)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("X-Test-Address", address)
	return r
}

// press starts a verification from an address, by a browser; it returns the
// operator's URL or the refusal's code.
func press(g *Gate, address, browser, number string) string {
	w := visit(g, startRequest(address, number, "/account/"), browser)
	var answer struct {
		Code string `json:"code"`
		URL  string `json:"redirect_url"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		return fmt.Sprintf("%d %v", w.Code, err)
	}
	return answer.Code + answer.URL
}

// anyNumber returns one of ten thousand numbers.
func anyNumber(i int) string { return fmt.Sprintf("+336399%d%04d", 8, i%10_000) }

// passes tells whether a start by a new browser reaches the operator.
func passes(g *Gate, address, number string) bool {
	return strings.HasPrefix(press(g, address, ledger.NewID(), number), "https://operator.example/")
}

func TestAFewStrangersDoNotUseUpTheBudgetOfADay(t *testing.T) {
	few := func(format string, n int) (addresses []string) {
		for i := range n {
			addresses = append(addresses, fmt.Sprintf(format, i+1))
		}
		return addresses
	}
	hourly, small := defaultLimits, defaultLimits
	hourly.Global.Max = 2450
	small.Client, small.Global.Max = []quota.Rate{{Max: 6, Window: 10 * time.Minute}, {Max: 60, Window: 24 * time.Hour}}, 2000
	many := append(few("192.0.2.%d", 200), few("192.0.3.%d", 200)...)
	var inOne32 []string
	for i := range 400 {
		inOne32 = append(inOne32, fmt.Sprintf("2001:db8:%x::1", i))
	}
	for name, test := range map[string]struct {
		limits    quota.Limits
		addresses []string
		hours     int
		each      int
		most      int64
	}{
		"three IPv4 addresses":                    {hourly, few("192.0.2.%d", 3), 14, 60, 3 * 600},
		"four /64s of one /48":                    {hourly, few("2001:db8:0:%d::1", 4), 14, 60, 4 * 600},
		"400 addresses of one network":            {small, many, 1, 6, 1000},
		"400 lines of one operator, each its /48": {small, inOne32, 1, 6, 1200},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				g, n := s.gate(test.limits), 0
				for range test.hours {
					for _, address := range test.addresses {
						for range test.each {
							n++
							press(g, address, ledger.NewID(), anyNumber(n))
						}
					}
					pause(t.Context(), 59*time.Minute)
				}
				if got := s.starts.Load(); got > test.most {
					t.Errorf("%d starts of %d reached the provider, want %d at most", got, n, test.most)
				}
				if !passes(g, "198.51.100.1", anyNumber(0)) {
					t.Error("there is nothing left for others")
				}
			})
		})
	}
}

func TestShareOfANetworkNeverRefusesWhatOneClientMayStart(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		limits := defaultLimits
		limits.Global.Max = 10
		g := s.gate(limits)
		for i := range 12 {
			if passed := passes(g, "192.0.2.1", anyNumber(i)); passed != (i < 10) {
				t.Errorf("start %d passes: %v", i, passed)
			}
		}
	})
}

func TestClientIsHeldByBothOfItsWindows(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		limits, n := defaultLimits, 0
		limits.Client = []quota.Rate{{Max: 3, Window: 10 * time.Minute}, {Max: 5, Window: 24 * time.Hour}}
		g := s.gate(limits)
		for i, want := range []int{3, 2, 0} {
			passed := 0
			for range 5 {
				if n++; passes(g, "192.0.2.1", anyNumber(n)) {
					passed++
				}
			}
			if passed != want {
				t.Errorf("%d pass in window %d, want %d", passed, i, want)
			}
			pause(t.Context(), 11*time.Minute)
		}
		pause(t.Context(), 25*time.Hour)
		if !passes(g, "192.0.2.1", anyNumber(0)) {
			t.Error("none the day after")
		}
	})
}

// Somebody with a /48 has 65,536 clients.
func TestOneIPv6LineStartsNoMoreThanTenClients(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g := s.gate(defaultLimits)
		for i := range 720 {
			press(g, fmt.Sprintf("2001:db8:1:%x::1", i/60), ledger.NewID(), anyNumber(i))
		}
		if n := s.starts.Load(); n != 600 {
			t.Errorf("%d starts reached the provider, want 600", n)
		}
		if !passes(g, "2001:db8:2::1", anyNumber(0)) {
			t.Error("a neighbour is locked out")
		}
	})
}

func TestOneClientDoesNotTakeUpAllAttemptsInFlight(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		limits := defaultLimits
		limits.Client = []quota.Rate{{Max: 1000, Window: time.Hour}}
		g := s.gate(limits)
		for i := range 210 {
			press(g, "192.0.2.1", ledger.NewID(), anyNumber(i))
		}
		if got := press(g, "192.0.2.1", ledger.NewID(), anyNumber(999)); s.starts.Load() != 200 || got != "busy" {
			t.Errorf("%d are in flight, and the next gets %s", s.starts.Load(), got)
		}
		if !passes(g, "198.51.100.1", anyNumber(0)) {
			t.Error("there is none left for others")
		}
	})
}

func TestOneIPv6LineDoesNotLockANumber(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g := s.gate(defaultLimits)
		for i := range 256 {
			for range 2 {
				press(g, fmt.Sprintf("2001:db8:1:%x::1", i), ledger.NewID(), anyNumber(7))
			}
		}
		if n := s.starts.Load(); n != 10 {
			t.Errorf("%d starts of one /48, want twice the five of one client", n)
		}
		if !passes(g, "198.51.100.1", anyNumber(7)) {
			t.Error("the number's owner is locked out")
		}
		if !passes(g, "2001:db8:2::1", anyNumber(7)) {
			t.Error("the number's owner is locked out in the next /48")
		}
	})
}

func TestRefusedStartsStoreNothingAndAreLoggedInSamples(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g := s.gate(defaultLimits)
		for i := range 60 {
			press(g, "192.0.2.1", ledger.NewID(), anyNumber(i))
		}
		pause(t.Context(), time.Second)
		before := s.store.writes.Load()
		for i := range 1000 {
			if got := press(g, "192.0.2.1", ledger.NewID(), anyNumber(i)); got != "rate_limited" {
				t.Fatalf("start %d: %s", i, got)
			}
		}
		if n := s.store.writes.Load() - before; n != 0 {
			t.Errorf("%d writes", n)
		}
		pause(t.Context(), time.Second)
		press(g, "192.0.2.1", ledger.NewID(), anyNumber(1))
		lines := s.logs.FilterMessage("start refused by a limit").All()
		if len(lines) != 2 || lines[1].ContextMap()["left_out"] != int64(999) {
			t.Errorf("%d lines: %v", len(lines), lines)
		}
	})
}

// Browsers and numbers cost a stranger nothing: starts that a breaker refuses must
// not make counters, which would take up the room of others.
func TestStartsDuringAnOutageStoreNothing(t *testing.T) {
	for name, err := range map[string]error{"outage": outage, "misconfiguration": mistake} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				g := s.gate(defaultLimits)
				s.err = err
				for i := range 10 {
					press(g, fmt.Sprint("192.0.2.", i), ledger.NewID(), anyNumber(i))
				}
				before, called := s.store.writes.Load(), s.starts.Load()
				for i := range 1000 {
					if got := press(g, "192.0.2.99", ledger.NewID(), anyNumber(i)); got != "provider_unavailable" {
						t.Fatalf("start %d: %s", i, got)
					}
				}
				if n := s.store.writes.Load() - before; n != 0 || s.starts.Load() != called {
					t.Errorf("%d writes, %d starts", n, s.starts.Load()-called)
				}
				if n := s.logs.FilterMessage("provider not called").Len(); n != 1 {
					t.Errorf("%d lines in the log", n)
				}
			})
		})
	}
}

func TestTwoTapsAtOnceAtTheLimitAreOneStart(t *testing.T) {
	limits := defaultLimits
	limits.NumberEach, limits.NumberAll = 1, 1
	onStage(t, func(t *testing.T, s *stage) {
		s.took = time.Second
		g, browser := s.gate(limits), ledger.NewID()
		for i, got := range tapTogether(browser, g, g, g) {
			if got != "https://operator.example/1" {
				t.Errorf("tap %d: %s", i, got)
			}
		}
		if n := s.starts.Load(); n != 1 {
			t.Errorf("%d starts", n)
		}
		if got := press(g, "192.0.2.1", ledger.NewID(), anyNumber(1)); got != "rate_limited" {
			t.Errorf("another browser: %s", got)
		}
	})
}

// One node finds only after both have counted that the other is already starting.
func TestTapsOnTwoNodesAtOnceCountOnce(t *testing.T) {
	limits := defaultLimits
	limits.NumberEach, limits.NumberAll = 2, 2
	onStage(t, func(t *testing.T, s *stage) {
		s.took = time.Second
		g, other := s.gate(limits), s.gate(limits)
		for i, got := range tapTogether(ledger.NewID(), g, other) {
			if got != "https://operator.example/1" {
				t.Errorf("tap %d: %s", i, got)
			}
		}
		if !passes(g, "192.0.2.1", anyNumber(1)) || passes(g, "192.0.2.1", anyNumber(1)) {
			t.Error("the two taps do not count as one")
		}
		if n := s.starts.Load(); n != 2 {
			t.Errorf("%d starts", n)
		}
	})
}

// tapTogether taps once on each node at the same time.
func tapTogether(browser string, nodes ...*Gate) []string {
	answers := make([]string, len(nodes))
	var sent sync.WaitGroup
	for i, g := range nodes {
		sent.Go(func() { answers[i] = press(g, "192.0.2.1", browser, anyNumber(1)) })
	}
	sent.Wait()
	return answers
}

func TestOneStrangerDoesNotOpenTheBreakerWhateverHeStarts(t *testing.T) {
	for name, address := range map[string]func(i int) string{
		"from one address": func(int) string { return "192.0.2.1" },
		"from one /48":     func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i) },
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				g := s.gate(defaultLimits)
				s.err = outage
				for i := range 30 {
					press(g, address(i), ledger.NewID(), anyNumber(i))
				}
				s.err = nil
				if !passes(g, "198.51.100.1", anyNumber(99)) {
					t.Error("nobody else is let through")
				}
			})
		})
	}
}

// Failed results count for the client that started the attempt, whatever address the
// visitor comes back from.
func TestOneStrangerDoesNotOpenTheBreakerByHisResults(t *testing.T) {
	for clients := range 2 {
		t.Run(fmt.Sprint("with so many others: ", clients), func(t *testing.T) {
			onStage(t, func(t *testing.T, s *stage) {
				g := s.gate(defaultLimits)
				s.lost = &verifier.Error{Call: "result", Again: true, Err: context.DeadlineExceeded}
				browser, nonces := ledger.NewID(), []string(nil)
				for i := range 4 {
					press(g, fmt.Sprint("192.0.2.", i%(clients+1)), browser, anyNumber(i))
					nonces = append(nonces, s.nonce.Load().(string))
				}
				for i, nonce := range nonces { // three calls each
					r := httptest.NewRequest(http.MethodGet, "http://localhost/.number-verify/callback?state="+nonce, nil)
					r.Header.Set("X-Test-Address", fmt.Sprint("203.0.113.", i))
					r.AddCookie(&http.Cookie{Name: "number-verify-browser", Value: browser})
					v := NewVisit(r.Method, r.URL)
					g.Strip(r, v, "X-Verified-")
					g.ServeEndpoint(httptest.NewRecorder(), r, v)
				}
				if passed := passes(g, "198.51.100.1", anyNumber(99)); passed != (clients == 0) {
					t.Errorf("a start of somebody else passes: %v", passed)
				}
			})
		})
	}
}
