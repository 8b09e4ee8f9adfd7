// Package dqe verifies phone numbers with DQE ID Mobile, scope numVerify.
// client.go speaks the protocol; answer.go and errors.go read answers; check.go looks
// whether all is well; module.go is the Caddy module.
package dqe

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/internal/remote"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// The calls, as errors and logs name them.
const (
	callToken    = "token"
	callStart    = "start"
	callCallback = "callback"
	callResult   = "result"
)

// The paths of the calls: the upper case and the final slash are part of them.
const (
	pathToken  = "/ACCESS_TOKEN/"
	pathStart  = "/IDMOBILE/"
	pathResult = "/GET/"
)

const scope = "numVerify"

// maxBody is how much of an answer is read, in bytes.
const maxBody = 64 << 10

// The values of callback_token: what to do if the token in the callback is not the
// issued one.
const (
	callbackLog     = "log"
	callbackRequire = "require"
	callbackIgnore  = "ignore"
)

// ever is how long a token from elsewhere is remembered: nobody knows when it
// expires.
const ever = 10 * 365 * 24 * time.Hour

// settings configure a client; Module checks and fills them.
type settings struct {
	server       *url.URL
	licence      string
	name         string
	clientSecret string
	// token returns a token from elsewhere. If it is nil, DQE is asked for tokens.
	token         func() (string, error)
	get           bool
	numberFormat  phone.Format
	timeout       time.Duration
	operatorHosts []string
	callbackToken string
}

// client speaks the protocol of DQE ID Mobile.
type client struct {
	settings
	http *http.Client
	log  *zap.Logger
}

func newClient(s settings, log *zap.Logger) *client {
	return &client{settings: s, log: log, http: &http.Client{
		Transport:     remote.NewTransport(s.timeout, maxBody, nil),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// state is the content of a verifier.State.
type state struct {
	Token string `json:"token"`
}

// Account implements verifier.Verifier: a hash of server and licence. All spellings
// of one address give one account. Otherwise a token could serve one attempt under
// each spelling, and each spelling would have a budget of its own.
func (c *client) Account() string {
	path := strings.TrimSuffix(c.server.Path, "/") // as in a call
	sum := sha256.Sum256([]byte(address.Server(c.server) + "\x00" + path + "\x00" + c.licence))
	return "dqe/" + hex.EncodeToString(sum[:8])
}

// Secret implements verifier.Verifier. There is none if tokens come from elsewhere;
// the licence cannot take its place, since many people know it.
func (c *client) Secret() string { return c.clientSecret }

// Understands implements verifier.Verifier: it is false for a number that
// number_format cannot tell from another.
func (c *client) Understands(e164 string) bool {
	_, ok := phone.Wire(e164, c.numberFormat)
	return ok
}

// Recipient implements verifier.Verifier.
func (c *client) Recipient() string { return "DQE" }

// Start implements verifier.Verifier: it asks for the operator's URL.
func (c *client) Start(ctx context.Context, req verifier.StartRequest) (*verifier.Started, error) {
	number, ok := phone.Wire(req.Number, c.numberFormat)
	if !ok {
		return nil, &verifier.Error{Class: verifier.NumberUnsupported, Call: callStart, Err: errors.New("number_format cannot tell this number from another")}
	}
	if req.Token == "" {
		return nil, &verifier.Error{Call: callStart, Err: errNoToken}
	}
	a, err := c.call(ctx, callStart, pathStart, url.Values{
		"licence":      {c.licence},
		"number":       {number},
		"token":        {req.Token},
		"name":         {c.name},
		"scope":        {scope},
		"redirect_uri": {req.CallbackURL + "?" + url.Values{"state": {req.State}}.Encode()},
	})
	if err != nil {
		return nil, err
	}
	if a.Status != "success" {
		return nil, &verifier.Error{Call: callStart, Err: errNonsense}
	}
	encoded, err := json.Marshal(state{Token: req.Token})
	if err != nil {
		return nil, &verifier.Error{Call: callStart, Err: err}
	}
	return &verifier.Started{URL: a.URL, Hosts: c.operatorHosts, Method: verifier.Silent, Operator: a.Operator, State: encoded}, nil
}

var errNoToken = errors.New("there is no token")

// Token implements verifier.TokenSource: a token is the only key to a result, so
// two attempts must never share one. It asks DQE, or takes the one from elsewhere.
func (c *client) Token(ctx context.Context) (*verifier.Token, error) {
	now := time.Now()
	if c.token != nil {
		value, err := c.token()
		if err != nil || value == "" {
			return nil, &verifier.Error{Class: verifier.Misconfigured, Call: callToken,
				Err: errNoToken, Hint: "the option token yields nothing: check its placeholder"}
		}
		return &verifier.Token{Value: value, Expires: now.Add(defaultLifetime), Remember: now.Add(ever)}, nil
	}
	a, err := c.call(ctx, callToken, pathToken, c.forToken())
	if err != nil {
		return nil, err
	}
	if !a.isToken() {
		return nil, &verifier.Error{Call: callToken, Err: errNonsense}
	}
	expires := now.Add(lifetime(a.ExpiresIn))
	return &verifier.Token{Value: a.AccessToken, Expires: expires, Remember: expires.Add(time.Hour)}, nil
}

// forToken returns the parameters of the call for a token.
func (c *client) forToken() url.Values {
	return url.Values{
		"licence":       {c.licence},
		"client_secret": {c.clientSecret},
		"grant_type":    {"client_idmobile"},
	}
}

// ParseCallback implements verifier.CallbackParser. DQE may add its parameters
// with a second question mark, and may encode them wrongly: neither is a reason to
// lose a verification.
func (c *client) ParseCallback(rawQuery string) url.Values {
	query := make(url.Values)
	for pair := range strings.FieldsFuncSeq(rawQuery, func(r rune) bool { return r == '&' || r == '?' }) {
		name, value, _ := strings.Cut(pair, "=")
		name = decoded(name)
		query[name] = append(query[name], decoded(value))
	}
	return query
}

// decoded returns s without its percent-encoding, or unchanged if that is broken.
func decoded(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// Callback implements verifier.Verifier. DQE adds token and status to the query.
// Both come through the browser and prove nothing. callback_token says what happens
// if the token is not the issued one.
func (c *client) Callback(s verifier.State, query url.Values) (verifier.State, error) {
	if c.callbackToken == callbackIgnore {
		return s, nil
	}
	var issued state
	if err := json.Unmarshal(s, &issued); err != nil {
		return nil, &verifier.Error{Call: callCallback, Err: errors.New("the attempt's state cannot be read")}
	}
	tokens := query["token"]
	if len(tokens) == 1 && subtle.ConstantTimeCompare([]byte(tokens[0]), []byte(issued.Token)) == 1 {
		return s, nil
	}
	if c.callbackToken == callbackRequire {
		return nil, verifier.ErrForeignCallback
	}
	if len(tokens) > 0 {
		c.log.Warn("the callback's token is not the issued one; tell DQE, or set callback_token require once it always is")
	}
	return s, nil
}

// Result implements verifier.Verifier.
func (c *client) Result(ctx context.Context, s verifier.State) (verifier.Outcome, error) {
	var issued state
	if err := json.Unmarshal(s, &issued); err != nil || issued.Token == "" {
		return verifier.Unknown, &verifier.Error{Call: callResult, Err: errors.New("the attempt's state cannot be read")}
	}
	a, err := c.call(ctx, callResult, pathResult, url.Values{
		"Licence": {c.licence},
		"token":   {issued.Token},
		"scope":   {scope},
	})
	if err != nil {
		return verifier.Unknown, err
	}
	out, err := outcome(a)
	if errors.Is(err, errNonsense) {
		err = &verifier.Error{Call: callResult, Again: true, Err: err}
	}
	return out, err
}

// call makes one of DQE's calls. It sends exactly the given parameters: DQE answers
// 500 if there is any other.
func (c *client) call(ctx context.Context, name, path string, params url.Values) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := c.roundTrip(ctx, path, params)
	if err != nil {
		// never the error's own text, which quotes the address and the answer
		return nil, &verifier.Error{Call: name, Again: name == callResult, Err: verifier.TransportError(cmp.Or(ctx.Err(), err))}
	}
	return c.read(name, params, r)
}

// read reads the answer to a call.
func (c *client) read(name string, params url.Values, r *response) (*answer, error) {
	a, err := decode(name, r.body)
	var refused *verifier.Error
	switch {
	case errors.As(err, &refused):
		refused.Operator = c.discreet(refused.Operator, params)
		return nil, refused
	case name == callToken && r.status == http.StatusBadRequest:
		return nil, &verifier.Error{Class: verifier.Misconfigured, Call: name, Err: errors.New("HTTP status 400"),
			Hint: "DQE refuses the client: check licence and client_secret"}
	case name == callToken && r.status == http.StatusInternalServerError:
		return nil, &verifier.Error{Call: name, Err: errors.New("HTTP status 500"),
			Hint: "DQE is down, or does not understand the request: check server and method"}
	case err != nil || r.status < 200 || r.status > 299:
		return nil, &verifier.Error{Call: name, Again: name == callResult, Err: fmt.Errorf("HTTP status %d: %w", r.status, errNonsense)}
	}
	a.Operator = c.discreet(a.Operator, params)
	return a, nil
}

// discreet returns the operator's name, or "" if it reveals a secret of the call:
// names are logged, and sent to the site.
func (c *client) discreet(operator string, params url.Values) string {
	secrets := []string{c.clientSecret, params.Get("token")}
	if callback, err := url.Parse(params.Get("redirect_uri")); err == nil {
		secrets = append(secrets, callback.Query().Get("state"))
	}
	for _, secret := range secrets {
		if verifier.Reveals(operator, secret) {
			return ""
		}
	}
	return operator
}

// response is an answer as it came.
type response struct {
	status int
	date   string // of its header
	body   []byte
}

func (c *client) roundTrip(ctx context.Context, path string, params url.Values) (*response, error) {
	method, target, body := http.MethodPost, *c.server, params.Encode()
	target.Path = strings.TrimSuffix(target.Path, "/") + path
	if c.get {
		method, target.RawQuery, body = http.MethodGet, body, ""
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if !c.get {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxBody {
		return nil, remote.TooLong
	}
	return &response{resp.StatusCode, resp.Header.Get("Date"), bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))}, nil
}
