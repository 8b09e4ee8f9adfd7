// Package simulator plays DQE ID Mobile and a mobile operator, so that number
// verification can be tried and tested without either. It speaks the documented
// protocol to the letter and refuses whatever departs from it: read it as the
// executable description of the protocol. It is for tests and demonstrations,
// and knows fictional numbers only.
//
// Three calls belong to DQE (see protocol.go and calls.go), one page to the
// operator (see operator.go), and the number chooses what happens (see
// outcome.go). Where the documentation is silent, the simulator decides:
//
//   - DQE's errors are JSON with HTTP status 200, except the 400 and 500 of the
//     token call, which are plain text.
//   - At the start and result calls a missing parameter is answered like a wrong
//     one, by its own error id. An unlisted or repeated parameter is answered by 01.
//   - A start call spends its token, whatever the answer.
//   - A final result can be read again and stays the same.
//   - A number of ten digits that begins with 0 is read as it is dialled in
//     France, where the first digits tell metropolitan France from its
//     territories (see subscriber.go).
//   - The token that the operator's redirect carries is the access token.
package simulator

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Defaults of Options.
const (
	DefaultLicence      = "DEMO-LICENCE"
	DefaultClientSecret = "demo pass phrase"
	DefaultName         = "Example SAS"
	DefaultPendingFor   = 4 * time.Second
)

// TokenLifetime is how long a token is valid, as DQE documents it.
const TokenLifetime = 300 * time.Second

// The calls, as Options.Intercept and Simulator.SetError name them.
const (
	CallToken    = "token"
	CallStart    = "start"
	CallResult   = "result"
	CallOperator = "operator"
)

const (
	// memory is how long an attempt is remembered after its token's end.
	memory = time.Hour
	// maxViolations bounds the list of violations; the first ones tell most.
	maxViolations = 100
)

// Options configure a simulator. The zero value suits demonstrations. The functions
// are called from many goroutines at once.
type Options struct {
	// Licence, ClientSecret and Name are those that the client must send. Default:
	// DefaultLicence, DefaultClientSecret and DefaultName.
	Licence, ClientSecret, Name string
	// OperatorBaseURL is where the operator's page is reached, without a path,
	// such as http://localhost:8082; the same handler must serve it. Default:
	// the address that the start call was sent to.
	OperatorBaseURL string
	// PendingFor is how long the result of a slow number stays pending, counted
	// from the first visit of the operator's page. Default: DefaultPendingFor.
	PendingFor time.Duration
	// Interstitial is how long the operator shows a page before it sends the
	// visitor back, in whole seconds, rounded up. Default: it shows none.
	Interstitial time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time

	// SIM returns the number of the SIM that opens the operator's page with r, in
	// any of the accepted formats. If it is not the number of the attempt, the
	// outcome is a mismatch. Without SIM, or if it returns "", the SIM has the
	// number of the attempt.
	SIM func(r *http.Request) string
	// Intercept gets every request before it is answered, with the Form parsed;
	// call is one of the Call constants. It returns true if it has answered in
	// place of the simulator. It may also wait: the call and its violations are
	// recorded before it, and the answer is made after it.
	Intercept func(call string, w http.ResponseWriter, r *http.Request) bool
	// OperatorURL returns the url that the start call answers in place of
	// operatorURL.
	OperatorURL func(operatorURL, redirectURI, token string) string
	// Redirect returns the address that the operator sends the visitor back to;
	// status is "success" or "error".
	Redirect func(redirectURI, token, status string) string
}

// Calls counts the requests that arrived at DQE's endpoints, whatever the answer.
type Calls struct {
	Token, Start, Result int
	// Get counts those of them that were GET requests: allowed, but they put
	// secrets and numbers into URLs.
	Get int
}

// Attempt is the history of one token.
type Attempt struct {
	// Token is the access token.
	Token string
	// Number is the number to verify, in E.164, as DQE understood it; "" until a
	// start succeeds.
	Number string
	// Starts counts the start calls with this token. More than one is a
	// violation.
	Starts int
	// Visits counts the visits of the operator's page.
	Visits int
	// Results counts the result calls.
	Results int
	// ConcurrentResults is how many of them were under way at once, at most.
	ConcurrentResults int
}

// attempt adds what only the simulator needs to know.
type attempt struct {
	Attempt

	expires     time.Time
	link        string // the id of the operator's page, once a start succeeded
	redirectURI string
	outcome     outcome
	recognised  time.Time // time of the first visit
	asking      int       // result calls under way
}

// Simulator is DQE and the operator. It is safe for concurrent use.
type Simulator struct {
	opts Options

	mu         sync.Mutex
	calls      Calls
	violations []string
	errors     map[string]string // error ids set by SetError, by call
	queue      []*attempt        // in the order of issue, hence of expiry
	tokens     map[string]*attempt
	links      map[string]*attempt
}

// New returns a simulator.
func New(opts Options) *Simulator {
	opts.Licence = cmp.Or(opts.Licence, DefaultLicence)
	opts.ClientSecret = cmp.Or(opts.ClientSecret, DefaultClientSecret)
	opts.Name = cmp.Or(opts.Name, DefaultName)
	opts.OperatorBaseURL = strings.TrimSuffix(opts.OperatorBaseURL, "/")
	opts.PendingFor = cmp.Or(opts.PendingFor, DefaultPendingFor)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Simulator{
		opts:   opts,
		errors: make(map[string]string),
		tokens: make(map[string]*attempt),
		links:  make(map[string]*attempt),
	}
}

// ServeHTTP answers DQE's calls and shows the operator's page.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if e, ok := endpoints[r.URL.Path]; ok {
		s.serveCall(w, r, e)
		return
	}
	if id, ok := strings.CutPrefix(r.URL.Path, operatorPath); ok {
		s.serveOperator(w, r, id)
		return
	}
	for path, e := range endpoints {
		if strings.EqualFold(strings.Trim(r.URL.Path, "/"), strings.Trim(path, "/")) {
			s.violation(e.call, "letter case or slashes of the path are wrong")
		}
	}
	http.NotFound(w, r)
}

// SetError makes every well-formed call of the given name (CallToken, CallStart
// or CallResult) answer this error id, such as "12", until it is set to "".
func (s *Simulator) SetError(call, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors[call] = id
}

// SetCredits says whether the customer has credits left. Without any, the token
// call answers error 98.
func (s *Simulator) SetCredits(left bool) {
	if left {
		s.SetError(CallToken, "")
		return
	}
	s.SetError(CallToken, "98")
}

// Calls returns how often DQE was called.
func (s *Simulator) Calls() Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// Attempts returns the history of each token, in the order of issue. A token is
// forgotten an hour after its expiry.
func (s *Simulator) Attempts() []Attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Attempt, len(s.queue))
	for i, a := range s.queue {
		all[i] = a.Attempt
	}
	return all
}

// Violations describes the first 100 times that the client broke the protocol,
// without secrets or numbers. A wrong configuration (licence, secret, name), a
// number that does not exist and an expired token are no violations.
func (s *Simulator) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

func (s *Simulator) violation(call, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.violations) < maxViolations {
		s.violations = append(s.violations, call+": "+text)
	}
}

// Interface guard
var _ http.Handler = (*Simulator)(nil)
