package guest

import (
	"context"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// Scripted is a third party's verifier that needs a token for each attempt.
type Scripted struct{ OIDC }

// Script changes what Scripted does. A test may change it between visits. Functions
// that are nil change nothing.
type Script struct {
	// Token returns the token of an attempt. Default: NewToken.
	Token func() (*verifier.Token, error)
	// Started changes what a start returns.
	Started func(req verifier.StartRequest, s *verifier.Started)
	// Callback returns the error with which callbacks are refused.
	Callback func() error
	// Starts counts the starts.
	Starts atomic.Int32
}

var playing atomic.Pointer[Script]

// Play has Scripted follow the script from now on.
func (s *Script) Play() { playing.Store(s) }

var lastToken atomic.Int64

// NewToken returns a token that has served no attempt.
func NewToken() *verifier.Token {
	return &verifier.Token{Value: fmt.Sprint("token-of-the-attempt-", lastToken.Add(1)), Remember: time.Now().Add(time.Hour)}
}

// CaddyModule implements caddy.Module.
func (*Scripted) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.verifiers.test_scripted", New: func() caddy.Module { return new(Scripted) }}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler.
func (v *Scripted) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return v.OIDC.UnmarshalCaddyfile(d)
}

// Token implements verifier.TokenSource.
func (*Scripted) Token(context.Context) (*verifier.Token, error) {
	if token := playing.Load().Token; token != nil {
		return token()
	}
	return NewToken(), nil
}

// Start implements verifier.Verifier.
func (v *Scripted) Start(ctx context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	playing.Load().Starts.Add(1)
	s, err := v.OIDC.Start(ctx, req)
	if change := playing.Load().Started; change != nil {
		change(req, s)
	}
	return s, err
}

// Callback implements verifier.Verifier.
func (v *Scripted) Callback(state verifier.State, query url.Values) (verifier.State, error) {
	if callback := playing.Load().Callback; callback != nil {
		return nil, callback()
	}
	return v.OIDC.Callback(state, query)
}
