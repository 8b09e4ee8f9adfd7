package attempt

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// A browser can go in circles: it is verified, and the route that it comes back to turns
// it down, since the cookie got lost or the route asks for something else. Each round is
// billed. So routes note what they turn down, and the third time within a minute ends it.
const (
	loopRounds = 3
	loopSpan   = time.Minute
	// atOnce is how soon after the verification a route turns it down as too old if no
	// visitor can be in time. Later it is just old, and is rightly asked for again.
	atOnce = 10 * time.Second
	// noteTime is how long a visitor who is turned down waits for that to be noted.
	noteTime = 300 * time.Millisecond
)

// Misfit is why a visitor's session does not let him pass, as it is logged; "" if it
// does.
type Misfit string

// The misfits.
const (
	NoCookie     Misfit = "no session cookie"
	Unknown      Misfit = "session unknown"
	OtherAccount Misfit = "other account"
	OtherCountry Misfit = "country not accepted"
	OtherNumber  Misfit = "other number"
	TooOld       Misfit = "too old"
	TooIdle      Misfit = "idle for too long"
)

// hints say what to change in the configuration. Without a cookie it is the browser that
// has to change.
var hints = map[Misfit]string{
	Unknown:      "the session is gone before the visitor is back: session_idle is shorter than the way, the cache drops what it holds, or nodes do not share a cache",
	OtherAccount: "gates of different verifier accounts end each other's session: give one of them a cookie_name of its own",
	OtherCountry: "one gate takes numbers that the other does not accept: give them the same countries, or one of them a cookie_name of its own",
	OtherNumber:  "number has another value on the route than under path: the handler that sets it must do the same for both",
	TooOld:       "max_age or session_ttl of the route is shorter than the way from the operator, or the clocks of nodes differ",
	TooIdle:      "session_idle of the route is shorter than the way from the operator, or the clocks of nodes differ",
}

// Recent is what is known of a browser that was verified within the last minute.
type Recent struct {
	// TurnedDown says that a route turned down the session that was given last, so it
	// is of no use to go on with.
	TurnedDown bool
	// Stopped is set while the browser may not be verified again.
	Stopped *Stopped
}

// Recent finds what is known of the visitor's browser. An error has a code.
func (d *Desk) Recent(ctx context.Context, v *Visitor) (Recent, error) {
	if v.Browser == "" {
		return Recent{}, nil
	}
	entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.GrantKey(v.browser()))
	if errors.Is(err, ledger.ErrNotFound) {
		return Recent{}, nil
	}
	if err != nil {
		return Recent{}, err
	}
	grant := entry.Value
	recent := Recent{TurnedDown: len(grant.TurnedDown) > 0 && grant.Fresh == ""}
	switch {
	case dropsCookies(v, grant), isLoop(grant) && grant.Misfit == string(NoCookie):
		recent.Stopped = &Stopped{Code: refusal.CookiesRequired, ID: grant.Attempt, RetryAt: entry.Record.Expires}
	case isLoop(grant):
		recent.Stopped = &Stopped{Code: refusal.ProviderMisconfigured, ID: grant.Attempt, RetryAt: entry.Record.Expires}
	}
	return recent, nil
}

func isLoop(g *ledger.Grant) bool {
	n := len(g.TurnedDown)
	return n == loopRounds && g.TurnedDown[n-1].Sub(g.TurnedDown[0]) < loopSpan && time.Since(g.TurnedDown[n-1]) < loopSpan
}

// dropsCookies tells whether the browser has no session although it was given one again.
func dropsCookies(v *Visitor, g *ledger.Grant) bool { return v.Session == "" && g.Given > 0 }

// TurnDown notes that a route turns the visitor's session down. It counts once for each
// session that the browser was given within the last minute, however many requests it
// makes with it. The visitor does not feel an error.
func (d *Desk) TurnDown(ctx context.Context, v *Visitor, why Misfit) {
	if v.Browser == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	for {
		entry, err := ledger.Get(ctx, d.Ledger, d.Ledger.GrantKey(v.browser()))
		if err != nil || !d.concerns(v, entry.Value, why) {
			return
		}
		noted := d.turnedDown(entry.Value, why)
		_, err = ledger.Swap(ctx, d.Ledger, entry, noted, ledger.Life{Expires: entry.Record.Expires, Tags: entry.Record.Tags})
		switch {
		case errors.Is(err, ledger.ErrConflict): // another request was faster
			continue
		case err != nil:
			d.Journal.NotDone(ctx, "turned down session not noted", err)
		case isLoop(noted) && noted.Misfit != string(NoCookie):
			d.Journal.GoesInCircles(journal.WithAttempt(ctx, noted.Attempt), noted.Session, noted.Misfit, hints[Misfit(noted.Misfit)])
		}
		return
	}
}

// concerns tells whether what the route turns down is what the browser was given last,
// so that a request that was under way meanwhile does not count.
func (d *Desk) concerns(v *Visitor, g *ledger.Grant, why Misfit) bool {
	switch {
	case g.Fresh == "":
		return false // noted already
	case why == NoCookie, why == OtherAccount: // which has taken the place of this account's
		return true
	case (why == TooOld || why == TooIdle) && time.Since(g.Session.VerifiedAt) > atOnce:
		return false
	default:
		return g.Fresh == d.Ledger.SessionKey(v.Realm, v.Session).PublicID()
	}
}

// turnedDown returns the grant with another session that was turned down.
func (d *Desk) turnedDown(g *ledger.Grant, why Misfit) *ledger.Grant {
	now, noted := time.Now(), *g
	if why == NoCookie && !now.Before(d.Ends(g.Session)) {
		why = TooOld // the browser has kept the cookie for as long as it was told to
	}
	last := g.TurnedDown[max(0, len(g.TurnedDown)-loopRounds+1):]
	noted.TurnedDown = append(slices.Clone(last), now)
	noted.Fresh, noted.Misfit = "", string(why)
	return &noted
}
