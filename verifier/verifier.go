// Package verifier defines what the gate asks of a provider of phone-number
// verification.
//
// A provider for Caddy is a module of the namespace http.number_verify.verifiers
// that implements Verifier; package dqe is one, and the examples show two small
// ones. Test it with package verifiertest.
//
// # One attempt
//
//  1. Understands: can the provider be asked for this number?
//  2. Token, for a TokenSource only: a token that serves this attempt alone.
//  3. Start: the provider learns the number and the address to come back to, and
//     says where to send the browser. The gate checks that URL.
//  4. The browser goes there. The mobile operator recognises the SIM, and sends the
//     browser back to the gate.
//  5. Callback: what did the browser bring back?
//  6. Result: does the SIM have the number? The gate asks again while the provider
//     does not know.
//
// Each step may happen on another node, so whatever a later step needs is in the
// State.
//
// # What a callback proves
//
// A stranger can start an attempt for your number and have your phone open the
// link. So the gate accepts a callback only from the browser that started the
// attempt, and only if it brings something that nobody learns except the browser at
// the end of the redirects. Usually that is StartRequest.State: the verifier hands
// it to the provider, server to server, and the gate makes sure that the URL does
// not reveal it. If the protocol shows State in the URL (Started.ShowsState), the
// verifier has to check something else in its place. Everything else that a browser
// brings back proves nothing.
//
// # OpenID Connect, such as CAMARA Number Verification
//
// Such a provider fits in as follows:
//
//   - Start calls nobody. It builds the authorisation URL: scope
//     number-verification:verify, a login hint, redirect_uri = CallbackURL, state =
//     State, PKCE. It sets ShowsState, keeps the number and the code verifier in
//     Started.State, and names the code verifier in Hidden.
//   - Callback checks iss (RFC 9207). For error=access_denied it returns an *Error
//     of the class Denied; without a code, or with another iss, ErrForeignCallback.
//     It adds the code, which takes the place of the state as proof.
//   - Result redeems the code, calls POST /verify with the number, and maps
//     devicePhoneNumberVerified. Code and access token can be used once: once the
//     request was sent, an error must not say Again.
//
// # The callback path
//
// Browsers come back to {path}/callback. {path}/callback/{provider} is reserved for
// providers that need a path of their own, which keeps one provider from passing off
// its answer as another's (mix-up, RFC 9700). It answers 404 today; like
// {path}/callback it is kept out of access logs and referrers.
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
	// CheckCountries returns an error for the site's operator to read if there is
	// a country (ISO 3166-1) of which the provider understands no number. A
	// module is asked twice: when a Caddyfile is adapted, before it is
	// provisioned, and again afterwards. The first time it must accept what
	// depends on a placeholder that is not resolved yet.
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
