package quota

import (
	"cmp"
	"net/netip"
)

// Client is where a start comes from, as limits see it.
type Client struct {
	near    string // the IPv4 address, or the /64 of an IPv6 address
	wide    string // the /48 of an IPv6 address, which one customer may have; "" for IPv4
	network string // the /16, or the /32 of an IPv6 address: it may be a whole operator's
}

// ClientOf reads a client's address. All malformed addresses count as one client.
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

// Customer returns the network that one customer may have: the IPv4 address, or the
// /48 of an IPv6 address.
func (c Client) Customer() string { return cmp.Or(c.wide, c.near) }
