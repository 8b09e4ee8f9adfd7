package simulator

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The token call takes licence and secret, and returns a token for one attempt.

func (s *Simulator) checkToken(req *request) *answer {
	if req.missing || req.surplus {
		return &answer{http.StatusInternalServerError, "internal server error"}
	}
	if req.params.Get("grant_type") != grantType {
		s.violation(req.call, "wrong grant_type")
		return &answer{http.StatusBadRequest, "invalid request"}
	}
	if req.params.Get("licence") != s.opts.Licence || req.params.Get("client_secret") != s.opts.ClientSecret {
		return &answer{http.StatusBadRequest, "invalid client"}
	}
	return nil
}

func (s *Simulator) answerToken(*request) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opts.Now()
	s.sweep(now)
	a := &attempt{
		Attempt: Attempt{Token: "TK" + rand.Text()},
		expires: now.Add(TokenLifetime),
	}
	s.queue = append(s.queue, a)
	s.tokens[a.Token] = a
	return &answer{http.StatusOK, tokenAnswer{
		AccessToken:  a.Token,
		TokenType:    "Bearer",
		ExpiresIn:    strconv.Itoa(int(TokenLifetime / time.Second)),
		RefreshToken: "*TK" + rand.Text(),
	}}
}

// sweep forgets attempts whose token expired longer than memory ago; s.mu is held.
func (s *Simulator) sweep(now time.Time) {
	for len(s.queue) > 0 && now.Sub(s.queue[0].expires) > memory {
		a := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		delete(s.tokens, a.Token)
		delete(s.links, a.link)
	}
}

// The start call takes a number and a token, and returns the address of the
// operator's page.

func (s *Simulator) checkStart(req *request) *answer {
	fresh := s.spend(req)
	p := req.params
	switch {
	case req.surplus:
		return failure("01")
	case p.Get("licence") != s.opts.Licence:
		return failure("02")
	case p.Get("scope") != scope:
		s.violation(req.call, "wrong scope")
		return failure("04")
	case p.Get("name") != s.opts.Name:
		return failure("01")
	case !absolute(p.Get("redirect_uri")):
		s.violation(req.call, "redirect_uri is not an absolute http or https URL")
		return failure("01")
	case !fresh:
		return failure("30")
	case !p.Has("number"):
		return failure("07")
	case p.Get("number") == "":
		s.violation(req.call, "empty number")
		return failure("11")
	case !dialable.MatchString(p.Get("number")):
		s.violation(req.call, "number in an unknown format")
		return failure("10")
	}
	return nil
}

// spend finds the attempt that the token belongs to, and tells whether this
// call is the first to start it.
func (s *Simulator) spend(req *request) bool {
	a := s.find(req)
	if a == nil {
		return false
	}
	s.mu.Lock()
	a.Starts++
	first := a.Starts == 1
	s.mu.Unlock()
	if !first {
		s.violation(req.call, "a token that has started an attempt before")
	}
	return first
}

// find returns the attempt that the token belongs to, or nil.
func (s *Simulator) find(req *request) *attempt {
	s.mu.Lock()
	req.attempt = s.tokens[req.params.Get("token")]
	s.mu.Unlock()
	if req.attempt == nil {
		s.violation(req.call, "unknown token")
	}
	return req.attempt
}

func absolute(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

func (s *Simulator) answerStart(req *request) *answer {
	number, redirectURI := subscriber(req.params.Get("number")), req.params.Get("redirect_uri")
	link, errorID := s.begin(req.attempt, number, redirectURI)
	if errorID != "" {
		return failure(errorID)
	}
	page := req.base + operatorPath + link
	if s.opts.OperatorURL != nil {
		page = s.opts.OperatorURL(page, redirectURI, req.params.Get("token"))
	}
	return &answer{http.StatusOK, startAnswer{"success", operatorOf(number), page}}
}

// begin makes an operator's page for the attempt. It returns the id of the page, or
// the id of DQE's error.
func (s *Simulator) begin(a *attempt, number, redirectURI string) (link, errorID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opts.Now().Before(a.expires) {
		return "", "30"
	}
	a.outcome = outcomeOf(number)
	if a.outcome.start != "" {
		return "", a.outcome.start
	}
	// Random: the address must reveal nothing about the token or the callback.
	a.link, a.Number, a.redirectURI = rand.Text(), number, redirectURI
	s.links[a.link] = a
	return a.link, ""
}

// The result call takes a token, and returns the outcome of its attempt.

func (s *Simulator) checkResult(req *request) *answer {
	a := s.find(req)
	p := req.params
	switch {
	case req.surplus:
		return failure("01")
	case p.Get("Licence") != s.opts.Licence:
		return failure("02")
	case p.Get("scope") != scope:
		s.violation(req.call, "wrong scope")
		return failure("04")
	case a == nil:
		return failure("30")
	case !s.started(a):
		s.violation(req.call, "a token that has started no attempt")
		return failure("30")
	}
	return nil
}

func (s *Simulator) started(a *attempt) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.Starts > 0
}

func (s *Simulator) answerResult(req *request) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, now := req.attempt, s.opts.Now()
	switch {
	case a.link == "" || !now.Before(a.expires):
		return failure("30")
	case a.Visits == 0,
		a.outcome.stuck,
		a.outcome.slow && now.Sub(a.recognised) < s.opts.PendingFor:
		return &answer{http.StatusOK, resultAnswer{Status: "pending", Scope: scope}}
	case a.outcome.result != "":
		return failure(a.outcome.result)
	}
	verified := !a.outcome.differs
	return &answer{http.StatusOK, resultAnswer{"success", scope, &verified}}
}
