package quota

import "time"

// Limits bound what visitors can start. Starts are counted per verifier account:
// those that reach the provider, whatever it answers.
type Limits struct {
	// NumberEach is how many starts of one number from one client address pass
	// within NumberWindow, NumberAll how many of it from all.
	NumberEach, NumberAll int64
	NumberWindow          time.Duration
	// Client is how many starts pass from one client address, in one window or
	// more.
	Client []Rate
	// Global is how many starts pass in all; 0: any number.
	Global Rate
	// Attempts is how many attempts may be in flight.
	Attempts int64
	// Sessions is how many sessions a cache of this process may hold before no
	// attempt is begun any more.
	Sessions int64
}

// Rate is how often something may happen within a window, in whole milliseconds.
type Rate struct {
	Max    int64
	Window time.Duration
}

// times is the rate for so many.
func (r Rate) times(n int64) Rate { return Rate{min(r.Max, unlimited/n) * n, r.Window} }

const (
	// unlimited is the bound in a window that only another gate of the account
	// limits: there this gate counts and never refuses.
	unlimited = 1 << 52
	// clientAttempts and browserAttempts are how many of the attempts in flight
	// may be one client address's, and one browser's.
	clientAttempts  = 200
	browserAttempts = 5
	// numberWide and clientWide are how many times what one client may start of
	// a number, and of all, a whole IPv6 /48 may, which one customer may have.
	numberWide = 2
	clientWide = 10
	// Once half of the budget is used, one network (IPv4 /16, IPv6 /32) may have
	// used a part in networkParts of it, and always what so many clients of IPv4
	// may start, and so many /48: one customer must not use up what is his whole
	// operator's. Before that a network may use what it likes: it may be all of an
	// operator's, and a stranger in it must not lock the others out.
	networkParts   = 4
	networkClients = 10
	networkWides   = 2
	// shareRetry is when to try again where a network has used up its share, and
	// shareAsked how long it is refused before that is counted anew.
	shareRetry, shareAsked = time.Hour, time.Minute
)

// refunds is how often a start of one number is taken back because it was
// verified: who has the SIM must not start without bound.
var refunds = Rate{20, 24 * time.Hour}
