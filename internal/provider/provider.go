// Package provider is a verifier as the gate calls it: one attempt a token, links
// that a visitor may be sent to, errors that can be logged, and no calls while
// they fail. In breaker.go and calls.go is when it is called at all, in guard.go
// what its panics and errors become, in link.go the check of its links.
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
	// startTime bounds the calls of a start, whatever the verifier's own limit.
	startTime = 25 * time.Second
	// ResultTime does so for one call for the result; after it another request
	// may ask.
	ResultTime = 10 * time.Second
)

// Provider calls a verifier.
type Provider struct {
	*Breaker
	verifier verifier.Verifier
	ledger   *ledger.Ledger
	journal  *journal.Journal
}

// New returns a provider that calls v. Breaker is that of the verifier's account.
func New(v verifier.Verifier, breaker *Breaker, l *ledger.Ledger, j *journal.Journal) *Provider {
	return &Provider{Breaker: breaker, verifier: v, ledger: l, journal: j}
}

// Understands tells whether the provider takes what it is sent for a number as
// that number and no other. Where the verifier panics it does not.
func (p *Provider) Understands(e164 string) (ok bool) {
	err := p.guarded("number", func() error {
		ok = p.verifier.Understands(e164)
		return nil
	})
	return ok && err == nil
}

// Start begins a verification. A visitor may be sent to the link that it returns;
// Expires is zero where neither verifier nor token says when.
func (p *Provider) Start(ctx context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	token, err := p.token(ctx)
	if err != nil {
		return nil, err
	}
	req.Token = token.Value
	var started *verifier.Started
	err = p.guarded("start", func() (err error) {
		started, err = p.verifier.Start(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return checked(started, req, token)
}

// token takes a token for one attempt. One that has served before, on any node,
// serves no other: it is the only key to the result, and who shares it would get
// somebody else's.
func (p *Provider) token(ctx context.Context) (*verifier.Token, error) {
	source, ok := p.verifier.(verifier.TokenSource)
	if !ok {
		return new(verifier.Token), nil
	}
	var token *verifier.Token
	err := p.guarded("token", func() (err error) {
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

// errUsed says that a token has served another attempt.
var errUsed = errors.New("already used for another attempt")

// checked returns what was started, fit to be used.
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
	fit.Expires = earlier(started.Expires, token.Expires)
	if fit.Method == "" {
		fit.Method = verifier.Silent
	}
	return &fit, nil
}

// earlier is the earlier of two times, of which the zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// ReadCallback splits the query of a callback into the nonce and what is the
// provider's. A query without one nonce in it is no callback.
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

// Callback hands the query of a callback to the verifier. A *verifier.Error ends
// the attempt with its class; ErrForeign says that it has to be burned.
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
	err = p.guarded("result", func() (err error) {
		outcome, err = p.verifier.Result(ctx, state)
		return err
	})
	return outcome, err
}

// IsUnanswered tells whether err says that no usable answer arrived, so that
// asking once more may give one.
func IsUnanswered(err error) bool {
	told, ok := errors.AsType[*verifier.Error](err)
	return ok && told.Again
}

// isNoCall tells whether the provider was not asked at all.
func isNoCall(err error) bool {
	if errors.Is(err, ErrNotCalled) || errors.Is(err, errUsed) {
		return true
	}
	code := refusal.Of(err)
	return code == refusal.CacheUnavailable || code == refusal.Busy
}
