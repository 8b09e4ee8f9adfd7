package quota

import (
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// measure is one of the things that starts are counted by, such as the number.
type measure struct {
	name  string // constant, for logs and keys
	value string
	// windows are those of all gates of the account.
	windows []time.Duration
	// own are this gate's limits. In other windows it only counts.
	own []Rate
	// returned says that the start is taken back if the attempt ends verified, so
	// that visitors who prove their numbers do not use up what others need.
	returned bool
	// inFlight says that the start is taken back when the attempt ends, whatever
	// the outcome.
	inFlight bool
	// isIPv6 says that the client has an IPv6 address.
	isIPv6 bool
}

// The names of the measures of all starts, and of all attempts in flight.
const (
	globalName   = "global"
	attemptsName = "attempts"
)

// most returns the gate's limit within a window.
func (m *measure) most(window time.Duration) int64 {
	for _, rate := range m.own {
		if rate.Window == window {
			return rate.Max
		}
	}
	return unlimited
}

// measures returns what a start is counted by.
func (q *Quota) measures(s Start) []measure {
	l, windows := &q.limits, q.windows
	number, near, wide := s.Number, s.Client.near, s.Client.wide
	each := Rate{l.NumberEach, l.NumberWindow}
	flight := []time.Duration{windows.flight}
	inFlight := func(most int64) []Rate { return []Rate{{most, windows.flight}} }
	all := []measure{
		{name: "number from one client", value: number + " " + near, windows: windows.number, own: []Rate{each}, returned: true},
		{name: "number", value: number, windows: windows.number, own: []Rate{{l.NumberAll, l.NumberWindow}}, returned: true},
		{name: "client", value: near, windows: windows.client, own: l.Client, returned: true},
		{name: "network", value: s.Client.network, windows: windows.global, returned: true, isIPv6: wide != ""}, // see isOverShare
		{name: globalName, windows: windows.global, own: l.budget()},
		{name: attemptsName, windows: flight, own: inFlight(l.Attempts), inFlight: true},
		{name: "attempts of one client", value: near, windows: flight, own: inFlight(clientAttempts), inFlight: true},
		{name: "attempts of one browser", value: s.Browser, windows: flight, own: inFlight(browserAttempts), inFlight: true},
	}
	if wide == "" {
		return all
	}
	clients := make([]Rate, len(l.Client))
	for i, rate := range l.Client {
		clients[i] = rate.times(clientWide)
	}
	return append(all,
		measure{name: "number from one IPv6 /48", value: number + " " + wide, windows: windows.number, own: []Rate{each.times(numberWide)}, returned: true},
		measure{name: "IPv6 /48", value: wide, windows: windows.client, own: clients, returned: true},
	)
}

// budget returns the global limit, if there is one.
func (l *Limits) budget() []Rate {
	if l.Global.Max == 0 {
		return nil
	}
	return []Rate{l.Global}
}

// bound is what the cache counts a start against: a measure in one of its windows.
type bound struct {
	*measure
	cache.Limit
}

// bounds returns those of a start.
func (q *Quota) bounds(s Start) []bound {
	var all []bound
	measures := q.measures(s)
	for i := range measures {
		m := &measures[i]
		key := q.ledger.CountKey(m.name, m.value)
		for _, window := range m.windows {
			all = append(all, bound{m, cache.Limit{Key: key, Max: m.most(window), Window: window}})
		}
	}
	return all
}
