package guest

import (
	"context"
	"fmt"
	"net/url"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// Broken is a third party's verifier with a mistake in it.
type Broken struct{ OIDC }

// CaddyModule implements caddy.Module.
func (*Broken) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.verifiers.test_broken", New: func() caddy.Module { return new(Broken) }}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler.
func (v *Broken) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return v.OIDC.UnmarshalCaddyfile(d)
}

// failing holds the step in which Broken fails, and how.
var failing atomic.Pointer[failure]

type failure struct {
	step string
	fail func(text string) error
}

// FailIn has Broken fail from now on in a step: "number", "start", "callback" or
// "result"; with "" nothing fails. fail returns the error, or panics. It gets a text
// with all values of the step, secrets included.
func FailIn(step string, fail func(text string) error) {
	failing.Store(&failure{step, fail})
}

func failIn(step string, text string) error {
	if f := failing.Load(); f != nil && f.step == step {
		return f.fail(text)
	}
	return nil
}

// Understands implements verifier.Verifier.
func (v *Broken) Understands(e164 string) bool { return failIn("number", e164) == nil }

// Start implements verifier.Verifier.
func (v *Broken) Start(ctx context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	if err := failIn("start", req.Number+" "+req.State); err != nil {
		return nil, err
	}
	return v.OIDC.Start(ctx, req)
}

// Callback implements verifier.Verifier.
func (v *Broken) Callback(state verifier.State, query url.Values) (verifier.State, error) {
	if err := failIn("callback", fmt.Sprintf("%s %v", []byte(state), query)); err != nil {
		return nil, err
	}
	return v.OIDC.Callback(state, query)
}

// Result implements verifier.Verifier.
func (v *Broken) Result(ctx context.Context, state verifier.State) (verifier.Outcome, error) {
	if err := failIn("result", string(state)); err != nil {
		return verifier.Verified, err
	}
	return v.OIDC.Result(ctx, state)
}
