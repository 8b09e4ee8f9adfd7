// Package attempt is the life of a verification: the start, the way back from the
// operator, the result, and the session that comes of it. It writes no HTTP: what a
// visitor does returns a Step, which says what comes next.
//
//   - A start: press.go (equal presses become one), admit.go (whether it is
//     admitted), start.go.
//   - The way back: callback.go, result.go, end.go.
//   - A session: session.go, grant.go (a session that got lost is given again),
//     loop.go (browsers that go in circles), signout.go.
package attempt

import (
	"context"
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/internal/quota"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// Config is what a Desk needs.
type Config struct {
	Ledger   *ledger.Ledger
	Provider *provider.Provider
	Quota    *quota.Quota
	Journal  *journal.Journal

	// Account is the verifier account.
	Account string
	// Region is the country whose national numbers may be typed, Countries are
	// those whose numbers are accepted.
	Region    string
	Countries []string
	// KnowsNumbers says that the site knows its visitors' numbers: only a
	// verification of the known number counts.
	KnowsNumbers bool

	AttemptTTL, RefusedTTL, ResultWait time.Duration
}

// Desk handles the attempts and sessions of one gate. All that lasts is in the
// ledger.
type Desk struct {
	Config
	numbers   phone.Rules
	retention retention
	presses   presses
}

// New returns a desk.
func New(cfg Config) *Desk {
	return &Desk{Config: cfg, numbers: phone.Rules{
		Region: cfg.Region, Countries: cfg.Countries, Understands: cfg.Provider.Understands,
	}}
}

// Visitor is who makes a request.
type Visitor struct {
	// Realm is the scope of the site's cookies, as Ledger.Realm returned it. It is ""
	// where the visitor has none, or where it is not known what was revoked.
	Realm string
	// Browser and Session are the values of the cookies; "" where the request does
	// not carry exactly one, well formed.
	Browser, Session string
	// Number is the visitor's number as the site knows it, or "". It counts if
	// Config.KnowsNumbers.
	Number string
}

func (v *Visitor) browser() ledger.Browser { return ledger.Browser{Realm: v.Realm, Secret: v.Browser} }

// owns tells whether the visitor's browser started the attempt.
func (v *Visitor) owns(a *ledger.Attempt) bool {
	hash := ledger.Hash(v.Browser)
	return v.Browser != "" && subtle.ConstantTimeCompare(hash[:], a.Browser[:]) == 1
}

// ParseNumber reads a number. It returns a code if the number cannot be verified here.
func (d *Desk) ParseNumber(input string) (phone.Number, refusal.Code) {
	n, err := phone.Parse(input, &d.numbers)
	switch {
	case err == nil:
		return n, ""
	case errors.Is(err, phone.ErrUnsupported):
		return phone.Number{}, refusal.NumberUnsupported
	default:
		return phone.Number{}, refusal.NumberInvalid
	}
}

// Refusal returns why the visitor's last attempt failed. It has no code where that is
// not remembered. It only explains, so after an error of the cache it has none either.
func (d *Desk) Refusal(ctx context.Context, v *Visitor) ledger.Refusal {
	if v.Browser == "" {
		return ledger.Refusal{}
	}
	entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.RefusalKey(v.browser()))
	if err != nil {
		return ledger.Refusal{}
	}
	return *entry.Value
}

// accepts tells whether numbers of a country are accepted.
func (d *Desk) accepts(region string) bool { return slices.Contains(d.Countries, region) }

// pause waits. It returns false if ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
