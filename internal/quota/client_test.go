package quota

import "testing"

func TestClientAddressIsFolded(t *testing.T) {
	tests := []struct{ name, address, near, wide string }{
		{"IPv4", "192.0.2.1", "192.0.2.1", ""},
		{"IPv4 mapped into IPv6", "::ffff:192.0.2.1", "192.0.2.1", ""},
		{"the same in hexadecimal", "::ffff:c000:201", "192.0.2.1", ""},
		{"IPv6", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"another of its /64", "2001:db8:1:2:ffff::1", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"another /64 of its /48", "2001:db8:1:ffff::1", "2001:db8:1:ffff::/64", "2001:db8:1::/48"},
		{"a zone, which the visitor does not choose", "fe80::1%eth0", "fe80::/64", "fe80::/48"},
		{"upper case and zeros", "2001:0DB8:0001:0002::0001", "2001:db8:1:2::/64", "2001:db8:1::/48"},
		{"nothing", "", "unknown", ""},
		{"no address", "visitor", "unknown", ""},
		{"with a port", "192.0.2.1:80", "unknown", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := ClientOf(test.address); got.near != test.near || got.wide != test.wide {
				t.Errorf("ClientOf(%q) = %+v", test.address, got)
			}
		})
	}
}
