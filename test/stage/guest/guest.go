// Package guest plays third parties' modules for tests: three verifiers, one of them
// controlled by the test and one with a mistake in it, a cache that can be made to fail,
// and two handlers of events. Caddy knows them as test_oidc, test_scripted, test_broken,
// test_flaky, test_listener and exec.
package guest

import "github.com/caddyserver/caddy/v2"

func init() {
	caddy.RegisterModule(&OIDC{})
	caddy.RegisterModule(&Scripted{})
	caddy.RegisterModule(&Broken{})
	caddy.RegisterModule(&Flaky{})
	caddy.RegisterModule(&Listener{})
	caddy.RegisterModule(&Exec{})
}
