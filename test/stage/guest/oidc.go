package guest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// OIDC is a third party's verifier, in the manner of OpenID Connect: the state is in
// the URL, and a code in the callback proves the number.
type OIDC struct {
	Issuer string `json:"issuer,omitempty"`
}

// CaddyModule implements caddy.Module.
func (*OIDC) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.verifiers.test_oidc", New: func() caddy.Module { return new(OIDC) }}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler.
func (v *OIDC) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&v.Issuer) {
		return d.ArgErr()
	}
	return nil
}

// Account implements verifier.Verifier.
func (v *OIDC) Account() string { return "oidc/" + v.Issuer }

// Secret implements verifier.Verifier.
func (*OIDC) Secret() string { return "the client's secret" }

// Recipient implements verifier.Verifier.
func (*OIDC) Recipient() string { return "Example" }

// Understands implements verifier.Verifier.
func (*OIDC) Understands(string) bool { return true }

// Start implements verifier.Verifier.
func (v *OIDC) Start(_ context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	query := url.Values{"redirect_uri": {req.CallbackURL}, "state": {req.State}}
	return &verifier.Started{
		URL: v.Issuer + "/authorize?" + query.Encode(), Operator: "Operator", State: verifier.State(req.Number),
		ShowsState: true, Expires: time.Now().Add(time.Minute),
	}, nil
}

// Callback implements verifier.Verifier.
func (v *OIDC) Callback(state verifier.State, query url.Values) (verifier.State, error) {
	if query.Get("iss") != v.Issuer {
		return nil, errors.New("another issuer")
	}
	return append(state[:len(state):len(state)], " "+query.Get("code")...), nil
}

// Result implements verifier.Verifier.
func (*OIDC) Result(_ context.Context, state verifier.State) (verifier.Outcome, error) {
	if strings.HasSuffix(string(state), " "+GoodCode) {
		return verifier.Verified, nil
	}
	return verifier.Unknown, nil
}

// GoodCode is the one code that verifies. For any other code the result is Unknown,
// which the gate must refuse.
const GoodCode = "good-code"

// Issuer starts the provider of OIDC, and returns its address. It sends each visitor
// back with the code that the function code returns for the state.
func Issuer(t testing.TB, code func(state string) string) (address string) {
	t.Helper()
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.URL.Query()
		back := url.Values{"state": {asked.Get("state")}, "code": {code(asked.Get("state"))}, "iss": {server.URL}}
		http.Redirect(w, r, asked.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
