package verifiertest

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/verifier"
)

func badToken(token *verifier.Token) error {
	now := time.Now()
	switch {
	case token.Value == "":
		return errors.New("the value is empty")
	case !token.Expires.IsZero() && !token.Expires.After(now):
		return errors.New("it has expired")
	case !token.Remember.After(now):
		return errors.New("its Remember is not in the future: the gate refuses such a token")
	case token.Remember.Before(token.Expires):
		return errors.New("its Remember is before its Expires: the same value could serve two attempts")
	default:
		return nil
	}
}

var isMethod = regexp.MustCompile(`^[a-z0-9_-]{0,32}$`)

func checkStart(b *bench) error {
	v := b.New()
	links := make(map[string]bool)
	for range 2 {
		a, err := b.begin(v, b.Numbers.Verified)
		if err != nil {
			return err
		}
		if err := b.badLink(v, a); err != nil {
			return in("Started.URL", err)
		}
		if links[a.started.URL] {
			return errors.New("two attempts have one URL")
		}
		links[a.started.URL] = true
		switch {
		case !isMethod.MatchString(string(a.started.Method)):
			return fmt.Errorf("Started.Method %q is no word in lower case", a.started.Method)
		case !a.started.Expires.IsZero() && !a.started.Expires.After(time.Now()):
			return errors.New("Started.Expires has passed")
		}
		if what := b.revealing(v, a.started.Operator, a); what != nil {
			return fmt.Errorf("Started.Operator reveals %w", what)
		}
	}
	return nil
}

// badLink says why the gate would send no visitor to the URL of an attempt.
func (b *bench) badLink(v verifier.Verifier, a *attempt) error {
	callback, err := url.Parse(a.request.CallbackURL)
	if err != nil {
		return err
	}
	secrets := append([]string{a.request.Token, v.Secret()}, a.started.Hidden...)
	secrets = append(secrets, b.Secrets...)
	if !a.started.ShowsState {
		secrets = append(secrets, a.request.State)
	} else if !verifier.Reveals(a.started.URL, a.request.State) {
		return errors.New("it does not show the state: without ShowsState the gate would make sure of that")
	}
	_, err = provider.CheckLink(a.started.URL, provider.LinkRules{Callback: callback, Hosts: a.started.Hosts, Secrets: secrets})
	return err
}

func checkCallback(b *bench) error {
	v := b.New()
	a, err := b.begin(v, b.Numbers.Verified)
	if err != nil {
		return err
	}
	query, err := b.visit(v, a)
	if err != nil {
		return err
	}
	// with room behind it, which an append would write to
	state := append(make(verifier.State, 0, len(a.started.State)+100), a.started.State...)
	given := bytes.Clone(state[:cap(state)])
	var first, second verifier.State
	var err1, err2 error
	calls := b.callsDuring(func() {
		first, err1 = callback(v, state, query)
		second, err2 = callback(b.New(), state, query)
	})
	switch {
	case err1 != nil || err2 != nil:
		return in("Callback", errors.Join(err1, err2))
	case calls != 0:
		return fmt.Errorf("Callback makes %d calls", calls)
	case !bytes.Equal(state[:cap(state)], given):
		return errors.New("Callback writes to the state that it was given, which the gate may hand to it again")
	case !bytes.Equal(first, second):
		return errors.New("Callback makes two states of the same state and query")
	default:
		return nil
	}
}

// checkForeignCallback holds that a callback that is not the attempt's own neither
// verifies nobody's number nor counts as the provider's refusal.
func checkForeignCallback(b *bench) error {
	v := b.New()
	mine, err := b.begin(v, b.Numbers.Mismatch)
	if err != nil {
		return err
	}
	others, err := b.begin(v, b.Numbers.Verified)
	if err != nil {
		return err
	}
	query, err := b.visit(v, others)
	if err != nil {
		return err
	}
	if _, err := b.visit(v, mine); err != nil {
		return err
	}
	if err := b.admitsNobody(v, mine, query); err != nil {
		return in("the callback of another attempt", err)
	}
	if others.started.ShowsState {
		fresh, err := b.begin(v, b.Numbers.Verified)
		if err != nil {
			return err
		}
		if err := b.admitsNobody(v, fresh, url.Values{}); err != nil {
			return in("a callback with nothing but the state, which the URL shows to everybody", err)
		}
	}
	return nil
}

// admitsNobody holds that a callback does not end in a verification, nor in a
// refusal of the provider.
func (b *bench) admitsNobody(v verifier.Verifier, a *attempt, query url.Values) error {
	state, err := callback(v, a.started.State, query)
	if _, refused := errors.AsType[*verifier.Error](err); refused {
		return errors.New("Callback returns an *Error, as for a refusal: return ErrForeignCallback")
	}
	if errors.Is(err, errPanicked) {
		return in("Callback", err)
	}
	if err != nil {
		return nil
	}
	if outcome, err := result(b.ctx, v, state); err == nil && outcome == verifier.Verified {
		return errors.New("it ends in a verification")
	}
	return nil
}

func checkResult(b *bench) error {
	v := b.New()
	outcome, err := b.complete(v, b.Numbers.Verified)
	if err != nil || outcome != verifier.Verified {
		return fmt.Errorf("Numbers.Verified ends in %s, %v", outcome, err)
	}
	if b.Numbers.Pending != "" {
		outcome, err := b.complete(v, b.Numbers.Pending)
		if err != nil || outcome != verifier.Pending {
			return fmt.Errorf("Numbers.Pending ends in %s, %v", outcome, err)
		}
	}
	return nil
}

// refusal is a number that is refused, with one of some classes.
type refusal struct {
	name, number string
	classes      []verifier.Class
}

func checkRefusals(b *bench) error {
	for _, r := range []refusal{
		{"Mismatch", b.Numbers.Mismatch, []verifier.Class{verifier.Mismatch}},
		{"Unsupported", b.Numbers.Unsupported, []verifier.Class{verifier.NumberUnsupported, verifier.NumberInvalid, verifier.OperatorUnavailable}},
		{"Denied", b.Numbers.Denied, []verifier.Class{verifier.Denied}},
	} {
		if r.number == "" {
			continue
		}
		if err := b.isRefused(r); err != nil {
			return in("Numbers."+r.name, err)
		}
	}
	return nil
}

func (b *bench) isRefused(r refusal) error {
	v := b.New()
	a, err := b.newAttempt(v, r.number)
	if err != nil {
		return err
	}
	outcome := verifier.Unknown
	err = a.start(b.ctx, v)
	if err == nil {
		query, wrong := b.visit(v, a)
		if wrong != nil {
			return wrong
		}
		outcome, err = b.finish(v, a, query)
	}
	if outcome == verifier.Verified {
		return errors.New("it is verified, with an error or without")
	}
	if err := b.badError(v, err, a); err != nil {
		return err
	}
	if slices.Contains(r.classes, classOf(err)) {
		return nil
	}
	return fmt.Errorf("the error's class is %s, none of %v: %w", classOf(err), r.classes, err)
}

// checkNodes holds that each step can be another node's.
func checkNodes(b *bench) error {
	a, err := b.begin(b.New(), b.Numbers.Verified)
	if err != nil {
		return err
	}
	query, err := b.visit(b.New(), a)
	if err != nil {
		return err
	}
	state, err := callback(b.New(), a.started.State, query)
	if err != nil {
		return in("Callback on another node", err)
	}
	outcome, err := result(b.ctx, b.New(), state)
	if err != nil || outcome != verifier.Verified {
		return fmt.Errorf("Result on another node is %s, %v: what an attempt needs belongs into its State", outcome, err)
	}
	return nil
}
