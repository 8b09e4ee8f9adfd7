package quota

import (
	"maps"
	"sync"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

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
func (q *Quota) isOverShare(limits []limit, counted []cache.Counted) bool {
	l := &q.limits
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
