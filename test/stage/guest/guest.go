// Package guest has modules of third parties for tests: a verifier, one that does what
// a test says, one with a mistake in it, and a cache that can be made to fail. Caddy
// knows them as test_oidc, test_scripted, test_broken and test_flaky.
package guest

import "github.com/caddyserver/caddy/v2"

func init() {
	caddy.RegisterModule(&OIDC{})
	caddy.RegisterModule(&Scripted{})
	caddy.RegisterModule(&Broken{})
	caddy.RegisterModule(&Flaky{})
}
