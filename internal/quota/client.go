package quota

import (
	"cmp"
	"net/netip"
)

// Client is where a start comes from, as far as limits are concerned.
type Client struct {
	// near is the address, or the /64 of an IPv6 address, of which a customer
	// has at least one. wide is its /48; "" for IPv4. network is what a whole
	// operator may have: the /16, or the /32 of an IPv6 address.
	near, wide, network string
}

// ClientOf reads a client's address. All that are none count as one client.
func ClientOf(address string) Client {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return Client{near: "unknown", network: "unknown"}
	}
	addr = addr.Unmap().WithZone("")
	prefix := func(bits int) string { return netip.PrefixFrom(addr, bits).Masked().String() }
	if addr.Is4() {
		return Client{near: addr.String(), network: prefix(16)}
	}
	return Client{near: prefix(64), wide: prefix(48), network: prefix(32)}
}

// Customer is the network of one customer: all of an IPv6 /48, since one customer
// may have it.
func (c Client) Customer() string { return cmp.Or(c.wide, c.near) }
