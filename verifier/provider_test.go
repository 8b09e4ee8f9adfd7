package verifier_test

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/numberverify/caddy-number-verify/verifier"
	"github.com/numberverify/caddy-number-verify/verifier/verifiertest"
)

// providerSide is what the verifiers of the examples talk to. Numbers choose the
// outcome.
type providerSide struct{ attempts sync.Map }

type providedAttempt struct{ number, back, challenge string }

const (
	verifiedNumber = "+33639980001"
	mismatchNumber = "+33639980002"
	deniedNumber   = "+33639980003"
	pendingNumber  = "+33639980004"
)

func newProvider() http.Handler {
	p := new(providerSide)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /verifications", func(w http.ResponseWriter, r *http.Request) {
		a := exampleAnswer{ID: rand.Text(), URL: "http://" + r.Host + "/operator/" + rand.Text()}
		attempt := &providedAttempt{number: r.FormValue("number"), back: r.FormValue("back")}
		p.attempts.Store(a.ID, attempt)
		p.attempts.Store(a.URL, attempt)
		_ = json.NewEncoder(w).Encode(a)
	})
	mux.HandleFunc("GET /operator/{id}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, p.find("http://"+r.Host+r.URL.Path).back, http.StatusFound)
	})
	mux.HandleFunc("POST /result", func(w http.ResponseWriter, r *http.Request) {
		p.tell(w, p.find(r.FormValue("id")).number)
	})
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /redeem", func(w http.ResponseWriter, r *http.Request) {
		a := p.find(r.FormValue("code"))
		challenge := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		if a.challenge != base64.RawURLEncoding.EncodeToString(challenge[:]) || a.number != r.FormValue("number") {
			p.tell(w, mismatchNumber)
			return
		}
		p.tell(w, a.number)
	})
	return mux
}

func (p *providerSide) find(key string) *providedAttempt {
	a, ok := p.attempts.Load(key)
	if !ok {
		return new(providedAttempt)
	}
	return a.(*providedAttempt)
}

func (*providerSide) tell(w http.ResponseWriter, number string) {
	outcome := map[string]string{verifiedNumber: "verified", mismatchNumber: "other number", pendingNumber: "pending"}[number]
	_ = json.NewEncoder(w).Encode(exampleAnswer{Outcome: cmp.Or(outcome, "no such attempt")})
}

func (p *providerSide) authorize(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	back := url.Values{"state": {query.Get("state")}, "iss": {"http://" + r.Host}}
	number := strings.TrimPrefix(query.Get("login_hint"), "tel:")
	if number == deniedNumber {
		back.Set("error", "access_denied")
	} else {
		back.Set("code", rand.Text())
		p.attempts.Store(back.Get("code"), &providedAttempt{number: number, challenge: query.Get("code_challenge")})
	}
	http.Redirect(w, r, query.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// The verifiers that are shown to others keep to the contract themselves.
func TestExamplesKeepToTheContract(t *testing.T) {
	for name, c := range map[string]struct {
		make    func(Basic) verifier.Verifier
		numbers verifiertest.Numbers
	}{
		"whole": {
			func(e Basic) verifier.Verifier { return &e },
			verifiertest.Numbers{Verified: verifiedNumber, Mismatch: mismatchNumber, Pending: pendingNumber},
		},
		"OAuth": {
			func(e Basic) verifier.Verifier { return &OAuth{e} },
			verifiertest.Numbers{Verified: verifiedNumber, Mismatch: mismatchNumber, Denied: deniedNumber},
		},
	} {
		t.Run(name, func(t *testing.T) {
			verifiertest.Run(t, func(t *testing.T) verifiertest.Subject {
				server := verifiertest.NewServer(t, newProvider())
				return verifiertest.Subject{Far: server, Numbers: c.numbers, New: func() verifier.Verifier {
					e := Basic{Server: server.URL, Key: "a pass phrase"}
					if err := e.Provision(caddy.Context{}); err != nil {
						t.Error(err)
					}
					return c.make(e)
				}}
			})
		})
	}
}
