package command_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

const gated = `
http://:NODE {
	bind 127.0.0.1
	number_verify /account* {
		public_url http://SITE
		VERIFIER
		CACHE
	}
	reverse_proxy UPSTREAM
}
`

// TestCommandsOfARunningCaddy drives the commands against a real Caddy with a visitor.
func TestCommandsOfARunningCaddy(t *testing.T) {
	f := stage.NewFleet(t, simulator.Options{}, 1, gated, "cache memory")
	address := f.Nodes[0].AdminAddr
	const number = "+33 6 39 98 00 01\n"
	command := func(typed string, args ...string) said { return run(t, typed, append(args, "--address", address)...) }

	command(number, "find", "--number", "-").has(t, 4, "Nobody is verified with +33 6 •• •• •• 01")
	command("", "status").has(t, 0, "Sessions: 0.")
	visitor := f.Visitor()
	visitor.ArrivesAt("/account/")
	visitor.Passes("/account/")

	got := command("", "status")
	got.has(t, 0, "Sessions: 1. Attempts under way: 0.")
	if !regexp.MustCompile(`(?m)^dqe +memory +\S+ +1 +0 +called$`).MatchString(got.out) {
		t.Errorf("there is no line for the account:\n%s", got.out)
	}
	got = command(number, "find", "--number", "-")
	got.has(t, 0, "+33 6 •• •• •• 01: 1 session", "silent")
	session := regexp.MustCompile(`(?m)^([0-9a-f]+) +(\S+) `).FindStringSubmatch(got.out)
	if session == nil {
		t.Fatalf("no session is listed:\n%s", got.out)
	}
	visitor.Passes("/account/")
	command("", "revoke", "--session", session[1]).has(t, 0, "Ended: 1 session,")
	visitor.Refused("/account/")
	command("", "revoke", "--session", session[1]).has(t, 4, "no session")

	for _, scope := range [][]string{{"--number", "-"}, {"--realm", session[2], "--yes"}, {"--all", "--yes"}} {
		visitor.ArrivesAt("/account/")
		visitor.Passes("/account/")
		command(number, append([]string{"revoke"}, scope...)...).has(t, 0)
		visitor.Refused("/account/")
	}
	command("", "revoke", "--realm", "nowhere.example.com", "--yes").has(t, 1, "realm")
	command("12\n", "find", "--number", "-").has(t, 1, "country code")
}

// The reference of a visitor's page leads to what happened, which the node remembers
// after a reload too.
func TestReferenceOfAPageIsExplainedByTheRunningCaddy(t *testing.T) {
	f := stage.NewFleet(t, simulator.Options{}, 1, gated, "cache memory")
	page := f.Visitor().Verify("/account/", "06 39 98 00 02")
	page.Is(t, http.StatusOK, "number_mismatch")
	reference := regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{8}\b`).FindString(page.Body)
	for range 2 {
		got := run(t, "", "explain", strings.ToLower(reference), "--address", f.Nodes[0].AdminAddr)
		got.has(t, 0)
		got.inOrder(t, reference, "attempt started", "not verified", "code: number_mismatch", "attempt ended", "number_mismatch: the SIM has another number (20).")
		f.Nodes[0].Reload()
	}
	run(t, "", "explain", "00000000", "--address", f.Nodes[0].AdminAddr).has(t, 4, "does not remember it")
}
