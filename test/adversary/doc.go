// Package adversary attacks a site behind the gate, from outside, as strangers do.
//
// It has no code of its own, only tests: each starts a Caddy as a process, with a
// site behind it that notes what arrives, a provider, and tries a class of
// vectors against them. A vector says what it does and what it imitates. They
// attack whatever Caddy they are given:
//
//	go test ./test/adversary -caddy "$PWD/caddy"
//
// and one made of this checkout where they are given none.
//
// Servers of other makes say what they serve, by which reading of a path, and which
// headers they take for the gate's: lighttpd, php, python3 with Flask, and node have
// to be installed, as .ci/test does it.
//
// Where to look: suite_test.go for how vectors are run and counted, site_test.go for
// the Caddy that is attacked, upstream_test.go for what must not reach the site,
// servers_test.go and testdata for servers of other makes, grammar_test.go for paths
// that are made up. The other files are a class of vectors each. Visitors, and
// requests that no honest client sends, are test/stage's.
package adversary
