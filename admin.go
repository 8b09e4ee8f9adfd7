package numberverify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/numberverify/caddy-number-verify/internal/gate"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

func init() {
	caddy.RegisterModule(Admin{})
}

// Admin adds /number-verify/ to Caddy's admin API: how many sessions there are, who holds
// one for a number, and their end. Numbers are in bodies only, since Caddy logs the
// address of every request. It has no configuration: whoever may use the admin API may
// use it. Remote administration can restrict it by path and method.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.number_verify",
		New: func() caddy.Module { return Admin{} },
	}
}

const adminPath = "/number-verify/"

// Routes implements caddy.AdminRouter.
func (Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(serveAdmin)}}
}

// running are the apps that have started and not stopped: during a reload two, the new
// one last. The admin API is loaded before them, and outlives a failed reload.
var running struct {
	mu   sync.Mutex
	apps []*App
}

func (a *App) enlist() {
	running.mu.Lock()
	defer running.mu.Unlock()
	running.apps = append(running.apps, a)
}

func (a *App) delist() {
	running.mu.Lock()
	defer running.mu.Unlock()
	running.apps = slices.DeleteFunc(running.apps, func(other *App) bool { return other == a })
}

func runningApps() []*App {
	running.mu.Lock()
	defer running.mu.Unlock()
	return slices.Clone(running.apps)
}

// runningApp returns the app of the configuration that serves, or nil. It waits a little
// for one, since sites and the admin API may serve before the app is started.
func runningApp(ctx context.Context) *App {
	ctx, cancel := context.WithTimeout(ctx, maxOpening)
	defer cancel()
	tick := time.NewTicker(maxOpening / 40)
	defer tick.Stop()
	for {
		if apps := runningApps(); len(apps) > 0 {
			return apps[len(apps)-1]
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// The time that a request of an administrator may take. A walk through a large store of
// other processes takes seconds.
const adminTime = time.Minute

// maxAdminBody bounds the body of a request, in bytes.
const maxAdminBody = 4 << 10

// adminError is an answer in the form of RFC 9457.
type adminError struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail"`
	Code   refusal.Code `json:"code,omitempty"`
}

// Error implements error.
func (e *adminError) Error() string { return e.Detail }

func wrong(status int, detail string) *adminError {
	return &adminError{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// serveAdmin answers a request of an administrator. It returns no error, which Caddy
// would write in a form of its own.
func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	answer, err := answerAdmin(r)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if err == nil {
		h.Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the client may be gone
		return nil
	}
	told, ok := errors.AsType[*adminError](err)
	if !ok {
		told = wrong(http.StatusServiceUnavailable, "the cache did not answer: what was asked for may be done in part; send it again")
		told.Code = refusal.CacheUnavailable
	}
	if told.Status == http.StatusMethodNotAllowed {
		h.Set("Allow", allowed(r.URL.Path))
	}
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(told.Status)
	_ = json.NewEncoder(w).Encode(told)
	return nil
}

func allowed(path string) string {
	if path == adminPath {
		return http.MethodGet
	}
	return http.MethodPost
}

// answerAdmin does what an administrator asks for, and returns the body of the answer.
func answerAdmin(r *http.Request) (any, error) {
	act := strings.TrimPrefix(r.URL.Path, adminPath)
	acts := map[string]func(context.Context, *App, *adminQuery) (any, error){
		"find": adminFind, "revoke": adminRevoke, "explain": adminExplain,
	}
	if act != "" && acts[act] == nil {
		return nil, wrong(http.StatusNotFound, "there are /number-verify/, and find, revoke and explain below it")
	}
	if r.Method != allowed(r.URL.Path) {
		return nil, wrong(http.StatusMethodNotAllowed, "send "+allowed(r.URL.Path))
	}
	ctx, cancel := context.WithTimeout(r.Context(), adminTime)
	defer cancel()
	app := runningApp(ctx)
	if app == nil {
		return nil, wrong(http.StatusServiceUnavailable, "number_verify is not running: no site of this Caddy has it, or it has not started yet")
	}
	if act == "" {
		return app.status(ctx), nil
	}
	query, err := readQuery(r)
	if err != nil {
		return nil, err
	}
	return acts[act](ctx, app, query)
}

// adminQuery is the body of a request: exactly one of its fields is set.
type adminQuery struct {
	Number  string `json:"number"`
	Session string `json:"session"`
	Realm   string `json:"realm"`
	All     bool   `json:"all"`

	Reference string `json:"reference"` // for explain
}

func readQuery(r *http.Request) (*adminQuery, error) {
	// A browser sends this type across origins only if the server allows it.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, wrong(http.StatusUnsupportedMediaType, "send the Content-Type application/json")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxAdminBody+1))
	if err != nil {
		return nil, wrong(http.StatusBadRequest, "the body cannot be read")
	}
	if len(body) > maxAdminBody {
		return nil, wrong(http.StatusRequestEntityTooLarge, "the body is too large")
	}
	query := new(adminQuery)
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(query); err != nil || decoder.Decode(new(any)) != io.EOF {
		return nil, wrong(http.StatusBadRequest, `the body is not understood; write it like {"number":"+33639980001"}`)
	}
	return query, nil
}

// e164 reads the number of a query. It need not be of an accepted country: that may have
// been another one when the number was verified.
func (q *adminQuery) e164() (string, error) {
	number, err := phone.International(q.Number)
	if err != nil {
		told := wrong(http.StatusUnprocessableEntity, "this is no telephone number; write it with its country code, like +33639980001")
		told.Code = refusal.NumberInvalid
		return "", told
	}
	return number, nil
}

// records are those of a verifier account in one cache.
type records struct {
	verifier, cache string
	gates           []*gate.Gate
}

// scopes returns those of all gates.
func (r *records) scopes() []string {
	scopes := []string{}
	for _, g := range r.gates {
		scopes = append(scopes, g.Scopes()...)
	}
	return distinct(scopes)
}

// adminStatus is the answer to GET. What is not known is left out.
type adminStatus struct {
	counts
	Accounts []accountStatus `json:"accounts"`
}

type counts struct {
	Sessions *int64 `json:"sessions,omitempty"`
	InFlight *int64 `json:"attempts_in_flight,omitempty"`
}

type accountStatus struct {
	Verifier string   `json:"verifier"`
	Cache    string   `json:"cache"`
	Realms   []string `json:"realms"`
	counts
	// Calls are made, tried or suspended.
	Calls string `json:"calls"`
}

// calls are the words for the states of the breaker.
var calls = [...]string{"made", "tried", "suspended"}

// known returns a count for JSON; nil where it is not known.
func known(n int64, isKnown bool) *int64 {
	if !isKnown {
		return nil
	}
	return &n
}

func (a *App) status(ctx context.Context) adminStatus {
	state := a.state()
	all := adminStatus{counts: counts{known(state.Sessions()), known(state.InFlight())}, Accounts: []accountStatus{}}
	for at, r := range a.records {
		g := r.gates[0]
		all.Accounts = append(all.Accounts, accountStatus{
			Verifier: r.verifier, Cache: r.cache, Realms: r.scopes(),
			counts: counts{known(g.Sessions(ctx)), known(g.InFlight(ctx))},
			Calls:  calls[a.accounts[at.account].BreakerState()],
		})
	}
	slices.SortFunc(all.Accounts, func(x, y accountStatus) int { return strings.Compare(x.key(), y.key()) })
	return all
}

func (s *accountStatus) key() string {
	return strings.Join(append([]string{s.Verifier, s.Cache}, s.Realms...), " ")
}

// foundSession is a session as find lists it.
type foundSession struct {
	Session    string `json:"session"`
	Realm      string `json:"realm"`
	VerifiedAt string `json:"verified_at"`
	ExpiresAt  string `json:"expires_at"`
	Method     string `json:"method"`
	Operator   string `json:"operator,omitempty"`
}

func adminFind(ctx context.Context, app *App, q *adminQuery) (any, error) {
	if *q != (adminQuery{Number: q.Number}) {
		return nil, wrong(http.StatusBadRequest, "find takes a number and nothing else")
	}
	number, err := q.e164()
	if err != nil {
		return nil, err
	}
	found := []foundSession{}
	for _, r := range app.records {
		holders, err := r.gates[0].Holders(ctx, number)
		if err != nil {
			return nil, err
		}
		for _, holder := range holders {
			found = append(found, foundSession{
				Session: holder.PublicID, Realm: holder.Scope, Method: string(holder.Method), Operator: holder.Operator,
				VerifiedAt: holder.VerifiedAt.UTC().Format(time.RFC3339), ExpiresAt: holder.ExpiresAt.UTC().Format(time.RFC3339),
			})
		}
	}
	slices.SortFunc(found, func(x, y foundSession) int {
		return strings.Compare(x.VerifiedAt+x.Session, y.VerifiedAt+y.Session)
	})
	return struct {
		Number   string         `json:"number"`
		Sessions []foundSession `json:"sessions"`
		Misses   bool           `json:"other_secret,omitempty"`
	}{phone.Mask(number), found, app.missesSome(ctx)}, nil
}

// ended is the answer to revoke.
type ended struct {
	Sessions *int64 `json:"sessions,omitempty"`
	Misses   bool   `json:"other_secret,omitempty"`
}

// missesSome tells whether there may be sessions that a number does not lead to.
func (a *App) missesSome(ctx context.Context) bool {
	for _, r := range a.records {
		if r.gates[0].MissesSome(ctx) {
			return true
		}
	}
	return false
}

func adminRevoke(ctx context.Context, app *App, q *adminQuery) (any, error) {
	targets, err := app.targets(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminTime) // whoever asks may hang up
	defer cancel()
	var total int64
	var errs []error
	isKnown := true
	for _, r := range app.records {
		for _, target := range targets {
			n, err := r.gates[0].Revoke(ctx, target)
			errs = append(errs, err) // the others are still done
			total += max(0, n)
			isKnown = isKnown && n >= 0
		}
	}
	if q.Session != "" && total == 0 { // it may be there, with a label that nobody here can read
		for _, r := range app.records {
			n, err := r.gates[0].RemoveSession(ctx, q.Session)
			errs, total = append(errs, err), total+n
		}
	}
	errs = append(errs, refreshAll(ctx))
	return ended{known(total, isKnown), q.Number != "" && app.missesSome(ctx)}, errors.Join(errs...)
}

// refreshAll has all apps read what was revoked: during a reload there are two.
func refreshAll(ctx context.Context) error {
	var errs []error
	for _, app := range runningApps() {
		for _, account := range app.accounts {
			errs = append(errs, account.Refresh(ctx))
		}
	}
	return errors.Join(errs...)
}

// targets returns what a query revokes. A realm may be several scopes.
func (a *App) targets(q *adminQuery) (targets []gate.Target, err error) {
	switch *q {
	case adminQuery{}:
		return nil, wrong(http.StatusBadRequest, `name what to revoke: "number", "session", "realm", or "all": true`)
	case adminQuery{Number: q.Number}:
		number, err := q.e164()
		return []gate.Target{{Number: number}}, err
	case adminQuery{Session: q.Session}:
		if !ledger.IsPublicID(q.Session) { // it would stand in the audit
			return nil, wrong(http.StatusBadRequest, "this is no session; write its public id, like a1b2c3d4e5f6")
		}
		return []gate.Target{{Session: q.Session}}, nil
	case adminQuery{Realm: q.Realm}:
		scopes, err := a.scopesOf(q.Realm)
		for _, scope := range scopes {
			targets = append(targets, gate.Target{Scope: scope})
		}
		return targets, err
	case adminQuery{All: true}:
		return []gate.Target{{}}, nil
	default:
		return nil, wrong(http.StatusBadRequest, "name one thing to revoke, and nothing else")
	}
}

func adminExplain(_ context.Context, _ *App, q *adminQuery) (any, error) {
	if *q != (adminQuery{Reference: q.Reference}) {
		return nil, wrong(http.StatusBadRequest, "explain takes a reference and nothing else")
	}
	lines := journal.Recall(q.Reference)
	if len(lines) == 0 {
		return nil, wrong(http.StatusNotFound, "this Caddy does not remember that reference; search the log for it")
	}
	return struct {
		Reference string         `json:"reference"`
		Events    []journal.Line `json:"events"`
	}{ledger.ReadReference(q.Reference), lines}, nil
}

// scopesOf returns the scopes that a realm names at the gates of this Caddy.
func (a *App) scopesOf(realm string) ([]string, error) {
	realm = strings.ToLower(realm)
	var known, named []string
	for _, r := range a.records {
		for _, g := range r.gates {
			known, named = append(known, g.Scopes()...), append(named, g.ScopesOf(realm)...)
		}
	}
	if len(named) == 0 {
		return nil, wrong(http.StatusNotFound, "no gate here has this realm; there are: "+strings.Join(distinct(append(known, "loopback hosts where there is no public_url")), ", "))
	}
	return distinct(named), nil
}

// distinct returns the words sorted, each once.
func distinct(words []string) []string {
	slices.Sort(words)
	return slices.Compact(words)
}

// Interface guard
var _ caddy.AdminRouter = Admin{}
