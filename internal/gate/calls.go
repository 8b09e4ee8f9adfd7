package gate

import "sync"

const (
	// maxCalls is how many calls may be under way: a slow provider must not
	// take up what Caddy needs for everything else. Fewer than the connections
	// that a verifier opens, or calls would run out of time in their queue.
	maxCalls = 100
	// startCalls is how many of them may be starts: what is left is for results,
	// which have been paid for.
	startCalls = 80
	// clientCalls is how many one client's starts may be, an IPv6 /48 counting as
	// one: more than pass in a burst by default, so that the limit answers what is
	// beyond it; less than all, so that others start beside it.
	clientCalls = 65
)

// calls are those to the provider that are under way. The zero value has none.
type calls struct {
	mu          sync.Mutex
	all, starts int
	byClient    map[string]int // of starts
}

// hasRoom tells whether a client may start.
func (c *calls) hasRoom(client string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mayStart(client)
}

func (c *calls) mayStart(client string) bool {
	return c.all < maxCalls && c.starts < startCalls && c.byClient[client] < clientCalls
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
	c.all++
	c.starts++
	c.byClient[client]++
	return func() { c.endStart(client) }, true
}

func (c *calls) endStart(client string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	c.starts--
	if c.byClient[client]--; c.byClient[client] == 0 {
		delete(c.byClient, client)
	}
}

// result takes the call for a result, if there is one left.
func (c *calls) result() (end func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= maxCalls {
		return nil, false
	}
	c.all++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
	}, true
}
