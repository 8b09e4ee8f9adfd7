package provider

import "sync"

const (
	// maxCalls is how many calls may be under way, so that a slow provider does not
	// take up what Caddy needs for everything else. It is below the number of
	// connections that a verifier opens, or calls would time out in their queue.
	maxCalls = 100
	// mostCalls is how many of them may be starts, and how many may be results, so
	// that neither keeps the other away.
	mostCalls = 80
	// clientCalls is how many starts of one client may be under way; an IPv6 /48 is
	// one client. It is more than the default limit lets pass in a burst, so that
	// what is beyond is refused as rate_limited and not as busy, and less than
	// mostCalls, so that others can start at the same time.
	clientCalls = 65
)

// calls counts the calls to the provider that are under way. The zero value is ready
// to use.
type calls struct {
	mu              sync.Mutex
	starts, results int
	byClient        map[string]int // of starts
}

// hasRoom tells whether takeStart would succeed.
func (c *calls) hasRoom(client string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mayStart(client)
}

func (c *calls) mayStart(client string) bool {
	return c.starts+c.results < maxCalls && c.starts < mostCalls && c.byClient[client] < clientCalls
}

// takeStart counts a call for a client's start, if it may be made, until end is
// called.
func (c *calls) takeStart(client string) (end func(), ok bool) {
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

// takeResult counts a call for a result, if it may be made, until end is called.
func (c *calls) takeResult() (end func(), ok bool) {
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
