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
// number. Callback checks state and iss (RFC 9207) and adds code to the State.
// Result redeems the code, calls POST /verify with the number, and maps
// devicePhoneNumberVerified. There the state is visible in the URL, and what
// only the browser at the end of the redirects learns is the code; with DQE it
// is the state.
package verifier

import (
	"context"
	"net/url"
	"time"
)

// Verifier is a provider of phone-number verification. Its methods are called
// from many goroutines at once. It keeps nothing between calls that an attempt
// depends on: an attempt that one node starts may be finished by another. Their
// errors should be *Error: the text of others is not logged, and a panic counts as
// ProviderUnavailable.
type Verifier interface {
	// Account names the account that is billed, stable across restarts and
	// equal on all nodes, without anything secret in it. A verification holds
	// for the account that made it only.
	Account() string

	// Secret is known to the account's own Caddy nodes alone and equal on all
	// of them: numbers are indexed by keys that are derived from it. A cache may
	// be configured with one of its own instead, and must be where this is "". A
	// module that also has HasSecret() bool is asked before it is provisioned, so
	// that caddy adapt can tell.
	Secret() string

	// Understands tells whether the provider takes what it is sent for this
	// number, in E.164, as this number and no other. Where two numbers are sent
	// in one form, whoever has the SIM of one would be verified as the other. A
	// number that is not understood is refused before it is counted, and before
	// any call. It is a function of its argument alone and calls nobody.
	Understands(e164 string) bool

	// Start begins one verification. It may be billed, so it is called once
	// for each attempt and never retried by the gate. An error should be an
	// *Error; any other counts as ProviderUnavailable.
	Start(ctx context.Context, req StartRequest) (*Started, error)

	// Callback takes in the query that the browser brought back and returns
	// the state to go on with. The gate has removed its own state parameter,
	// and has checked it and the browser. Nothing in query proves anything by
	// itself. An error burns the attempt. It calls nobody.
	Callback(state State, query url.Values) (State, error)

	// Result fetches the outcome of the attempt that state belongs to. It is
	// asked only after an accepted callback, by one caller at a time, and
	// asked again while the outcome is Pending or an *Error says Again.
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

// State is what a verifier must remember between the steps of one attempt. It
// may hold a credential: the gate stores it in the cache and never logs it.
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
	// State is 256 random bits that bind the callback to the attempt. Where
	// the provider's protocol allows it, only the browser that reaches the end
	// of the redirects learns it.
	State string
	// Claim records a value that must serve one attempt only, such as an
	// access token, until the given time. It returns ErrClaimed where the
	// value was claimed before, on any node, and another error where the cache
	// cannot tell; on either, Start must return the error and stop.
	Claim func(ctx context.Context, value string, until time.Time) error
}

// Started is a verification that waits for its visitor.
type Started struct {
	// URL is where the browser is to be sent, checked with CheckURL.
	URL string
	// Operator is the mobile operator as the provider names it, or empty. The
	// gate makes it fit for headers and logs.
	Operator string
	// State is handed to Callback.
	State State
	// Expires is when the provider forgets the attempt.
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
