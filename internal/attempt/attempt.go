// Package attempt is the life of a verification: from the press of the button
// over the operator and back to a session, which it keeps, gives once more where
// it got lost, and ends. It writes no HTTP: what a visitor does returns a Step,
// which says what comes next.
//
//   - A start: start.go, with press.go (equal presses become one) and admit.go
//     (whether it is admitted at all).
//   - The way back: callback.go, result.go, end.go.
//   - A session: session.go, grant.go (once more), signout.go.
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
	// Region is how a national number is read; Countries are those accepted.
	Region    string
	Countries []string
	// KnowsNumbers says that the site knows its visitors' numbers: a
	// verification has to be of that one.
	KnowsNumbers bool

	AttemptTTL, RefusedTTL, ResultWait time.Duration
}

// Desk handles the attempts and sessions of one gate. It keeps nothing about
// visitors itself; all that is in the ledger.
type Desk struct {
	Config
	numbers phone.Rules
	keep    keeping
	presses presses
}

// New returns a desk.
func New(cfg Config) *Desk {
	return &Desk{Config: cfg, numbers: phone.Rules{
		Region: cfg.Region, Countries: cfg.Countries, Understands: cfg.Provider.Understands,
	}}
}

// Visitor is who makes a request, as far as attempts and sessions are concerned.
type Visitor struct {
	// Realm is the scope of the site's cookies.
	Realm string
	// Browser and Session are the values of the cookies, each "" unless it came
	// along once and well formed.
	Browser, Session string
	// Number is what the site knows to be the visitor's number, "" where it
	// knows none. It counts where Config.KnowsNumbers.
	Number string
}

func (v *Visitor) browser() ledger.Browser { return ledger.Browser{Realm: v.Realm, Secret: v.Browser} }

// owns tells whether the visitor's browser has started the attempt.
func (v *Visitor) owns(a *ledger.Attempt) bool {
	hash := ledger.Hash(v.Browser)
	return v.Browser != "" && subtle.ConstantTimeCompare(hash[:], a.Browser[:]) == 1
}

// ParseNumber reads a number that may be verified here. It returns a code where
// it may not.
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

// Refusal is why the visitor's last attempt failed, while that is remembered, else
// "". It only explains, so a failing cache explains nothing.
func (d *Desk) Refusal(ctx context.Context, v *Visitor) refusal.Code {
	if v.Browser == "" {
		return ""
	}
	entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.RefusalKey(v.browser()))
	if err != nil {
		return ""
	}
	return refusal.Code(entry.Value.Code)
}

// CheckSecret says so where another node of the account has another secret.
func (d *Desk) CheckSecret(ctx context.Context) {
	differs, err := d.Ledger.CheckSecret(ctx)
	if differs {
		d.Journal.OtherSecret()
	}
	if err != nil {
		d.Journal.NotDone("fingerprint not stored", err)
	}
}

// accepts tells whether numbers of that country may pass here.
func (d *Desk) accepts(region string) bool { return slices.Contains(d.Countries, region) }

// pause waits; it returns false where ctx ended first.
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
