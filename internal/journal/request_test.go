package journal

import "testing"

func TestNetworkIsAsMuchOfAnAddressAsMayBeLogged(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.77": "192.0.2.0/24", "::ffff:192.0.2.77": "192.0.2.0/24", "2001:db8:1:2:3:4:5:6": "2001:db8:1::/48",
		"fe80::1%eth0": "fe80::/48", "": "unknown", "192.0.2.77:80": "unknown", "+33639980001": "unknown",
	} {
		if got := network(address); got != want {
			t.Errorf("%s is told as %s, want %s", address, got, want)
		}
	}
}
