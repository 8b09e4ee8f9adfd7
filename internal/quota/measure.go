package quota

import (
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

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
		{name: "network", value: s.Client.network, windows: windows.global, returned: true, isWide: wide != ""}, // see isOverShare
		{name: "global", windows: windows.global, own: l.budget()},
		{name: "attempts", windows: flight, own: inFlight(l.Attempts), inFlight: true},
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

// budget is the global limit, where there is one.
func (l *Limits) budget() []Rate {
	if l.Global.Max == 0 {
		return nil
	}
	return []Rate{l.Global}
}

// limit is one of a measure that a start has to pass.
type limit struct {
	*measure
	cache.Limit
}

// limits are those of one start.
func (q *Quota) limitsOf(s Start) []limit {
	var all []limit
	measures := q.measures(s)
	for i := range measures {
		m := &measures[i]
		key := q.ledger.CountKey(m.name, m.value)
		for _, window := range m.windows {
			all = append(all, limit{m, cache.Limit{Key: key, Max: m.most(window), Window: window}})
		}
	}
	return all
}
