package simulator

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
)

// Fixed values of the protocol, and the longest body that is read, in bytes.
const (
	grantType = "client_idmobile"
	scope     = "numVerify"
	maxBody   = 64 << 10
)

// endpoint is one of DQE's calls. The letter case of its parameters counts. check
// returns a refusal or nil; answer is called if there is no refusal.
type endpoint struct {
	call       string
	parameters []string
	check      func(*Simulator, *request) *answer
	answer     func(*Simulator, *request) *answer
}

var endpoints = map[string]endpoint{
	"/ACCESS_TOKEN/": {
		call:       CallToken,
		parameters: []string{"licence", "client_secret", "grant_type"},
		check:      (*Simulator).checkToken,
		answer:     (*Simulator).answerToken,
	},
	"/IDMOBILE/": {
		call:       CallStart,
		parameters: []string{"licence", "number", "token", "name", "scope", "redirect_uri"},
		check:      (*Simulator).checkStart,
		answer:     (*Simulator).answerStart,
	},
	"/GET/": {
		call:       CallResult,
		parameters: []string{"Licence", "token", "scope"},
		check:      (*Simulator).checkResult,
		answer:     (*Simulator).answerResult,
	},
}

// request is a call as it arrived.
type request struct {
	call    string
	base    string // the operator's base URL
	params  url.Values
	missing bool     // a listed parameter is missing
	surplus bool     // parameters are unlisted, repeated or unreadable
	attempt *attempt // the attempt of its token, set by check
}

// answer is an HTTP status and its body: text where it is a string, else JSON.
type answer struct {
	status int
	body   any
}

type tokenAnswer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    string `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token"`
}

type startAnswer struct {
	Status   string `json:"status"`
	Operator string `json:"operator"`
	URL      string `json:"url"`
}

type resultAnswer struct {
	Status    string `json:"status"`
	Scope     string `json:"scope"`
	NumVerify *bool  `json:"numVerify,omitempty"`
}

type errorAnswer struct {
	Status    string `json:"status"`
	ErrorID   string `json:"error_id"`
	ErrorType string `json:"error_type"`
}

// errorTypes are the texts of DQE's error ids.
var errorTypes = map[string]string{
	"01": "invalid request",
	"02": "invalid licence key",
	"03": "invalid client secret",
	"04": "invalid scope",
	"05": "user_infos missing",
	"06": "user_infos is not JSON",
	"07": "phone key missing",
	"09": "number not eligible",
	"10": "number does not exist",
	"11": "number empty",
	"12": "operator check failed",
	"13": "operator not found",
	"14": "operator not authorised for this licence",
	"15": "operator not supported yet",
	"16": "operator unreachable",
	"17": "scope not supported by the operator",
	"18": "no data from the operator",
	"20": "not the same phone number",
	"21": "access denied",
	"22": "unauthorised client",
	"30": "invalid or expired token",
	"31": "unsupported grant type",
	"98": "credits exhausted",
	"99": "internal server error",
}

func failure(id string) *answer {
	return &answer{http.StatusOK, errorAnswer{"error", id, errorTypes[id]}}
}

// serveCall records what the client did, then answers.
func (s *Simulator) serveCall(w http.ResponseWriter, r *http.Request, e endpoint) {
	s.count(e.call, r.Method)
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		s.violation(e.call, "neither GET nor POST")
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	req := s.receive(r, e)
	refusal := e.check(s, req)
	defer s.track(req)()
	if s.opts.Intercept != nil && s.opts.Intercept(e.call, w, r) {
		return
	}
	if refusal != nil {
		refusal.write(w)
		return
	}
	if id := s.setError(e.call); id != "" {
		failure(id).write(w)
		return
	}
	e.answer(s, req).write(w)
}

func (a *answer) write(w http.ResponseWriter) {
	if text, ok := a.body.(string); ok {
		http.Error(w, text, a.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body) // fails only where the client has gone
}

func (s *Simulator) count(call, method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch call {
	case CallToken:
		s.calls.Token++
	case CallStart:
		s.calls.Start++
	case CallResult:
		s.calls.Result++
	}
	if method == http.MethodGet {
		s.calls.Get++
	}
}

func (s *Simulator) setError(call string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.errors[call]
}

// receive reads the parameters and compares them with the listed ones.
func (s *Simulator) receive(r *http.Request, e endpoint) *request {
	req := &request{call: e.call, base: s.opts.OperatorBaseURL}
	if req.base == "" {
		req.base = addressOf(r)
	}
	if err := r.ParseForm(); err != nil {
		s.violation(e.call, "unreadable parameters")
		req.surplus = true
	}
	req.params = r.Form
	if r.Method == http.MethodPost {
		req.params = r.PostForm
		if r.URL.RawQuery != "" {
			s.violation(e.call, "a POST with parameters in its query")
			req.surplus = true
		}
	}
	for _, name := range e.parameters {
		if !req.params.Has(name) {
			s.violation(e.call, "parameter "+name+" missing")
			req.missing = true
		}
	}
	for name, values := range req.params {
		if !slices.Contains(e.parameters, name) {
			// The name is not repeated: it might be anything, a secret too.
			s.violation(e.call, "a parameter that is not listed")
			req.surplus = true
		} else if len(values) > 1 {
			s.violation(e.call, "parameter "+name+" more than once")
			req.surplus = true
		}
	}
	return req
}

func addressOf(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// track counts a result call as under way until the returned function is called.
func (s *Simulator) track(req *request) func() {
	a := req.attempt
	if a == nil || req.call != CallResult {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Results++
	a.asking++
	a.ConcurrentResults = max(a.ConcurrentResults, a.asking)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		a.asking--
	}
}
