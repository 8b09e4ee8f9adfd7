// Package provider calls a verifier safely: a token serves one attempt, links and
// operators' names are checked, panics become errors, and all errors can be logged.
// Calls are suspended while they fail.
//
//   - provider.go makes the calls, guard.go catches panics and foreign errors.
//   - breaker.go and calls.go decide whether a call is made.
//   - link.go and operator.go check what the provider sent.
package provider

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	// startTime is the longest that the calls of a start may take, whatever the
	// verifier's own limit.
	startTime = 25 * time.Second
	// ResultTime is the longest that a call for the result may take. After it
	// another request may ask.
	ResultTime = 10 * time.Second
)

// Provider calls a verifier.
type Provider struct {
	*Breaker
	verifier verifier.Verifier
	ledger   *ledger.Ledger
	journal  *journal.Journal
}

// New returns a provider that calls v. Breaker belongs to the verifier's account.
func New(v verifier.Verifier, breaker *Breaker, l *ledger.Ledger, j *journal.Journal) *Provider {
	return &Provider{Breaker: breaker, verifier: v, ledger: l, journal: j}
}

// Understands tells whether the provider reads the number that it is sent as this
// number. It is false where the verifier panics.
func (p *Provider) Understands(e164 string) (ok bool) {
	err := p.guarded("number", func() error {
		ok = p.verifier.Understands(e164)
		return nil
	})
	return ok && err == nil
}

// Start begins a verification. The URL that it returns has been checked. Expires is
// the earlier of the verifier's and the token's; zero where neither is known.
func (p *Provider) Start(ctx context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	token, err := p.token(ctx)
	if err != nil {
		return nil, err
	}
	req.Token = token.Value
	var started *verifier.Started
	err = p.called(ctx, "start", func(ctx context.Context) (err error) {
		started, err = p.verifier.Start(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return checked(started, req, token)
}

// token gets a token and claims it for one attempt, on all nodes. A token is the
// only key to its result: two attempts with one token would get the same result.
func (p *Provider) token(ctx context.Context) (*verifier.Token, error) {
	source, ok := p.verifier.(verifier.TokenSource)
	if !ok {
		return new(verifier.Token), nil
	}
	var token *verifier.Token
	err := p.called(ctx, "token", func(ctx context.Context) (err error) {
		token, err = source.Token(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if token == nil || token.Value == "" || !token.Remember.After(time.Now()) {
		return nil, &verifier.Error{Call: "token", Err: errors.New("no token, or one that would be forgotten at once")}
	}
	unused := ledger.Nothing(p.ledger.TokenKey(token.Value))
	_, err = ledger.Swap(ctx, p.ledger, unused, &ledger.Claim{}, ledger.Life{Expires: token.Remember})
	if errors.Is(err, ledger.ErrConflict) {
		return nil, &verifier.Error{Class: verifier.Misconfigured, Call: "token", Err: errUsed,
			Hint: "a token serves one attempt: have a new one for each, or let the verifier fetch them itself"}
	}
	return token, err
}

// errUsed says that a token was claimed before.
var errUsed = errors.New("already used for another attempt")

// checked returns started with its URL and operator checked, and its expiry and
// method filled in.
func checked(started *verifier.Started, req verifier.StartRequest, token *verifier.Token) (*verifier.Started, error) {
	if started == nil {
		return nil, &verifier.Error{Call: "start", Err: errors.New("nothing was started")}
	}
	callback, err := url.Parse(req.CallbackURL)
	if err != nil {
		return nil, &verifier.Error{Class: verifier.Misconfigured, Call: "start", Err: errors.New("the callback address cannot be parsed")}
	}
	fit := *started
	hidden := append([]string{token.Value}, started.Hidden...)
	if !started.ShowsState {
		hidden = append(hidden, req.State)
	}
	fit.Operator = OperatorName(started.Operator)
	if slices.ContainsFunc(hidden, func(s string) bool { return verifier.Reveals(fit.Operator, s) }) {
		fit.Operator = ""
	}
	fit.URL, err = CheckLink(started.URL, LinkRules{Callback: callback, Hosts: started.Hosts, Secrets: hidden})
	if err != nil {
		return nil, &verifier.Error{Call: "start", Operator: fit.Operator, Hint: "ask the provider about the url of this operator", Err: err}
	}
	fit.Expires = Earlier(started.Expires, token.Expires)
	if fit.Method == "" {
		fit.Method = verifier.Silent
	}
	return &fit, nil
}

// Earlier returns the earlier of two times. A zero time is not known, and does not
// count.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// ReadCallback splits the query of a callback into the nonce and the rest, which is
// the provider's. It is no callback, and ok is false, unless there is exactly one
// nonce.
func (p *Provider) ReadCallback(raw string) (rest url.Values, nonce string, ok bool) {
	rest, err := p.parse(raw)
	if err != nil || len(rest["state"]) != 1 || !ledger.IsID(rest["state"][0]) {
		return nil, "", false
	}
	nonce = rest["state"][0]
	rest.Del("state")
	return rest, nonce, true
}

func (p *Provider) parse(raw string) (query url.Values, err error) {
	parser, ok := p.verifier.(verifier.CallbackParser)
	if !ok {
		return url.ParseQuery(raw)
	}
	err = p.guarded("callback", func() error {
		query = parser.ParseCallback(raw)
		return nil
	})
	return query, err
}

// ErrForeign says that a callback was not the provider's answer to the attempt.
var ErrForeign = errors.New("the callback was not the provider's")

// Callback gives the query of a callback to the verifier. A *verifier.Error ends the
// attempt; after ErrForeign it must be burned.
func (p *Provider) Callback(state verifier.State, query url.Values) (next verifier.State, err error) {
	err = p.guarded("callback", func() (err error) {
		next, err = p.verifier.Callback(state, query)
		return err
	})
	if errors.As(err, new(foreignError)) {
		return nil, ErrForeign
	}
	return next, err
}

// Result asks for the outcome.
func (p *Provider) Result(ctx context.Context, state verifier.State) (outcome verifier.Outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, ResultTime)
	defer cancel()
	err = p.called(ctx, "result", func(ctx context.Context) (err error) {
		outcome, err = p.verifier.Result(ctx, state)
		return err
	})
	return outcome, err
}

// IsUnanswered tells whether no usable answer arrived, so that asking again may help.
func IsUnanswered(err error) bool {
	told, ok := errors.AsType[*verifier.Error](err)
	return ok && told.Again
}

// isNoCall tells whether err arose before the provider was called.
func isNoCall(err error) bool {
	if errors.Is(err, ErrNotCalled) || errors.Is(err, errUsed) {
		return true
	}
	code := refusal.Of(err)
	return code == refusal.CacheUnavailable || code == refusal.Busy
}
