// Package verifiertest holds the tests that every verifier.Verifier has to pass.
// contract_test.go of package dqe shows how to call it.
//
// The tests cover what all protocols have in common. They do not look at what a
// verifier logs, nor whether it reads all of its provider's answers correctly: a
// verifier needs tests of its own for that.
package verifiertest

import (
	"context"
	"testing"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// Subject is a verifier under test, and the provider that it talks to.
type Subject struct {
	// New returns an instance that is ready for use. All instances are configured
	// alike, as those on the nodes of one site are.
	New func() verifier.Verifier
	// Far is the provider's side, usually a Server.
	Far Far
	// Numbers choose what the provider says.
	Numbers Numbers
	// Secrets are what the verifier is configured with and must show to nobody,
	// beside its Secret.
	Secrets []string
	// Visit is what the visitor's browser does: it opens link, goes where it is
	// sent, and returns the query of the first address that begins with
	// CallbackURL. Default: it follows redirects.
	Visit func(ctx context.Context, link string) (query string, err error)
}

// CallbackURL is the address that attempts of these tests come back to. Nobody
// listens there.
const CallbackURL = "https://www.example.com/.number-verify/callback"

// Numbers are those, in E.164, that a provider of tests answers in a known way.
type Numbers struct {
	// Verified is the number of the SIM that the visitor has; required.
	Verified string
	// Mismatch is a number that the visitor's SIM does not have; required.
	Mismatch string
	// Pending is one whose result is not known yet; "" if a result never is.
	Pending string
	// Unsupported is one that the provider or its operator refuses to start
	// with; "" if there is none.
	Unsupported string
	// Denied is one whose operator or visitor declines, which the callback or the
	// result tells; "" if there is none.
	Denied string
	// Foreign are numbers that the verifier must not understand.
	Foreign []string
}

// known are the numbers that the verifier must understand.
func (n *Numbers) known() []string {
	known := []string{n.Verified, n.Mismatch}
	for _, optional := range []string{n.Pending, n.Unsupported, n.Denied} {
		if optional != "" {
			known = append(known, optional)
		}
	}
	return known
}

// Far is the provider's side. Its methods are called from many goroutines at once.
type Far interface {
	// Calls returns how many calls have arrived.
	Calls() int
	// Break makes every call from now on fail in the given way. An answer that
	// holds text holds Marker.
	Break(Fault)
}

// Marker stands in whatever a broken provider answers, so that it is found where it
// is quoted.
const Marker = "text-of-the-other-side"

// Fault is how a provider fails.
type Fault int

// The faults.
const (
	// Works: the provider does not fail.
	Works Fault = iota
	// Fails: it answers each call with an error of its own, such as HTTP 500.
	Fails
	// Echoes: it answers each call as if it had succeeded, well formed, but with
	// nothing in it except text that repeats what it was sent.
	Echoes
	// Garbles: it breaks the transport's protocol, with text that repeats what it
	// was sent.
	Garbles
	// Hangs: it answers no call as long as its caller waits.
	Hangs
)

// String names the fault.
func (f Fault) String() string {
	return [...]string{"works", "fails", "echoes", "garbles", "hangs"}[f]
}

// check is one of the tests. It returns how the verifier breaks the contract.
type check struct {
	name string
	run  func(*bench) error
}

var checks = []check{
	{"account", checkAccount},
	{"secret", checkSecret},
	{"recipient", checkRecipient},
	{"numbers", checkNumbers},
	{"token", checkToken},
	{"start", checkStart},
	{"callback", checkCallback},
	{"callback proves nothing by itself", checkForeignCallback},
	{"result", checkResult},
	{"refusals", checkRefusals},
	{"failing provider", checkFaults},
	{"ended context", checkEndedContext},
	{"own check", checkOwnCheck},
	{"nodes", checkNodes},
	{"concurrency", checkConcurrency},
}

// Run holds the verifier that setUp makes to the contract of package verifier. It
// calls setUp once for each test. Run it with the race detector.
func Run(t *testing.T, setUp func(t *testing.T) Subject) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			subject := setUp(t)
			if err := c.run(&bench{Subject: &subject, ctx: t.Context()}); err != nil {
				t.Error(err)
			}
		})
	}
}
