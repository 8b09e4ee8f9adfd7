package verifiertest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// nodes is how many instances are compared.
const nodes = 3

func checkAccount(b *bench) error {
	v := b.New()
	account := v.Account()
	if account == "" || strings.ContainsFunc(account, unicode.IsControl) {
		return fmt.Errorf("%q names no account", account)
	}
	for range nodes {
		if other := b.New().Account(); other != account || v.Account() != account {
			return fmt.Errorf("the account is %q here and %q there", account, other)
		}
	}
	return in("it reveals", b.revealing(v, account, nil))
}

func checkSecret(b *bench) error {
	v := b.New()
	secret := v.Secret()
	for range nodes {
		if b.New().Secret() != secret || v.Secret() != secret {
			return errors.New("instances have different secrets")
		}
	}
	if told, ok := v.(interface{ HasSecret() bool }); ok && told.HasSecret() != (secret != "") {
		return fmt.Errorf("HasSecret is %t, but the secret has %d bytes", told.HasSecret(), len(secret))
	}
	return nil
}

// maxRecipient bounds a name that pages show in a sentence, in bytes.
const maxRecipient = 64

func checkRecipient(b *bench) error {
	v := b.New()
	name := v.Recipient()
	if name == "" || name != strings.TrimSpace(name) || len(name) > maxRecipient || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%q is no name to show in a sentence", name)
	}
	if other := b.New().Recipient(); other != name {
		return fmt.Errorf("the recipient is %q here and %q there", name, other)
	}
	return in("it reveals", b.revealing(v, name, nil))
}

func checkNumbers(b *bench) error {
	v, other := b.New(), b.New()
	answers := make(map[string]bool)
	for _, number := range b.Numbers.known() {
		answers[number] = true
	}
	for _, number := range b.Numbers.Foreign {
		answers[number] = false
	}
	var err error
	calls := b.callsDuring(func() {
		for number, want := range answers {
			for _, v := range []verifier.Verifier{v, v, other} {
				err = errors.Join(err, understands(v, number, want))
			}
		}
	})
	if calls != 0 {
		err = errors.Join(err, fmt.Errorf("Understands makes %d calls", calls))
	}
	return err
}

func understands(v verifier.Verifier, number string, want bool) error {
	got := false
	if err := guarded(func() error { got = v.Understands(number); return nil }); err != nil {
		return in("Understands", err)
	}
	if got != want {
		return fmt.Errorf("Understands(%q) is %t", number, got)
	}
	return nil
}

// tokensEach is how many tokens each instance fetches.
const tokensEach = 8

// checkToken checks tokens, if the verifier needs any.
func checkToken(b *bench) error {
	var mu sync.Mutex
	var errs []error
	seen := make(map[string]bool)
	var fetching sync.WaitGroup
	for range nodes {
		v := b.New()
		for range tokensEach {
			fetching.Go(func() {
				token, err := fetchToken(b.ctx, v)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					errs = append(errs, in("Token", err))
				case token != nil && seen[token.Value]:
					errs = append(errs, errors.New("Token returns one value twice"))
				case token != nil:
					seen[token.Value] = true
					errs = append(errs, in("Token", badToken(token)))
				}
			})
		}
	}
	fetching.Wait()
	return errors.Join(errs...)
}
