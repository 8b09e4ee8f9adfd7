package gate

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// Code is the stable name of a refusal: in JSON, on pages, in logs.
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

// verified is the outcome of an attempt that made a session.
const verified = "verified"

type codeInfo struct {
	status        int
	title, detail string // for problem+json, whose readers are programs
}

var codes = map[Code]codeInfo{
	VerificationRequired:  {http.StatusUnauthorized, "Verification required", "This needs a verified phone number. Open verify_url in the browser."},
	NumberInvalid:         {http.StatusUnprocessableEntity, "Invalid number", "This is not a phone number that exists."},
	NumberUnsupported:     {http.StatusUnprocessableEntity, "Unsupported number", "This number, its country or its operator cannot be verified."},
	NumberMismatch:        {http.StatusForbidden, "Another number", "The SIM of this device does not have this number."},
	AccessDenied:          {http.StatusForbidden, "Access denied", "The mobile operator refused the verification."},
	AttemptExpired:        {http.StatusGone, "Attempt expired", "The verification took too long. Start again."},
	AttemptUnknown:        {http.StatusNotFound, "Attempt unknown", "There is no such verification. Start again."},
	NumberUnknown:         {http.StatusForbidden, "Number unknown", "The site knows no phone number for this account."},
	BrowserMismatch:       {http.StatusForbidden, "Another browser", "The verification was started in another browser and has been cancelled."},
	CookiesRequired:       {http.StatusBadRequest, "Cookies required", "The browser has to keep this site's cookies."},
	CrossOrigin:           {http.StatusForbidden, "Cross-origin request", "Verifications are started from this site's own pages."},
	RateLimited:           {http.StatusTooManyRequests, "Too many attempts", "There were too many attempts. Try again later."},
	OperatorUnavailable:   {http.StatusServiceUnavailable, "Operator unavailable", "The mobile operator could not recognise the SIM. Use mobile data, not Wi-Fi."},
	ProviderUnavailable:   {http.StatusServiceUnavailable, "Verification unavailable", "Verification does not work at the moment. Try again later."},
	ProviderMisconfigured: {http.StatusServiceUnavailable, "Verification unavailable", "Verification is not available now."},
	ResultTimeout:         {http.StatusGatewayTimeout, "No result", "The mobile operator did not answer in time. Try again."},
	CacheUnavailable:      {http.StatusServiceUnavailable, "Temporarily unavailable", "The verification cannot be looked up at the moment. Try again shortly."},
	Busy:                  {http.StatusServiceUnavailable, "Busy", "Too many verifications are under way. Try again shortly."},
}

// Status is the HTTP status that goes with c; an unknown code is a 503.
func (c Code) Status() int {
	if info, ok := codes[c]; ok {
		return info.status
	}
	return http.StatusServiceUnavailable
}

// Detail is one English sentence for programs and logs.
func (c Code) Detail() string { return codes[c].detail }

// retryAfter is how long to wait where what c tells passes by itself; 0 where it
// does not.
func (c Code) retryAfter() time.Duration {
	switch c {
	case CacheUnavailable, Busy:
		return 5 * time.Second
	case ProviderUnavailable, OperatorUnavailable:
		return 30 * time.Second
	default:
		return 0
	}
}

// headers sets what goes with a refusal.
func (c Code) headers(h http.Header) {
	if c.Status() == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", challenge)
	}
	if after := c.retryAfter(); after > 0 && h.Get("Retry-After") == "" {
		setRetryAfter(h, after)
	}
}

// setRetryAfter says when to come again, in whole seconds, never too early.
func setRetryAfter(h http.Header, after time.Duration) {
	h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(after.Seconds())))))
}

// codeOf tells what a visitor is told of err: it has to name a refusal for
// every error, since nothing else stops the attempt.
func codeOf(err error) Code {
	if errors.Is(err, cache.ErrFull) || errors.Is(err, errCrowded) || errors.Is(err, cache.ErrConflict) {
		return Busy // a conflict: the visitor has signed out meanwhile, in another tab
	}
	if errors.Is(err, errCache) {
		return CacheUnavailable
	}
	var refused *verifier.Error
	if !errors.As(err, &refused) {
		return ProviderUnavailable
	}
	switch refused.Class {
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
