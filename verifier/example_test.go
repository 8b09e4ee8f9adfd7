package verifier_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/numberverify/caddy-number-verify/verifier"
)

func init() {
	caddy.RegisterModule(&Basic{})
}

// Basic is a whole verifier. Its provider has two calls: POST /verifications takes
// a number and an address to come back to, and answers an id and the operator's URL;
// POST /result takes the id.
//
//	number_verify {
//		verifier example {
//			server https://verify.example.com
//			key    {env.EXAMPLE_KEY}
//		}
//	}
type Basic struct {
	Server string `json:"server,omitempty"`
	Key    string `json:"key,omitempty"`

	http *http.Client
}

// CaddyModule returns the Caddy module information.
func (*Basic) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.verifiers.example", New: func() caddy.Module { return new(Basic) }}
}

// UnmarshalCaddyfile reads the block after "verifier example".
func (e *Basic) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	options := map[string]*string{"server": &e.Server, "key": &e.Key}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		value, ok := options[d.Val()]
		if !ok || !d.AllArgs(value) {
			return d.Errf("verifier example: %s is no option, or lacks its value", d.Val())
		}
	}
	return nil
}

// Provision resolves placeholders. It calls nobody.
func (e *Basic) Provision(caddy.Context) (err error) {
	if e.Key, err = caddy.NewReplacer().ReplaceOrErr(e.Key, true, true); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	e.http = &http.Client{
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		// net/http logs what a server sends unasked on connections that are kept
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	return nil
}

// Account implements verifier.Verifier.
func (e *Basic) Account() string { return "example/" + e.Server }

// Secret implements verifier.Verifier.
func (e *Basic) Secret() string { return e.Key }

// Recipient implements verifier.Verifier.
func (*Basic) Recipient() string { return "Example Verify" }

// Understands implements verifier.Verifier: numbers are sent in E.164, as they are.
func (*Basic) Understands(string) bool { return true }

// Start implements verifier.Verifier. The state is sent from server to server, and
// only the browser that comes back learns it.
func (e *Basic) Start(ctx context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	back := req.CallbackURL + "?" + url.Values{"state": {req.State}}.Encode()
	a, err := e.call(ctx, "start", "/verifications", url.Values{"number": {req.Number}, "back": {back}})
	if err != nil {
		return nil, err
	}
	if a.ID == "" {
		return nil, &verifier.Error{Call: "start", Err: errNonsense}
	}
	return &verifier.Started{URL: a.URL, State: verifier.State(a.ID), Method: verifier.Silent}, nil
}

// Callback implements verifier.Verifier. This provider adds nothing to the query.
func (*Basic) Callback(state verifier.State, _ url.Values) (verifier.State, error) {
	return state, nil
}

// Result implements verifier.Verifier.
func (e *Basic) Result(ctx context.Context, state verifier.State) (verifier.Outcome, error) {
	a, err := e.call(ctx, "result", "/result", url.Values{"id": {string(state)}})
	if err != nil {
		return verifier.Unknown, err
	}
	switch a.Outcome {
	case "verified":
		return verifier.Verified, nil
	case "pending":
		return verifier.Pending, nil
	case "other number":
		return verifier.Unknown, &verifier.Error{Class: verifier.Mismatch, Call: "result"}
	default:
		return verifier.Unknown, &verifier.Error{Call: "result", Again: true, Err: errNonsense}
	}
}

var errNonsense = errors.New("the answer is not what the provider documents")

type exampleAnswer struct{ ID, URL, Outcome string }

// call asks the provider. Its errors hold nothing that the provider has sent.
func (e *Basic) call(ctx context.Context, name, path string, params url.Values) (a exampleAnswer, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.Server+path, nil)
	if err != nil {
		return a, &verifier.Error{Class: verifier.Misconfigured, Call: name, Hint: "check server"}
	}
	r.Header.Set("Authorization", "Bearer "+e.Key)
	r.URL.RawQuery = params.Encode()
	again := name == "result" // it may be asked for as often as one likes
	resp, err := e.http.Do(r)
	if err != nil {
		return a, &verifier.Error{Call: name, Again: again, Err: verifier.TransportError(err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return a, &verifier.Error{Call: name, Again: again, Err: fmt.Errorf("HTTP status %d", resp.StatusCode)}
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 64<<10)).Decode(&a); err != nil {
		return a, &verifier.Error{Call: name, Again: again, Err: errNonsense}
	}
	return a, nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Basic)(nil)
	_ caddyfile.Unmarshaler = (*Basic)(nil)
	_ verifier.Verifier     = (*Basic)(nil)
)

// A verifier is a Caddy module. This one is complete, and goes through one
// verification as the gate would.
func Example() {
	provider := httptest.NewServer(newProvider())
	defer provider.Close()

	e := new(Basic)
	block := fmt.Sprintf("example {\n server %s\n key \"a pass phrase\"\n}", provider.URL)
	if err := e.UnmarshalCaddyfile(caddyfile.NewTestDispenser(block)); err != nil {
		fmt.Println(err)
		return
	}
	if err := e.Provision(caddy.Context{}); err != nil {
		fmt.Println(err)
		return
	}
	started, err := e.Start(context.Background(), verifier.StartRequest{
		Number: "+33639980001", CallbackURL: "https://www.example.com/.number-verify/callback", State: "256 random bits",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	// now the visitor's browser opens started.URL, and comes back
	state, err := e.Callback(started.State, url.Values{})
	if err != nil {
		fmt.Println(err)
		return
	}
	outcome, err := e.Result(context.Background(), state)
	fmt.Println(e.Recipient(), "says:", outcome, err)
	// Output: Example Verify says: verified <nil>
}
