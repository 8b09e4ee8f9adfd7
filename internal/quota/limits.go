package quota

import "time"

// Limits bound what visitors can start. All starts of a verifier account that reach
// the provider are counted, whatever it answers.
type Limits struct {
	// NumberEach is how many starts of one number pass from one client address
	// within NumberWindow, NumberAll how many of it pass from all addresses.
	NumberEach, NumberAll int64
	NumberWindow          time.Duration
	// Client is how many starts pass from one client address, for each window.
	Client []Rate
	// Global is how many starts pass in all; a Max of 0 is no limit.
	Global Rate
	// Attempts is how many attempts may be in flight.
	Attempts int64
	// Sessions is how many sessions a cache of this process may hold; beyond it no
	// attempt is begun.
	Sessions int64
}

// Rate is how often something may happen within a window of whole milliseconds.
type Rate struct {
	Max    int64
	Window time.Duration
}

// times returns the rate of n together.
func (r Rate) times(n int64) Rate { return Rate{min(r.Max, unlimited/n) * n, r.Window} }

const (
	// unlimited is the most in a window that only other gates of the account limit:
	// this gate counts there and never refuses.
	unlimited = 1 << 52
	// clientAttempts and browserAttempts are how many of the attempts in flight may
	// come from one client address, and from one browser.
	clientAttempts  = 200
	browserAttempts = 5
	// An IPv6 /48, which one customer may have, may start one number numberWide
	// times as often as one client, and all numbers clientWide times as often.
	numberWide = 2
	clientWide = 10
	// Once half of the budget is used, one network (IPv4 /16, IPv6 /32) gets at
	// most one part in networkParts of the budget, so that one customer cannot use
	// up what their whole operator needs. It always gets what networkClients of
	// IPv4, or networkWides /48 of IPv6, may start. Before half of the budget is
	// used there is no such limit: the network may be an operator's only one, and a
	// stranger in it must not lock out the others.
	networkParts   = 4
	networkClients = 10
	networkWides   = 2
	// A network that has used up its share is told to try again after shareRetry.
	// It is refused without counting for shareRecheck, and then counted again.
	shareRetry, shareRecheck = time.Hour, time.Minute
)

// maxRefunds is how often a start of one number is taken back because it ended
// verified: even the owner of the SIM must not start without limit.
var maxRefunds = Rate{20, 24 * time.Hour}
