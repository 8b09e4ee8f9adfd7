// Package refusal holds the codes, the stable names of what can stop a visitor in
// JSON, on pages and in logs, and everything that is known of each.
package refusal

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// Code is the stable name of a refusal. The zero value is none.
type Code string

// The codes.
const (
	VerificationRequired  Code = "verification_required"
	NumberInvalid         Code = "number_invalid"
	NumberUnsupported     Code = "number_unsupported"
	NumberMismatch        Code = "number_mismatch"
	AccessDenied          Code = "access_denied"
	AttemptExpired        Code = "attempt_expired"
	AttemptUnknown        Code = "attempt_unknown"
	NumberUnknown         Code = "number_unknown"
	BrowserMismatch       Code = "browser_mismatch"
	CookiesRequired       Code = "cookies_required"
	CrossOrigin           Code = "cross_origin"
	RateLimited           Code = "rate_limited"
	OperatorUnavailable   Code = "operator_unavailable"
	ProviderUnavailable   Code = "provider_unavailable"
	ProviderMisconfigured Code = "provider_misconfigured"
	ResultTimeout         Code = "result_timeout"
	CacheUnavailable      Code = "cache_unavailable"
	Busy                  Code = "busy"
)

// trait is a property that some of the codes have.
type trait uint8

const (
	// fallback: the site's other way in may help, since this number, operator or
	// device cannot be verified, or nobody can at the moment.
	fallback trait = 1 << iota
	// number: the visitor should look at the number again.
	number
	// network: mobile data in place of Wi-Fi may help.
	network
	// mistake: the visitor caused it, and nothing else logs it. A request without
	// a verification is none: every visitor's first request is one.
	mistake
	// repair: who runs the site has to do something.
	repair
)

// meaning is everything that is known of a code.
type meaning struct {
	status int
	// retry is how long to wait for a cause that passes by itself; otherwise 0.
	retry  time.Duration
	traits trait
	// title and detail are for problem+json.
	title, detail string
}

const (
	soon  = 5 * time.Second
	later = 30 * time.Second
)

var meanings = map[Code]meaning{
	VerificationRequired: {http.StatusUnauthorized, 0, 0,
		"Verification required", "This needs a verified phone number. Open verify_url in the browser."},
	NumberInvalid: {http.StatusUnprocessableEntity, 0, number | mistake,
		"Invalid number", "This is not a phone number that exists."},
	NumberUnsupported: {http.StatusUnprocessableEntity, 0, fallback | number | mistake,
		"Unsupported number", "This number, its country or its operator cannot be verified."},
	NumberMismatch: {http.StatusForbidden, 0, fallback | number | network,
		"Another number", "The SIM of this device does not have this number."},
	AccessDenied: {http.StatusForbidden, 0, fallback,
		"Access denied", "The mobile operator refused the verification."},
	AttemptExpired: {http.StatusGone, 0, fallback | network | mistake,
		"Attempt expired", "The verification took too long. Start again."},
	AttemptUnknown: {http.StatusNotFound, 0, mistake,
		"Attempt unknown", "There is no such verification. Start again."},
	NumberUnknown: {http.StatusForbidden, 0, fallback | mistake,
		"Number unknown", "The site knows no phone number for this account."},
	BrowserMismatch: {http.StatusForbidden, 0, mistake,
		"Another browser", "The verification was started in another browser and has been cancelled."},
	CookiesRequired: {http.StatusBadRequest, 0, fallback | mistake,
		"Cookies required", "The browser has to keep this site's cookies."},
	CrossOrigin: {http.StatusForbidden, 0, mistake,
		"Cross-origin request", "Verifications are started from this site's own pages."},
	RateLimited: {http.StatusTooManyRequests, 0, 0,
		"Too many attempts", "There were too many attempts. Try again later."},
	OperatorUnavailable: {http.StatusServiceUnavailable, later, fallback | network,
		"Operator unavailable", "The mobile operator could not recognise the SIM. Use mobile data, not Wi-Fi."},
	ProviderUnavailable: {http.StatusServiceUnavailable, later, fallback | repair,
		"Verification unavailable", "Verification does not work at the moment. Try again later."},
	ProviderMisconfigured: {http.StatusServiceUnavailable, 0, fallback | repair,
		"Verification unavailable", "Verification is not available now."},
	ResultTimeout: {http.StatusGatewayTimeout, 0, fallback | network,
		"No result", "The mobile operator did not answer in time. Try again."},
	CacheUnavailable: {http.StatusServiceUnavailable, soon, repair,
		"Temporarily unavailable", "The verification cannot be looked up at the moment. Try again shortly."},
	Busy: {http.StatusServiceUnavailable, soon, 0,
		"Busy", "Too many verifications are under way. Try again shortly."},
}

// Codes are all codes, sorted.
func Codes() []Code { return slices.Sorted(maps.Keys(meanings)) }

// IsKnown tells whether c is one of the codes.
func (c Code) IsKnown() bool { _, ok := meanings[c]; return ok }

// Status is the HTTP status that goes with c; an unknown code is a 503.
func (c Code) Status() int {
	if m, ok := meanings[c]; ok {
		return m.status
	}
	return http.StatusServiceUnavailable
}

// Title is c in a few English words, for programs.
func (c Code) Title() string { return meanings[c].title }

// Detail is one English sentence, for programs and logs.
func (c Code) Detail() string { return meanings[c].detail }

// Retry is how long to wait for a cause that passes by itself; otherwise 0.
func (c Code) Retry() time.Duration { return meanings[c].retry }

// OffersFallback tells whether the site's other way in may help.
func (c Code) OffersFallback() bool { return c.has(fallback) }

// ConcernsNumber tells whether the visitor should look at the number again.
func (c Code) ConcernsNumber() bool { return c.has(number) }

// ConcernsNetwork tells whether mobile data in place of Wi-Fi may help.
func (c Code) ConcernsNetwork() bool { return c.has(network) }

// IsMistake tells whether the visitor has caused the refusal.
func (c Code) IsMistake() bool { return c.has(mistake) }

// NeedsRepair tells whether who runs the site has to do something.
func (c Code) NeedsRepair() bool { return c.has(repair) }

func (c Code) has(t trait) bool { return meanings[c].traits&t != 0 }

// Error is an error and the code that a visitor is told for it.
type Error struct {
	Code Code
	Err  error
}

// New gives err a code; nil stays nil.
func New(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{code, err}
}

// Error is the text of the cause.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Of returns the code for err. Every error has one, so that each stops an attempt:
// an error without a code or a class is ProviderUnavailable.
func Of(err error) Code {
	if own, ok := errors.AsType[*Error](err); ok {
		return own.Code
	}
	told, ok := errors.AsType[*verifier.Error](err)
	if !ok {
		return ProviderUnavailable
	}
	switch told.Class {
	case verifier.OperatorUnavailable:
		return OperatorUnavailable
	case verifier.Misconfigured:
		return ProviderMisconfigured
	case verifier.NumberInvalid:
		return NumberInvalid
	case verifier.NumberUnsupported:
		return NumberUnsupported
	case verifier.Mismatch:
		return NumberMismatch
	case verifier.Denied:
		return AccessDenied
	case verifier.Expired:
		return AttemptExpired
	default:
		return ProviderUnavailable
	}
}
