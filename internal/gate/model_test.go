package gate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/internal/attempt"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/pages"
	"github.com/numberverify/caddy-number-verify/internal/quota"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// The model: a few browsers act in any order, also with each other's links and nonces,
// while time passes, the provider answers in different ways, the cache fails and the
// configuration is reloaded. Whatever happens, these must hold:
//   - a session is given to a browser only for an attempt of its own that the
//     provider has confirmed, and with that attempt's number;
//   - one attempt makes one session, and none after it was burned;
//   - a request passes only with a session that was given to this browser and has
//     neither ended nor been signed out;
//   - once a browser has signed out, no session that it was ever given passes,
//     whatever it was doing meanwhile;
//   - once an administrator has revoked a number, a session, a realm or everything,
//     nothing passes that was given before, and nothing is given for what was begun
//     before;
//   - a result is asked for only after a callback of the right browser, by one call at
//     a time, and each token serves one attempt.

const (
	modelBrowsers   = 3
	modelSessionTTL = time.Hour
)

// modelRoute has an idle time, so that visits write to the cache.
var modelRoute = attempt.Terms{SessionTTL: modelSessionTTL, SessionIdle: 45 * time.Minute}

// step is one thing that happens.
type step struct {
	Do      string
	Browser int
	Attempt int // counted back from the last one
	Number  int
	Answer  string
	Revoke  string
	Wait    time.Duration
	Order   uint64 // of what happens at once
}

func steps() *rapid.Generator[step] {
	return rapid.Custom(func(t *rapid.T) step {
		return step{
			Do: rapid.SampledFrom([]string{
				"form", "start", "answer", "answer", "callback", "callbacks", "wait", "visit", "visit",
				"begin", "begin", "begin", "return", "return", "intrude", "sign out", "sign out amid", "revoke", "revoke amid", "forget session", "bring back session", "pass time", "cache", "reload",
			}).Draw(t, "do"),
			Browser: rapid.IntRange(0, modelBrowsers-1).Draw(t, "browser"),
			Attempt: rapid.IntRange(0, 3).Draw(t, "attempt"),
			Number:  rapid.IntRange(0, 3).Draw(t, "number"),
			Answer:  rapid.SampledFrom([]string{"verified", "verified", "pending", "mismatch", "nonsense", "outage"}).Draw(t, "answer"),
			Revoke:  rapid.SampledFrom(revocations).Draw(t, "revoke"),
			Wait:    rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute, 4 * time.Minute, time.Hour}).Draw(t, "wait"),
			Order:   rapid.Uint64().Draw(t, "order"),
		}
	})
}

// modelAttempt is what the model knows of an attempt.
type modelAttempt struct {
	browser, nonce, token, number string
	answer                        string
	accepted                      bool // a callback of the right browser may have been
	burned                        bool // a callback of another browser has been, before a session
	revoked                       bool
	sessions                      int
}

// modelSession is a session that a browser was given.
type modelSession struct {
	number  string
	browser string // the browser cookie that it was given under
	given   time.Time
	ended   bool
}

// model is the world around a gate, and the provider.
type model struct {
	gate     *Gate
	store    *memory.Cache
	instead  cache.Cache // if not nil, used in place of the store
	down     atomic.Bool
	delays   *delays
	browsers [modelBrowsers]map[string]string // cookies

	mu       sync.Mutex
	tokens   int
	attempts []*modelAttempt
	asking   map[string]bool
	wrong    []string

	sessions map[string]*modelSession // by cookie
	success  map[string]string        // the number of the last success, by browser cookie
	given    [modelBrowsers][]string  // the cookies of sessions
}

func (m *model) fail(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wrong = append(m.wrong, fmt.Sprintf(format, args...))
}

// Account implements verifier.Verifier.
func (*model) Account() string { return "model" }

// Secret implements verifier.Verifier.
func (*model) Secret() string { return "the model's secret" }

// Understands implements verifier.Verifier.
func (*model) Understands(string) bool { return true }

// Recipient implements verifier.Verifier.
func (*model) Recipient() string { return "Example" }

// Token implements verifier.TokenSource.
func (m *model) Token(context.Context) (*verifier.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens++
	return &verifier.Token{Value: fmt.Sprint("token ", m.tokens), Expires: time.Now().Add(10 * time.Minute), Remember: time.Now().Add(time.Hour)}, nil
}

// Start implements verifier.Verifier.
func (m *model) Start(_ context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byToken(req.Token) != nil {
		m.wrong = append(m.wrong, "two attempts with one token")
	}
	m.attempts = append(m.attempts, &modelAttempt{nonce: req.State, token: req.Token, number: req.Number, answer: "pending"})
	return &verifier.Started{URL: "https://operator.example/" + req.Token[6:], Operator: "SFR", State: verifier.State(req.Token)}, nil
}

// Callback implements verifier.Verifier.
func (*model) Callback(state verifier.State, _ url.Values) (verifier.State, error) { return state, nil }

// Result implements verifier.Verifier.
func (m *model) Result(_ context.Context, state verifier.State) (verifier.Outcome, error) {
	m.mu.Lock()
	a := m.byToken(string(state))
	twice := m.asking[string(state)]
	m.asking[string(state)] = true
	answer, accepted := a.answer, a.accepted
	m.mu.Unlock()
	if twice {
		m.fail("two calls for the result of %s at a time", state)
	}
	if !accepted {
		m.fail("the result of %s was asked for before a callback of its browser", state)
	}
	pause(context.Background(), 100*time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.asking, string(state))
	switch answer {
	case "verified":
		return verifier.Verified, nil
	case "pending":
		return verifier.Pending, nil
	case "mismatch":
		return verifier.Unknown, &verifier.Error{Class: verifier.Mismatch, Call: "result", ID: "20"}
	case "nonsense":
		return verifier.Outcome(99), nil
	default:
		return verifier.Unknown, &verifier.Error{Call: "result", Again: true, Err: errors.New("timeout")}
	}
}

func (m *model) byToken(token string) *modelAttempt {
	for _, a := range m.attempts {
		if a.token == token {
			return a
		}
	}
	return nil
}

// delays makes the calls of a cache take some time while several requests are under way,
// so that they come in any order.
type delays struct {
	mu     sync.Mutex
	random *rand.Rand // nil: no delay
}

func (d *delays) by(order uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.random = rand.New(rand.NewPCG(order, 0))
}

func (d *delays) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.random = nil
}

func (d *delays) next() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.random == nil {
		return 0
	}
	if d.random.IntN(4) == 0 {
		return time.Duration(d.random.IntN(100)) * time.Millisecond // long enough for a whole other request
	}
	return time.Duration(d.random.IntN(2)) * time.Millisecond
}

// failing is a cache that fails while the model says so, and whose calls take time.
type failing struct {
	cache.Cache
	down   *atomic.Bool
	delays *delays
}

var errModelDown = errors.New("cache is down")

func (f failing) call(call func() error) error {
	if f.down.Load() {
		return errModelDown
	}
	if wait := f.delays.next(); wait > 0 {
		pause(context.Background(), wait)
	}
	return call()
}

func (f failing) Get(ctx context.Context, key cache.Key) (rec *cache.Record, err error) {
	err = f.call(func() (err error) { rec, err = f.Cache.Get(ctx, key); return err })
	return rec, err
}

func (f failing) Put(ctx context.Context, key cache.Key, rec *cache.Record) error {
	return f.call(func() error { return f.Cache.Put(ctx, key, rec) })
}

func (f failing) Replace(ctx context.Context, key cache.Key, old, rec *cache.Record) error {
	return f.call(func() error { return f.Cache.Replace(ctx, key, old, rec) })
}

func (f failing) Delete(ctx context.Context, ref cache.Ref) error {
	return f.call(func() error { return f.Cache.Delete(ctx, ref) })
}

func (f failing) Find(ctx context.Context, tag cache.Tag) (refs []cache.Ref, err error) {
	err = f.call(func() (err error) { refs, err = f.Cache.Find(ctx, tag); return err })
	return refs, err
}

func (m *model) load() error {
	visible, err := pages.New(pages.Options{})
	if err != nil {
		return err
	}
	m.gate, err = New(Config{
		Verifier: m, Account: NewAccount("model", zap.NewNop()), Pages: visible, Log: zap.NewNop(),
		Cache: func(context.Context) (cache.Cache, error) {
			if m.instead != nil {
				return m.instead, nil
			}
			return failing{m.store, &m.down, m.delays}, nil
		},
		Origins: []string{"https://www.example.com"}, Path: "/.number-verify", Region: "FR", Countries: []string{"FR"},
		ClientIP: func(*http.Request) string { return "192.0.2.1" }, Secrets: []string{"secret"},
		Limits: quota.Limits{
			NumberEach: 1000, NumberAll: 1000, NumberWindow: time.Hour, Client: []quota.Rate{{Max: 1000, Window: time.Hour}},
			Attempts: 1000, Sessions: 1000,
		},
		AttemptTTL: 3 * time.Minute, RefusedTTL: time.Minute, ResultWait: 30 * time.Second, CookieName: "number-verify",
	})
	if err == nil {
		m.gate.AddRoute(modelRoute)
	}
	return err
}

// request sends a request of a browser, which keeps the cookies of the answer.
func (m *model) request(browser int, method, target string, form url.Values) *http.Response {
	r := httptest.NewRequest(method, "https://www.example.com"+target, strings.NewReader(form.Encode()))
	r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	r.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	m.mu.Lock()
	jar := m.browsers[browser]
	for name, value := range jar {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	m.mu.Unlock()
	w := httptest.NewRecorder()
	v := NewVisit(r.Method, r.URL)
	m.gate.Strip(r, v, "X-Verified-")
	if m.gate.IsEndpoint(v) {
		m.gate.ServeEndpoint(w, r, v)
	} else if verdict := m.gate.Check(r, v, modelRoute); verdict.Session != nil { // the site answers 200
		m.passed(jar[sessionName], verdict.Session)
	} else {
		m.gate.Refuse(w, r, v, verdict)
	}
	return w.Result()
}

const (
	sessionName = "__Host-number-verify"
	browserName = "__Host-number-verify-browser"
)

// passed checks a request that has passed the gate.
func (m *model) passed(cookie string, got *ledger.Session) {
	s := m.sessions[cookie]
	switch {
	case s == nil:
		m.fail("a request passed with a session that nobody was given")
	case s.ended:
		m.fail("a request passed with a session that has ended")
	case got.Number != s.number:
		m.fail("a session of %s tells %s", s.number, got.Number)
	case time.Since(s.given) > modelSessionTTL+time.Minute:
		m.fail("a session of %v ago still passes", time.Since(s.given))
	}
}

// keep stores the cookies of an answer in the browser. It may get a session only if
// earned says so.
func (m *model) keep(browser int, answer *http.Response, earned func() (number string, ok bool)) {
	for _, c := range answer.Cookies() {
		if c.MaxAge < 0 {
			delete(m.browsers[browser], c.Name)
			continue
		}
		if c.Name == sessionName {
			number, ok := earned()
			if !ok {
				m.fail("browser %d is given a session that it has not earned", browser)
			}
			if m.sessions[c.Value] != nil {
				m.fail("a session's id is given twice")
			}
			m.sessions[c.Value] = &modelSession{number: number, browser: m.browsers[browser][browserName], given: time.Now()}
			m.given[browser] = append(m.given[browser], c.Value)
		}
		m.browsers[browser][c.Name] = c.Value
	}
}

func never() (string, bool) { return "", false }

// byAttempt tells whether an attempt earns a session: its browser came back with its
// nonce, the provider confirmed it, and it was neither burned nor used.
func (m *model) byAttempt(browser int, a *modelAttempt) func() (string, bool) {
	return func() (string, bool) {
		a.sessions++
		own := m.browsers[browser][browserName] == a.browser
		if a.sessions > 1 {
			m.fail("attempt %s has made %d sessions", a.token, a.sessions)
		}
		m.success[a.browser] = a.number
		return a.number, own && a.answer == "verified" && !a.burned && !a.revoked
	}
}

// again tells whether a browser earns a session again, by its last success.
func (m *model) again(browser int) func() (string, bool) {
	return func() (string, bool) {
		number, ok := m.success[m.browsers[browser][browserName]]
		return number, ok
	}
}

// do does one step.
func (m *model) do(s step) {
	switch s.Do {
	case "form":
		m.keep(s.Browser, m.request(s.Browser, "GET", "/.number-verify/?return=/account/", nil), m.again(s.Browser))
	case "start":
		m.start(s)
	case "answer":
		if a := m.attempt(s); a != nil {
			m.mu.Lock()
			if a.answer == "pending" { // the provider's first outcome stands
				a.answer = s.Answer
			}
			m.mu.Unlock()
		}
	case "callback":
		m.callback(s)
	case "callbacks":
		m.callbacks(s)
	case "wait":
		if a := m.attempt(s); a != nil {
			m.keep(s.Browser, m.request(s.Browser, "GET", "/.number-verify/wait/"+ledger.AttemptID(a.nonce), nil), m.byAttempt(s.Browser, a))
		}
	case "visit":
		m.keep(s.Browser, m.request(s.Browser, "GET", "/account/", nil), never)
	case "begin": // as a visitor does
		m.do(step{Do: "form", Browser: s.Browser})
		m.do(step{Do: "start", Browser: s.Browser, Number: s.Number})
		m.do(step{Do: "answer", Answer: s.Answer})
	case "return":
		if own, ok := m.owner(s); ok {
			m.do(step{Do: "callbacks", Browser: own, Attempt: s.Attempt})
			m.do(step{Do: "wait", Browser: own, Attempt: s.Attempt})
			m.do(step{Do: "visit", Browser: own})
		}
	case "intrude": // somebody else opens the link while the result is pending
		if own, ok := m.owner(s); ok {
			m.do(step{Do: "callback", Browser: own, Attempt: s.Attempt})
			m.do(step{Do: "callback", Browser: s.Browser, Attempt: s.Attempt})
			m.do(step{Do: "answer", Attempt: s.Attempt, Answer: "verified"})
			m.do(step{Do: "pass time", Wait: time.Second})
			m.do(step{Do: "return", Attempt: s.Attempt})
		}
	case "sign out":
		m.signOut(s)
	case "sign out amid":
		m.signOutAmid(s)
	case "revoke":
		m.revoke(s)
	case "revoke amid":
		m.revokeAmid(s)
	case "bring back session": // a copy that somebody kept
		if n := len(m.given[s.Browser]); n > 0 {
			m.browsers[s.Browser][sessionName] = m.given[s.Browser][max(0, n-1-s.Attempt)]
			m.do(step{Do: "visit", Browser: s.Browser})
		}
	case "forget session":
		delete(m.browsers[s.Browser], sessionName)
	case "pass time":
		pause(context.Background(), s.Wait)
	case "cache": // fails for a moment
		m.down.Store(true)
		for _, do := range []string{"form", "start", "callback", "wait", "visit", "sign out"} {
			m.do(step{Do: do, Browser: s.Browser, Attempt: s.Attempt, Number: s.Number})
		}
		m.down.Store(false)
	case "reload":
		if err := m.load(); err != nil {
			m.fail("%v", err)
		}
	}
}

func (m *model) attempt(s step) *modelAttempt {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.Attempt >= len(m.attempts) {
		return nil
	}
	return m.attempts[len(m.attempts)-1-s.Attempt]
}

// owner is the browser that started an attempt, if it still has its cookie.
func (m *model) owner(s step) (browser int, ok bool) {
	a := m.attempt(s)
	for i := range m.browsers {
		if a != nil && m.browsers[i][browserName] == a.browser {
			return i, true
		}
	}
	return 0, false
}

func (m *model) start(s step) {
	before := len(m.attempts)
	form := url.Values{"number": {fmt.Sprintf("063998000%d", s.Number)}, "return": {"/account/"}}
	m.keep(s.Browser, m.request(s.Browser, "POST", "/.number-verify/start", form), never)
	if len(m.attempts) > before+1 {
		m.fail("one press has started %d attempts", len(m.attempts)-before)
	}
	for _, a := range m.attempts[before:] {
		a.browser = m.browsers[s.Browser][browserName]
	}
}

// expect notes what the callback of a browser does to an attempt: that of its own browser
// lets the result be asked for, that of any other burns it.
func (m *model) expect(s step, a *modelAttempt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch own := m.browsers[s.Browser][browserName] == a.browser && a.browser != ""; {
	case own:
		a.accepted = true
	case a.sessions == 0 && !m.down.Load():
		a.burned = true
	}
}

func (m *model) callback(s step) {
	a := m.attempt(s)
	if a == nil {
		return
	}
	m.expect(s, a)
	answer := m.request(s.Browser, "GET", "/.number-verify/callback?state="+a.nonce, nil)
	m.keep(s.Browser, answer, m.byAttempt(s.Browser, a))
}

// callbacks sends three callbacks at once.
func (m *model) callbacks(s step) {
	a := m.attempt(s)
	if a == nil {
		return
	}
	m.expect(s, a)
	answers := make([]*http.Response, 3)
	var sent sync.WaitGroup
	for i := range answers {
		sent.Go(func() { answers[i] = m.request(s.Browser, "GET", "/.number-verify/callback?state="+a.nonce, nil) })
	}
	sent.Wait()
	for _, answer := range answers {
		m.keep(s.Browser, answer, m.byAttempt(s.Browser, a))
	}
}

func (m *model) signOut(s step) {
	m.leave(s, m.request(s.Browser, "POST", "/.number-verify/sign-out", url.Values{}))
}

// leave checks the answer to a sign-out. It then tries every session that the browser was
// ever given, and what it could still be given if the answer were lost.
func (m *model) leave(s step, answer *http.Response) {
	if answer.Header.Get("Location") != "/" {
		return // the sign-out failed and says so
	}
	for _, id := range m.given[s.Browser] {
		m.sessions[id].ended = true
		m.bring(s.Browser, id)
		m.keep(s.Browser, m.request(s.Browser, "GET", "/.number-verify/", nil), never)
	}
	delete(m.browsers[s.Browser], sessionName)
	m.keep(s.Browser, m.request(s.Browser, "GET", "/.number-verify/", nil), never)
	if a := m.attempt(s); a != nil && a.browser == m.browsers[s.Browser][browserName] {
		m.keep(s.Browser, m.request(s.Browser, "GET", "/.number-verify/callback?state="+a.nonce, nil), never)
	}
	m.keep(s.Browser, answer, never)
}

// bring sends a session that somebody kept, and tells whether it passes.
func (m *model) bring(browser int, id string) bool {
	m.browsers[browser][sessionName] = id
	return m.request(browser, "GET", "/account/", nil).StatusCode == http.StatusOK
}

// signOutAmid signs a browser out while it does other things.
func (m *model) signOutAmid(s step) {
	var left *http.Response
	s = m.amid(s, func(s step) { left = m.request(s.Browser, "POST", "/.number-verify/sign-out", url.Values{}) })
	m.leave(s, left)
}

// amid does something while the browser of an attempt comes back from the operator in
// one tab, loads the form in another, and uses its session in others. It returns the
// step with that browser.
func (m *model) amid(s step, do func(step)) step {
	a := m.attempt(s)
	own, isOwn := m.owner(s)
	if isOwn {
		s.Browser = own
		m.expect(s, a)
	}
	earlier, _ := m.again(s.Browser)()
	m.delays.by(s.Order)
	random := rand.New(rand.NewPCG(s.Order, 1))
	var answers [2]*http.Response
	var sent sync.WaitGroup
	at := func(most int, do func()) {
		wait := time.Duration(1+random.IntN(most)) * time.Millisecond
		sent.Go(func() {
			pause(context.Background(), wait)
			do()
		})
	}
	if a != nil {
		at(100, func() { answers[0] = m.request(s.Browser, "GET", "/.number-verify/callback?state="+a.nonce, nil) })
	}
	at(300, func() { answers[1] = m.request(s.Browser, "GET", "/.number-verify/", nil) })
	for range 3 {
		at(300, func() { m.request(s.Browser, "GET", "/account/", nil) })
	}
	at(300, func() { do(s) })
	sent.Wait()
	m.delays.end()
	again := m.again(s.Browser)
	if a != nil {
		m.keep(s.Browser, answers[0], m.byAttempt(s.Browser, a))
	}
	if isOwn { // what it has just earned, or earlier
		number := a.number
		if m.holds(answers[1], earlier) {
			number = earlier
		}
		again = func() (string, bool) { return number, true }
	}
	m.keep(s.Browser, answers[1], again)
	return s
}

// holds tells whether an answer gives a session of a number, by what the cache has.
func (m *model) holds(answer *http.Response, number string) bool {
	l := m.gate.desk.Ledger
	realm := l.Realm(context.Background(), m.gate.origins[0].realm)
	return slices.ContainsFunc(answer.Cookies(), func(c *http.Cookie) bool {
		entry, err := ledger.Get(context.Background(), l, l.SessionKey(realm, c.Value))
		return c.Name == sessionName && err == nil && entry.Value.Number == number
	})
}

// newModel returns a model in which nothing has happened yet.
func newModel() *model {
	m := &model{
		store: memory.New(memory.Options{}), delays: &delays{}, asking: make(map[string]bool),
		sessions: make(map[string]*modelSession), success: make(map[string]string),
	}
	for i := range m.browsers {
		m.browsers[i] = make(map[string]string)
	}
	if err := m.load(); err != nil {
		m.fail("%v", err)
	}
	return m
}

// end waits for the calls under way, and closes the cache.
func (m *model) end() {
	pause(context.Background(), time.Minute)
	synctest.Wait()
	_ = m.store.Close()
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		happens := rapid.SliceOfN(steps(), 20, 60).Draw(r, "steps")
		var wrong []string
		synctest.Test(t, func(*testing.T) {
			m := newModel()
			for _, s := range happens {
				m.do(s)
			}
			m.end()
			wrong = m.wrong
		})
		if len(wrong) > 0 {
			r.Fatal(strings.Join(wrong, "\n"))
		}
	})
}
