package provider

import "sync"

const (
	// maxCalls is how many calls may be under way: a slow provider must not
	// take up what Caddy needs for everything else. Fewer than the connections
	// that a verifier opens, or calls would run out of time in their queue.
	maxCalls = 100
	// mostCalls is how many of them may be starts, and how many results: neither
	// must keep the others away.
	mostCalls = 80
	// clientCalls is how many one client's starts may be, an IPv6 /48 counting as
	// one: more than pass in a burst by default, so that the limit answers what is
	// beyond it; less than all, so that others start beside it.
	clientCalls = 65
)

// calls are those to the provider that are under way. The zero value has none.
type calls struct {
	mu              sync.Mutex
	starts, results int
	byClient        map[string]int // of starts
}

// hasRoom tells whether a client may start.
func (c *calls) hasRoom(client string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mayStart(client)
}

func (c *calls) mayStart(client string) bool {
	return c.starts+c.results < maxCalls && c.starts < mostCalls && c.byClient[client] < clientCalls
}

// start takes the call for a client's start, if it may.
func (c *calls) start(client string) (end func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mayStart(client) {
		return nil, false
	}
	if c.byClient == nil {
		c.byClient = make(map[string]int)
	}
	c.starts++
	c.byClient[client]++
	return func() { c.endStart(client) }, true
}

func (c *calls) endStart(client string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starts--
	if c.byClient[client]--; c.byClient[client] == 0 {
		delete(c.byClient, client)
	}
}

// result takes the call for a result, if there is one left.
func (c *calls) result() (end func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.starts+c.results >= maxCalls || c.results >= mostCalls {
		return nil, false
	}
	c.results++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.results--
	}, true
}
