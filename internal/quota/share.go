package quota

import (
	"maps"
	"sync"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// networkShare returns how many unverified starts one network may have in the budget
// once half of that is used. It is at least twice what one customer can start, so that
// one customer cannot lock out the others of a network.
func (l *Limits) networkShare(isIPv6 bool) int64 {
	longest := Rate{}
	for _, rate := range l.Client {
		if rate.Window > longest.Window {
			longest = rate
		}
	}
	clients := int64(networkClients)
	if isIPv6 {
		clients = networkWides * clientWide
	}
	return max(l.Global.Max/networkParts, longest.times(clients).Max)
}

// isOverShare tells whether a start that was just counted exceeds its network's
// share.
func (q *Quota) isOverShare(bounds []bound, counted []cache.Counted) bool {
	l := &q.limits
	var all, network, share int64
	for i, event := range counted {
		switch {
		case bounds[i].Window != l.Global.Window:
		case bounds[i].name == globalName:
			all = event.Total
		case bounds[i].name == "network":
			network, share = event.Total, l.networkShare(bounds[i].isIPv6)
		}
	}
	return l.Global.Max > 0 && all > l.Global.Max/2 && network > share
}

// shut are the networks whose share is used up. That is found out by counting a
// start and taking it back. Without this memory each refused start would write to
// the cache, and count against no limit of its client.
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
	s.until[network] = now.Add(shareRecheck)
}
