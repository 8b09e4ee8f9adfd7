// Package guest plays third parties' modules for tests: three verifiers, one of them
// controlled by the test and one with a mistake in it, and a cache that can be made to
// fail. Caddy knows them as test_oidc, test_scripted, test_broken and test_flaky.
package guest

import "github.com/caddyserver/caddy/v2"

func init() {
	caddy.RegisterModule(&OIDC{})
	caddy.RegisterModule(&Scripted{})
	caddy.RegisterModule(&Broken{})
	caddy.RegisterModule(&Flaky{})
}
