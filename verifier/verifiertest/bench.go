package verifiertest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// bench is a subject, and what a test does with it.
type bench struct {
	*Subject
	ctx context.Context
}

// attempt is one verification, as the gate would go through it.
type attempt struct {
	request verifier.StartRequest
	started *verifier.Started
}

// errPanicked is the error of a method that panicked.
var errPanicked = errors.New("panicked")

// guarded calls a method of a verifier.
func guarded(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanicked, p, debug.Stack())
		}
	}()
	return call()
}

// newAttempt returns an attempt that is not started. It has a token if the verifier
// needs one.
func (b *bench) newAttempt(v verifier.Verifier, number string) (*attempt, error) {
	a := &attempt{request: verifier.StartRequest{
		Number: number, CallbackURL: CallbackURL, State: (rand.Text() + rand.Text())[:43],
	}}
	token, err := fetchToken(b.ctx, v)
	if err != nil {
		return nil, fmt.Errorf("Token: %w", err)
	}
	if token != nil {
		a.request.Token = token.Value
	}
	return a, nil
}

// fetchToken returns neither a token nor an error if the verifier needs none.
func fetchToken(ctx context.Context, v verifier.Verifier) (token *verifier.Token, err error) {
	source, ok := v.(verifier.TokenSource)
	if !ok {
		return nil, nil
	}
	err = guarded(func() (err error) {
		token, err = source.Token(ctx)
		return err
	})
	if token == nil && err == nil {
		err = errors.New("neither a token nor an error")
	}
	return token, err
}

func (a *attempt) start(ctx context.Context, v verifier.Verifier) error {
	return guarded(func() (err error) {
		a.started, err = v.Start(ctx, a.request)
		if (a.started == nil) == (err == nil) {
			return errors.New("neither a verification nor an error, or both")
		}
		return err
	})
}

// begin starts an attempt that must start.
func (b *bench) begin(v verifier.Verifier, number string) (*attempt, error) {
	a, err := b.newAttempt(v, number)
	if err != nil {
		return nil, err
	}
	if err := a.start(b.ctx, v); err != nil {
		return nil, fmt.Errorf("Start: %w", err)
	}
	return a, nil
}

// visit is what the visitor does. It returns the callback's query as the gate hands
// it on.
func (b *bench) visit(v verifier.Verifier, a *attempt) (url.Values, error) {
	open := b.Visit
	if open == nil {
		open = follow
	}
	raw, err := open(b.ctx, strings.TrimSpace(a.started.URL))
	if err != nil {
		return nil, fmt.Errorf("visiting the link: %w", err)
	}
	query, err := parse(v, raw)
	if err != nil {
		return nil, fmt.Errorf("the callback's query: %w", err)
	}
	if states := query["state"]; len(states) != 1 || states[0] != a.request.State {
		return nil, fmt.Errorf("the callback brings %d states, or not the attempt's: hand StartRequest.State to the provider so that it comes back as the parameter state", len(states))
	}
	query.Del("state")
	return query, nil
}

// parse reads a query as the gate does.
func parse(v verifier.Verifier, raw string) (query url.Values, err error) {
	parser, ok := v.(verifier.CallbackParser)
	if !ok {
		return url.ParseQuery(raw)
	}
	err = guarded(func() error {
		query = parser.ParseCallback(raw)
		return nil
	})
	return query, err
}

// maxHops bounds the redirects of one visit.
const maxHops = 20

// follow is the default of Subject.Visit.
func follow(ctx context.Context, link string) (string, error) {
	browser := &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer browser.CloseIdleConnections()
	for range maxHops {
		if query, ok := strings.CutPrefix(link, CallbackURL); ok {
			return strings.TrimPrefix(query, "?"), nil
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
		if err != nil {
			return "", err
		}
		resp, err := browser.Do(r)
		if err != nil {
			return "", err
		}
		resp.Body.Close()
		next, err := resp.Location()
		if err != nil {
			return "", fmt.Errorf("a page with status %d leads nowhere; set Subject.Visit if it does for a person", resp.StatusCode)
		}
		link = next.String()
	}
	return "", fmt.Errorf("more than %d redirects", maxHops)
}

func callback(v verifier.Verifier, state verifier.State, query url.Values) (next verifier.State, err error) {
	err = guarded(func() (err error) {
		next, err = v.Callback(state, query)
		return err
	})
	return next, err
}

func result(ctx context.Context, v verifier.Verifier, state verifier.State) (outcome verifier.Outcome, err error) {
	err = guarded(func() (err error) {
		outcome, err = v.Result(ctx, state)
		return err
	})
	return outcome, err
}

// finish takes the visitor back in and fetches the outcome.
func (b *bench) finish(v verifier.Verifier, a *attempt, query url.Values) (verifier.Outcome, error) {
	state, err := callback(v, a.started.State, query)
	if err != nil {
		return verifier.Unknown, fmt.Errorf("Callback: %w", err)
	}
	outcome, err := result(b.ctx, v, state)
	if err != nil {
		return outcome, fmt.Errorf("Result: %w", err)
	}
	return outcome, nil
}

// complete goes the whole way with a number.
func (b *bench) complete(v verifier.Verifier, number string) (verifier.Outcome, error) {
	a, err := b.begin(v, number)
	if err != nil {
		return verifier.Unknown, err
	}
	query, err := b.visit(v, a)
	if err != nil {
		return verifier.Unknown, err
	}
	return b.finish(v, a, query)
}

// callsDuring returns how many calls arrive at the provider meanwhile.
func (b *bench) callsDuring(do func()) int {
	before := b.Far.Calls()
	do()
	return b.Far.Calls() - before
}

// revealing says what of an attempt, or of the subject, text reveals; a is nil if
// there is none.
func (b *bench) revealing(v verifier.Verifier, text string, a *attempt) error {
	secrets := map[string]string{"the verifier's secret": v.Secret()}
	for i, secret := range b.Secrets {
		secrets[fmt.Sprintf("Secrets[%d]", i)] = secret
	}
	if a != nil {
		secrets["the state"], secrets["the token"] = a.request.State, a.request.Token
		if strings.Contains(digits(text), lastDigits(a.request.Number)) {
			return errors.New("the number")
		}
	}
	for name, secret := range secrets {
		if verifier.Reveals(text, secret) {
			return errors.New(name)
		}
	}
	if strings.Contains(text, Marker) {
		return errors.New("what the provider sent")
	}
	return nil
}

// digits returns the digits of s.
func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

// lastDigits are those that tell a number in every form.
func lastDigits(number string) string { return number[max(0, len(number)-8):] }

// badError says what is wrong with an error that a method has returned.
func (b *bench) badError(v verifier.Verifier, err error, a *attempt) error {
	told, ok := errors.AsType[*verifier.Error](err)
	switch {
	case err == nil:
		return errors.New("there is no error")
	case ok && told == nil:
		return errors.New("the error is a nil *verifier.Error, which is not nil as an error")
	case errors.Is(err, errPanicked):
		return err
	case !ok:
		return fmt.Errorf("the error is of type %T, no *verifier.Error", cmp.Or(errors.Unwrap(err), err))
	}
	text := strings.Join([]string{told.Error(), told.Call, told.ID, told.Hint}, "\n")
	if what := b.revealing(v, text, a); what != nil {
		return fmt.Errorf("the error reveals %w", what)
	}
	if what := b.revealing(v, told.Operator, a); what != nil {
		return fmt.Errorf("the error's operator reveals %w", what)
	}
	return nil
}

// classOf returns the class of an error, for messages and comparison.
func classOf(err error) verifier.Class {
	if told, ok := errors.AsType[*verifier.Error](err); ok && told != nil {
		return told.Class
	}
	return verifier.ProviderUnavailable
}

// in says in which step something is wrong; nil if nothing is.
func in(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, err)
}
