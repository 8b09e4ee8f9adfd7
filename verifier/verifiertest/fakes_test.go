package verifiertest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	labSecret  = "the pass phrase of the lab"
	labLicence = "LICENCE-OF-THE-LAB"
)

// silent speaks the lab's silent protocol, with one mistake in it.
type silent struct {
	lab, wrong string

	mu    sync.Mutex
	asked int
	last  string            // the token of the last start
	kept  map[string]string // tokens by state
}

func newSilent(lab, mistake string) *silent {
	return &silent{lab: lab, wrong: mistake, kept: make(map[string]string)}
}

func (s *silent) is(mistake string) bool { return s.wrong == mistake }

// Account implements verifier.Verifier.
func (s *silent) Account() string {
	switch s.wrong {
	case "account: empty":
		return ""
	case "account: of this instance":
		return fmt.Sprintf("lab %p", s)
	case "account: reveals the secret":
		return "lab " + labSecret
	case "account: reveals the licence":
		return "lab " + labLicence
	default:
		return "lab"
	}
}

// Secret implements verifier.Verifier.
func (s *silent) Secret() string {
	if s.is("secret: of this instance") {
		return rand.Text()
	}
	return labSecret
}

// HasSecret is asked by the gate.
func (s *silent) HasSecret() bool { return !s.is("secret: HasSecret denies it") }

// Recipient implements verifier.Verifier.
func (s *silent) Recipient() string {
	return map[string]string{
		"recipient: none": "", "recipient: markup across lines": "The\nLab", "recipient: reveals the secret": labSecret,
		"recipient: of this instance": fmt.Sprintf("Lab %p", s),
	}[s.wrong] + map[bool]string{true: "The Lab"}[!strings.HasPrefix(s.wrong, "recipient")]
}

// Understands implements verifier.Verifier.
func (s *silent) Understands(e164 string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	switch s.wrong {
	case "numbers: understands all":
		return true
	case "numbers: understands the first time only":
		return s.asked == 1
	case "numbers: asks the provider":
		_, _ = http.Get(s.lab)
	case "numbers: panics":
		panic(e164)
	}
	return strings.HasPrefix(e164, "+3363998000") && len(e164) == 12
}

// Check implements verifier.Checker.
func (s *silent) Check(ctx context.Context) []verifier.Finding {
	switch s.wrong {
	case "own check: finds nothing":
		return nil
	case "own check: panics":
		panic(ctx)
	case "own check: is never content":
		return []verifier.Finding{{Subject: "lab", Text: "no", Remedy: "none"}}
	case "own check: is always content":
		return []verifier.Finding{{Subject: "lab", Grade: verifier.Right, Text: "yes"}}
	case "own check: goes on for ever":
		ctx = context.WithoutCancel(ctx)
	}
	answer, err := s.post(ctx, "token", nil)
	f := verifier.Finding{Subject: "lab", Text: "gives no token", Remedy: "ask the lab"}
	switch {
	case s.is("own check: quotes the answer") && err != nil:
		f.Text += fmt.Sprint(" ", Marker)
	case s.is("own check: reveals the secret"):
		f.Remedy += labSecret
	case s.is("own check: knows no remedy"):
		f.Remedy = ""
	}
	if err == nil && answer["token"] != "" {
		f.Grade, f.Text = verifier.Right, "gives tokens"
	}
	return []verifier.Finding{f}
}

// Token implements verifier.TokenSource.
func (s *silent) Token(ctx context.Context) (*verifier.Token, error) {
	if s.is("token: neither token nor error") {
		return nil, nil
	}
	answer, err := s.post(ctx, "token", nil)
	if err != nil {
		return nil, err
	}
	token := &verifier.Token{Value: answer["token"], Expires: time.Now().Add(time.Minute), Remember: time.Now().Add(time.Hour)}
	if token.Value == "" {
		return nil, &verifier.Error{Call: "token"}
	}
	switch s.wrong {
	case "token: the same":
		token.Value = "the same token for all"
	case "token: empty":
		token.Value = ""
	case "token: expired":
		token.Expires = time.Now()
	case "token: not remembered":
		token.Remember = time.Time{}
	case "token: remembered too briefly":
		token.Remember = time.Now().Add(time.Second)
	}
	return token, nil
}

// Start implements verifier.Verifier.
func (s *silent) Start(ctx context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	answer, err := s.post(ctx, "start", url.Values{
		"number": {req.Number}, "token": {req.Token}, "back": {req.CallbackURL + "?state=" + req.State},
	})
	if err != nil {
		return nil, err
	}
	if answer["refused"] != "" {
		return nil, s.unsupported()
	}
	if answer["url"] == "" && !s.is("failing provider: nonsense starts") {
		return nil, &verifier.Error{Call: "start"}
	}
	started := &verifier.Started{URL: answer["url"], Operator: "SFR", State: verifier.State(req.Token), Expires: time.Now().Add(time.Minute)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = req.Token
	s.kept[req.Token] = req.Token
	return s.spoil(started, req)
}

func (s *silent) unsupported() error {
	switch s.wrong {
	case "refusals: unsupported as an outage":
		return &verifier.Error{Call: "start"}
	case "refusals: unsupported with the number":
		return &verifier.Error{Class: verifier.NumberUnsupported, Call: "start", Hint: "get rid of 06 39 98 00 05"}
	default:
		return &verifier.Error{Class: verifier.NumberUnsupported, Call: "start"}
	}
}

// spoil makes the mistakes of Start.
func (s *silent) spoil(started *verifier.Started, req verifier.StartRequest) (*verifier.Started, error) {
	switch s.wrong {
	case "start: neither verification nor error":
		return nil, nil
	case "start: both":
		return started, &verifier.Error{Call: "start"}
	case "start: the URL reveals the state":
		started.URL += "?s=" + url.QueryEscape(url.QueryEscape(req.State))
	case "start: the URL reveals the token":
		started.URL += "?t=" + req.Token
	case "start: the URL reveals the licence":
		started.URL += "?l=" + labLicence
	case "start: the URL reveals what is hidden":
		started.Hidden = []string{started.URL[len(started.URL)-20:]}
	case "start: the URL is on another host":
		started.Hosts = []string{"operator.example"}
	case "start: the URL leads back":
		started.URL = req.CallbackURL
	case "start: the URL is that of all":
		started.URL = s.lab + "/door"
	case "start: shows no state but says so":
		started.ShowsState = true
	case "start: expired":
		started.Expires = time.Now()
	case "start: a method that is no word":
		started.Method = "<b>"
	case "start: the operator is the number":
		started.Operator = "0639980001"
	}
	return started, nil
}

// Callback implements verifier.Verifier.
func (s *silent) Callback(state verifier.State, query url.Values) (verifier.State, error) {
	switch s.wrong {
	case "callback: asks the provider":
		_, _ = http.Get(s.lab)
	case "callback: writes to the state":
		_ = append(state, "!"...)
	case "callback: another state each time":
		return append(slices.Clone(state), rand.Text()...), nil
	case "callback: panics":
		panic(query)
	case "callback: refuses":
		return nil, verifier.ErrForeignCallback
	case "callback proves nothing by itself: trusts the callback's token":
		return verifier.State(query.Get("token")), nil
	case "callback proves nothing by itself: a refusal":
		if query.Get("token") != string(state) {
			return nil, &verifier.Error{Class: verifier.Denied, Call: "callback"}
		}
	}
	return state, nil
}

// Result implements verifier.Verifier.
func (s *silent) Result(ctx context.Context, state verifier.State) (verifier.Outcome, error) {
	token := string(state)
	s.mu.Lock()
	switch s.wrong {
	case "concurrency: one attempt at a time":
		token = s.last
	case "nodes: what it keeps in memory":
		token = s.kept[token]
	}
	s.mu.Unlock()
	answer, err := s.post(ctx, "result", url.Values{"token": {token}})
	if err != nil {
		return verifier.Unknown, err
	}
	if s.is("result: always pending") {
		return verifier.Pending, nil
	}
	switch answer["outcome"] {
	case "verified":
		return verifier.Verified, nil
	case "pending":
		if s.is("result: verified while pending") {
			return verifier.Verified, nil
		}
		return verifier.Pending, nil
	case "mismatch":
		return s.mismatch()
	case "denied":
		return verifier.Unknown, &verifier.Error{Class: verifier.Denied, Call: "result"}
	default:
		if s.is("failing provider: nonsense verifies") {
			return verifier.Verified, nil
		}
		return verifier.Unknown, &verifier.Error{Call: "result", Again: true}
	}
}

// mismatch makes the mistakes of a refusal.
func (s *silent) mismatch() (verifier.Outcome, error) {
	refused := &verifier.Error{Class: verifier.Mismatch, Call: "result"}
	switch s.wrong {
	case "refusals: no error":
		return verifier.Unknown, nil
	case "refusals: verified with an error":
		return verifier.Verified, refused
	case "refusals: another class":
		refused.Class = verifier.Denied
	case "refusals: an error of its own":
		return verifier.Unknown, errors.New("mismatch")
	}
	return verifier.Unknown, refused
}

// post asks the lab. Its mistakes are those with a provider that fails.
func (s *silent) post(ctx context.Context, call string, params url.Values) (map[string]string, error) {
	if s.is("ended context: asks all the same") || s.is("failing provider: waits for ever") {
		ctx = context.WithoutCancel(ctx)
	}
	answer, err := post(ctx, s.lab+"/"+call, params)
	echo := answer["echo"]
	switch {
	case echo != "" && s.is("failing provider: quotes what it was sent"):
		return nil, &verifier.Error{Call: call, Hint: echo}
	case echo != "" && s.is("failing provider: names an operator that it was told"):
		return nil, &verifier.Error{Call: call, Operator: Marker}
	case err == nil:
		return answer, nil
	case s.is("failing provider: quotes its transport"):
		return nil, &verifier.Error{Call: call, Err: err}
	case s.is("failing provider: an error of its own"):
		return nil, errors.New("failed")
	case s.is("failing provider: a nil *Error"):
		return nil, (*verifier.Error)(nil)
	case s.is("failing provider: says that the number is wrong"):
		return nil, &verifier.Error{Class: verifier.NumberInvalid, Call: call}
	default:
		return nil, &verifier.Error{Call: call, Err: verifier.TransportError(err)}
	}
}

// oauth speaks the lab's other protocol: the state is in the URL, and a code is
// what only the end of the redirects learns.
type oauth struct{ *silent }

// oauthState is its State.
type oauthState struct{ Number, CodeVerifier, Code string }

// Token hides that of silent: there is none, nor a TokenSource.
func (*oauth) Token() {}

// Start implements verifier.Verifier: it calls nobody.
func (o *oauth) Start(_ context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	codeVerifier := rand.Text()
	state, err := json.Marshal(oauthState{Number: req.Number, CodeVerifier: codeVerifier})
	return &verifier.Started{ShowsState: !o.is("start: shows the state without saying so"), State: state, URL: o.lab + "/authorize?" + url.Values{
		"redirect_uri": {req.CallbackURL}, "state": {req.State}, "login_hint": {req.Number}, "code_challenge": {challenge(codeVerifier)},
	}.Encode()}, err
}

// Callback implements verifier.Verifier.
func (o *oauth) Callback(state verifier.State, query url.Values) (verifier.State, error) {
	var s oauthState
	if err := json.Unmarshal(state, &s); err != nil {
		return nil, &verifier.Error{Call: "callback", Err: errors.New("the state cannot be read")}
	}
	switch {
	case query.Get("error") != "" && o.is("refusals: burns whom the visitor denied"):
		return nil, verifier.ErrForeignCallback
	case query.Get("error") != "" && o.is("refusals: quotes the callback"):
		return nil, &verifier.Error{Class: verifier.Denied, Call: "callback", ID: query.Get("error") + Marker}
	case query.Get("error") != "":
		return nil, &verifier.Error{Class: verifier.Denied, Call: "callback"}
	case query.Get("code") == "" && !o.is("callback proves nothing by itself: needs no code"):
		return nil, verifier.ErrForeignCallback
	}
	s.Code = query.Get("code")
	return json.Marshal(s)
}

// Result implements verifier.Verifier.
func (o *oauth) Result(ctx context.Context, state verifier.State) (verifier.Outcome, error) {
	var s oauthState
	if err := json.Unmarshal(state, &s); err != nil {
		return verifier.Unknown, &verifier.Error{Call: "result", Err: errors.New("the state cannot be read")}
	}
	if s.Code == "" {
		return verifier.Verified, nil // where Callback lets it come to this
	}
	answer, err := o.post(ctx, "redeem", url.Values{"code": {s.Code}, "code_verifier": {s.CodeVerifier}, "number": {s.Number}})
	outcomes := map[string]verifier.Outcome{"verified": verifier.Verified, "pending": verifier.Pending}
	classes := map[string]verifier.Class{"mismatch": verifier.Mismatch, "denied": verifier.Denied}
	switch outcome := answer["outcome"]; {
	case err != nil:
		return verifier.Unknown, err
	case outcomes[outcome] != verifier.Unknown:
		return outcomes[outcome], nil
	default:
		return verifier.Unknown, &verifier.Error{Class: classes[outcome], Call: "result"}
	}
}
