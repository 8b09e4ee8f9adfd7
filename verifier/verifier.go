// Package verifier defines what the gate asks of a provider of phone-number
// verification: start a verification of one number, take in what the browser
// brought back, and fetch the outcome.
//
// A provider for Caddy is a module of the namespace
// http.number_verify.verifiers that implements Verifier; see package dqe.
//
// # Other protocols
//
// The interface also fits an OpenID Connect provider such as CAMARA Number
// Verification. Start builds the authorisation URL (scope
// number-verification:verify, login hint, redirect_uri = CallbackURL, state =
// State, PKCE) and calls nobody; its State holds the code verifier and the
// number. Callback checks iss (RFC 9207), returns an *Error of the class Denied for
// error=access_denied, and adds code to the State. Result redeems the code, calls
// POST /verify with the number, and maps devicePhoneNumberVerified. There the state
// is visible in the URL (Started.ShowsState), and what only the browser at the end
// of the redirects learns is the code; with DQE it is the state.
package verifier

import (
	"context"
	"net/url"
	"time"
)

// Verifier is a provider of phone-number verification. Its methods are called
// from many goroutines at once. It keeps nothing in memory that an attempt depends
// on: another node may finish what one node started.
//
// Errors should be *Error. The text of any other error is not logged, since it may
// hold what the provider sent. A panic counts as ProviderUnavailable.
type Verifier interface {
	// Account names the account that is billed. It is stable across restarts,
	// equal on all nodes, and holds nothing secret. A verification counts only
	// for the account that made it.
	Account() string

	// Secret is known only to the Caddy nodes of this account, and equal on all
	// of them. The gate derives from it the keys under which numbers are indexed.
	// A cache may be configured with a secret of its own instead, and must be
	// where this one is "". A module that also has HasSecret() bool is asked
	// before it is provisioned, so that caddy adapt can tell.
	Secret() string

	// Recipient is the name of whoever is sent the number, as pages and privacy
	// texts give it to visitors, such as "DQE".
	Recipient() string

	// Understands tells whether the provider takes what it is sent for this
	// number, in E.164, as this number and no other. If two numbers were sent in
	// one form, whoever has the SIM of one would be verified as the other. The
	// gate refuses other numbers before it counts a start, and before any call.
	// The answer depends on the argument alone, and nobody is called for it.
	Understands(e164 string) bool

	// Start begins one verification. It may be billed, so the gate calls it once
	// for each attempt and never repeats it. It returns either a verification or
	// an error.
	Start(ctx context.Context, req StartRequest) (*Started, error)

	// Callback takes in the query that the browser brought back and returns
	// the state to go on with. The gate has checked its own parameter state, and
	// which browser it is, and has removed the parameter. Nothing in query proves
	// anything by itself. Callback calls nobody.
	//
	// An *Error ends the attempt with its class: the provider has sent the browser
	// back with a refusal, such as OAuth's error=access_denied. Any other error,
	// such as ErrForeignCallback, burns the attempt.
	Callback(state State, query url.Values) (State, error)

	// Result fetches the outcome of the attempt that state belongs to. The gate
	// asks only after an accepted callback, one call at a time, and asks again
	// while the outcome is Pending or an *Error says Again.
	Result(ctx context.Context, state State) (Outcome, error)
}

// CountryChecker is a Verifier that cannot verify numbers of every country.
type CountryChecker interface {
	// CheckCountries returns an error, for the site's operator to read, where
	// the provider would understand no number of one of the countries (ISO
	// 3166-1). A module is asked when a Caddyfile is adapted, before it is
	// provisioned, and again after that: before, what holds a placeholder is not
	// known yet and passes.
	CheckCountries(countries []string) error
}

// TokenSource is a Verifier that needs a new token for each attempt. The gate
// fetches one before Start, makes sure that it has never served an attempt on any
// node, and hands it to Start as StartRequest.Token.
type TokenSource interface {
	// Token returns a token for one attempt. It may call the provider.
	Token(ctx context.Context) (*Token, error)
}

// CallbackParser is a Verifier whose provider does not write callback queries as
// the standard has it. Any other verifier's query is read by url.ParseQuery, and
// one that does not parse is no callback.
type CallbackParser interface {
	// ParseCallback reads the query of a callback as the browser sent it. The
	// gate's own parameter state must be among the result. It calls nobody.
	ParseCallback(rawQuery string) url.Values
}

// Token is what a provider wants to see of an attempt. It serves one attempt.
type Token struct {
	// Value is the token itself, never empty. It is never logged.
	Value string
	// Expires is when the provider forgets it, zero if that is not known. An
	// attempt lasts no longer.
	Expires time.Time
	// Remember is how long the gate refuses the same value. It must be in the
	// future, and should be after the time when the provider would take it again.
	Remember time.Time
}

// State is what a verifier has to remember between the steps of one attempt. It
// may hold a credential: the gate keeps it in the cache and never logs it.
type State []byte

// String keeps the content out of logs.
func (State) String() string { return "[redacted]" }

// StartRequest is what Start needs to know.
type StartRequest struct {
	// Number is the number to verify, in E.164 with the leading plus.
	Number string
	// CallbackURL is the absolute address to send the browser back to, without
	// a query. State must come back with it, as its query parameter state.
	CallbackURL string
	// State is 256 random bits that bind the callback to the attempt. If the
	// protocol allows it, only the browser that reaches the end of the redirects
	// learns it.
	State string
	// Token is what the verifier's Token has returned, claimed for this attempt;
	// empty if the verifier is no TokenSource.
	Token string
}

// Method is how a visitor is recognised. The empty one is Silent.
type Method string

// Silent recognises the SIM over mobile data; the visitor has nothing to do.
const Silent Method = "silent"

// Started is a verification that waits for its visitor.
type Started struct {
	// URL is where to send the browser, as the provider gave it. The gate checks
	// it: an absolute http or https URL that neither leads back to the gate nor
	// reveals State, Token or Hidden in any spelling.
	URL string
	// Hosts are the only hosts that the URL may name, exact or as *.example.com.
	// Without any, every host is allowed.
	Hosts []string
	// Hidden is what else the URL must not reveal.
	Hidden []string
	// ShowsState says that the protocol shows State in the URL, as OAuth does.
	// Then Callback or Result must check something else that only the browser at
	// the end of the redirects learns, such as a code.
	ShowsState bool
	// Method is how the visitor is recognised.
	Method Method
	// Operator is the mobile operator as the provider names it, or empty. The
	// gate makes it fit for headers and logs.
	Operator string
	// State is handed to Callback.
	State State
	// Expires is when the provider forgets the attempt, zero if that is not known
	// or is when the token expires.
	Expires time.Time
}

// Outcome is what a provider says of an attempt. The zero value refuses.
type Outcome uint8

// The outcomes. A refusal is an *Error, not an Outcome.
const (
	// Unknown is no outcome: it refuses.
	Unknown Outcome = iota
	// Pending means that the provider does not know yet.
	Pending
	// Verified means that the visitor's SIM has the number.
	Verified
)

// String names the outcome.
func (o Outcome) String() string {
	switch o {
	case Pending:
		return "pending"
	case Verified:
		return "verified"
	default:
		return "unknown"
	}
}
