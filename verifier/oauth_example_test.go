package verifier_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// OAuth is the outline of a verifier in the manner of OAuth 2. The browser carries
// the state to the provider, so everybody sees it; what only the browser that comes
// back learns is the code.
type OAuth struct {
	Basic // for its account, secret, recipient and calls
}

// oauthState is what an attempt needs to remember. It is sealed in the cache.
type oauthState struct{ Number, CodeVerifier, Code string }

// Start implements verifier.Verifier: it calls nobody.
func (o *OAuth) Start(_ context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	s := oauthState{Number: req.Number, CodeVerifier: rand.Text() + rand.Text()}
	challenge := sha256.Sum256([]byte(s.CodeVerifier))
	state, err := json.Marshal(s)
	if err != nil {
		return nil, &verifier.Error{Call: "start", Err: err}
	}
	return &verifier.Started{
		URL: o.Server + "/authorize?" + url.Values{
			"response_type": {"code"}, "client_id": {"example"}, "redirect_uri": {req.CallbackURL}, "state": {req.State},
			"login_hint":     {"tel:" + req.Number},
			"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
		}.Encode(),
		ShowsState: true,
		Hidden:     []string{s.CodeVerifier},
		State:      state,
	}, nil
}

// Callback implements verifier.Verifier. A provider's error ends the attempt; a query
// without a code is not the provider's, and burns it.
func (o *OAuth) Callback(state verifier.State, query url.Values) (verifier.State, error) {
	var s oauthState
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, &verifier.Error{Call: "callback", Err: errNonsense}
	}
	switch {
	case query.Get("iss") != o.Server: // RFC 9207
		return nil, verifier.ErrForeignCallback
	case query.Get("error") == "access_denied":
		return nil, &verifier.Error{Class: verifier.Denied, Call: "callback"}
	case query.Get("error") != "":
		return nil, &verifier.Error{Call: "callback"} // never its text
	case query.Get("code") == "":
		return nil, verifier.ErrForeignCallback
	}
	s.Code = query.Get("code")
	return json.Marshal(s)
}

// Result implements verifier.Verifier. A code can be redeemed only once, so a lost
// answer must not be asked for again: no error of "redeem" says Again.
func (o *OAuth) Result(ctx context.Context, state verifier.State) (verifier.Outcome, error) {
	var s oauthState
	if err := json.Unmarshal(state, &s); err != nil {
		return verifier.Unknown, &verifier.Error{Call: "result", Err: errNonsense}
	}
	a, err := o.call(ctx, "redeem", "/redeem", url.Values{"code": {s.Code}, "code_verifier": {s.CodeVerifier}, "number": {s.Number}})
	if err != nil {
		return verifier.Unknown, err
	}
	switch a.Outcome {
	case "verified":
		return verifier.Verified, nil
	case "other number":
		return verifier.Unknown, &verifier.Error{Class: verifier.Mismatch, Call: "redeem"}
	default:
		return verifier.Unknown, &verifier.Error{Call: "redeem", Err: errNonsense}
	}
}

var _ verifier.Verifier = (*OAuth)(nil)

// In OAuth's protocol the state is no secret: Started.ShowsState says so, and the
// code takes its place.
func Example_oAuth() {
	o := &OAuth{Basic{Server: "https://provider.example"}}
	started, err := o.Start(context.Background(), verifier.StartRequest{
		Number: "+33639980001", CallbackURL: "https://www.example.com/.number-verify/callback", State: "256-random-bits",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, query := range []string{"error=access_denied", "", "code=123"} {
		back, _ := url.ParseQuery("iss=https://provider.example&" + query)
		_, err := o.Callback(started.State, back)
		fmt.Printf("%q: %v\n", query, err)
	}
	// Output:
	// "error=access_denied": callback call
	// "": the callback does not belong to this attempt
	// "code=123": <nil>
}
