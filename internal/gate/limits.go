package gate

import (
	"cmp"
	"encoding/hex"
	"maps"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

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

// measure is a thing that starts are counted by, in each of some windows. What
// becomes of the attempt decides what is taken back.
type measure struct {
	name    string
	value   string
	windows []time.Duration
	// own are this gate's limits; in windows of other gates it only counts.
	own []Rate
	// returned says that the start is taken back when the attempt is verified:
	// nobody can use up what is somebody else's by being whom he says.
	returned bool
	// inFlight says that it is taken back when the attempt ends, however.
	inFlight bool
	// isWide says that the client's address is of IPv6.
	isWide bool
}

// most is the gate's limit within a window.
func (m *measure) most(window time.Duration) int64 {
	for _, rate := range m.own {
		if rate.Window == window {
			return rate.Max
		}
	}
	return unlimited
}

// measures are those of one start.
func (g *Gate) measures(s starter) []measure {
	l, account := &g.cfg.Limits, g.cfg.Account
	number, near, wide := s.number.E164, s.client.near, s.client.wide
	each := Rate{l.NumberEach, l.NumberWindow}
	flight := []time.Duration{account.flight}
	inFlight := func(most int64) []Rate { return []Rate{{most, account.flight}} }
	all := []measure{
		{name: "number from one client", value: number + " " + near, windows: account.number, own: []Rate{each}, returned: true},
		{name: "number", value: number, windows: account.number, own: []Rate{{l.NumberAll, l.NumberWindow}}, returned: true},
		{name: "client", value: near, windows: account.client, own: l.Client, returned: true},
		{name: "network", value: s.client.network, windows: account.global, returned: true, isWide: wide != ""}, // see isOverShare
		{name: "global", windows: account.global, own: l.budget()},
		{name: "attempts", windows: flight, own: inFlight(l.Attempts), inFlight: true},
		{name: "attempts of one client", value: near, windows: flight, own: inFlight(clientAttempts), inFlight: true},
		{name: "attempts of one browser", value: s.browser, windows: flight, own: inFlight(browserAttempts), inFlight: true},
	}
	if wide == "" {
		return all
	}
	clients := make([]Rate, len(l.Client))
	for i, rate := range l.Client {
		clients[i] = rate.times(clientWide)
	}
	return append(all,
		measure{name: "number from one IPv6 /48", value: number + " " + wide, windows: account.number, own: []Rate{each.times(numberWide)}, returned: true},
		measure{name: "IPv6 /48", value: wide, windows: account.client, own: clients, returned: true},
	)
}

// budget is the global limit, where there is one.
func (l *Limits) budget() []Rate {
	if l.Global.Max == 0 {
		return nil
	}
	return []Rate{l.Global}
}

// networkShare is how much of the budget one network may have used up with starts
// that are not verified, once half of it is gone. It never refuses what one client
// may start by itself, nor what one customer of the network leaves to another.
func (l *Limits) networkShare(isWide bool) int64 {
	longest := Rate{}
	for _, rate := range l.Client {
		if rate.Window > longest.Window {
			longest = rate
		}
	}
	clients := int64(networkClients)
	if isWide {
		clients = networkWides * clientWide
	}
	return max(l.Global.Max/networkParts, longest.times(clients).Max)
}

// isOverShare tells whether a start, as it was counted, is more than its network's
// share.
func (g *Gate) isOverShare(limits []limit, counted []cache.Counted) bool {
	l := &g.cfg.Limits
	var all, network, share int64
	for i, event := range counted {
		switch {
		case limits[i].Window != l.Global.Window:
		case limits[i].name == "global":
			all = event.Total
		case limits[i].name == "network":
			network, share = event.Total, l.networkShare(limits[i].isWide)
		}
	}
	return l.Global.Max > 0 && all > l.Global.Max/2 && network > share
}

// shut are the networks whose share is used up. Only counting tells that, and what
// is counted is taken back: without a memory of it a start that is refused would
// take room, each time, and use up nothing of its client's.
type shut struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (s *shut) has(network string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.until[network])
}

func (s *shut) add(network string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(s.until, func(_ string, until time.Time) bool { return !now.Before(until) })
	if s.until == nil {
		s.until = make(map[string]time.Time)
	}
	s.until[network] = now.Add(shareAsked)
}

// limit is one of a measure that a start has to pass.
type limit struct {
	*measure
	cache.Limit
}

// limits are those of one start.
func (g *Gate) limits(s starter) []limit {
	var all []limit
	measures := g.measures(s)
	for i := range measures {
		m := &measures[i]
		key := g.countKey(m.name, m.value)
		for _, window := range m.windows {
			all = append(all, limit{m, cache.Limit{Key: key, Max: m.most(window), Window: window}})
		}
	}
	return all
}

// countKey is the key of what is counted.
func (g *Gate) countKey(what, value string) cache.Key {
	secret := hex.EncodeToString(g.index.sum("limit "+what, value))
	return cache.Key{Kind: cache.KindCount, Realm: g.account, Secret: secret}
}

// client is where a request comes from, as far as limits are concerned.
type client struct {
	// near is the address, or the /64 of an IPv6 address, of which a customer
	// has at least one. wide is its /48; "" for IPv4. network is what a whole
	// operator may have: the /16, or the /32 of an IPv6 address.
	near, wide, network string
}

// clientOf reads the client's address. What is none counts as one.
func (g *Gate) clientOf(r *http.Request) client {
	addr, err := parseAddress(g.cfg.ClientIP(r))
	if err != nil {
		return client{near: "unknown", network: "unknown"}
	}
	prefix := func(bits int) string { return netip.PrefixFrom(addr, bits).Masked().String() }
	if addr.Is4() {
		return client{near: addr.String(), network: prefix(16)}
	}
	return client{near: prefix(64), wide: prefix(48), network: prefix(32)}
}

// callerOf names a client to the breaker, and in the attempt, without its address:
// all of an IPv6 /48 is one, since one customer may have it.
func (g *Gate) callerOf(c client) string {
	return hex.EncodeToString(g.index.sum("client", cmp.Or(c.wide, c.near)))
}
