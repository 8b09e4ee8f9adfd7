package verifiertest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// numbers choose what the lab says of them.
var numbers = Numbers{
	Verified: "+33639980001", Mismatch: "+33639980002", Denied: "+33639980003", Pending: "+33639980009", Unsupported: "+33639980005",
	Foreign: []string{"+590639980001", "+33639980100"},
}

// lab is a provider that speaks two small protocols: a silent one with tokens, and
// one in the manner of OAuth.
type lab struct {
	mu       sync.Mutex
	attempts map[string]*labAttempt // by token, by door and by code
}

type labAttempt struct{ number, back, token, challenge string }

func newLab() http.Handler {
	l := &lab{attempts: make(map[string]*labAttempt)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, _ *http.Request) { answer(w, "token", rand.Text()) })
	mux.HandleFunc("POST /start", l.start)
	mux.HandleFunc("GET /door/{id}", l.door)
	mux.HandleFunc("POST /result", l.result)
	mux.HandleFunc("GET /authorize", l.authorize)
	mux.HandleFunc("POST /redeem", l.redeem)
	return mux
}

func answer(w http.ResponseWriter, name, value string) {
	_ = json.NewEncoder(w).Encode(map[string]string{name: value})
}

func (l *lab) keep(id string, a *labAttempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts[id] = a
}

func (l *lab) find(id string) (labAttempt, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.attempts[id]
	if !ok {
		return labAttempt{}, false
	}
	return *a, true
}

func (l *lab) start(w http.ResponseWriter, r *http.Request) {
	a := &labAttempt{number: r.FormValue("number"), back: r.FormValue("back"), token: r.FormValue("token")}
	if a.number == numbers.Unsupported {
		answer(w, "refused", "unsupported")
		return
	}
	door := rand.Text()
	l.keep(a.token, a)
	l.keep(door, a)
	answer(w, "url", "http://"+r.Host+"/door/"+door)
}

func (l *lab) door(w http.ResponseWriter, r *http.Request) {
	a, _ := l.find(r.PathValue("id"))
	http.Redirect(w, r, a.back+"&token="+url.QueryEscape(a.token), http.StatusFound)
}

func outcomeOf(number string) string {
	return map[string]string{
		numbers.Verified: "verified", numbers.Mismatch: "mismatch", numbers.Denied: "denied", numbers.Pending: "pending",
	}[number]
}

func (l *lab) result(w http.ResponseWriter, r *http.Request) {
	a, _ := l.find(r.FormValue("token"))
	answer(w, "outcome", outcomeOf(a.number))
}

func (l *lab) authorize(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	back := url.Values{"state": {query.Get("state")}}
	if query.Get("login_hint") == numbers.Denied {
		back.Set("error", "access_denied")
	} else {
		back.Set("code", rand.Text())
		l.keep(back.Get("code"), &labAttempt{number: query.Get("login_hint"), challenge: query.Get("code_challenge")})
	}
	http.Redirect(w, r, query.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (l *lab) redeem(w http.ResponseWriter, r *http.Request) {
	a, ok := l.find(r.FormValue("code"))
	switch {
	case !ok || a.challenge != challenge(r.FormValue("code_verifier")):
		answer(w, "outcome", "denied")
	case r.FormValue("number") != a.number:
		answer(w, "outcome", "mismatch")
	default:
		answer(w, "outcome", outcomeOf(a.number))
	}
}

func challenge(codeVerifier string) string {
	sum := sha256.Sum256([]byte(codeVerifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// post asks the lab. Its error may quote what the lab has sent.
func post(ctx context.Context, address string, params url.Values) (answer map[string]string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return nil, err
	}
	r.URL.RawQuery = params.Encode()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &verifier.Error{}
	}
	return answer, json.NewDecoder(resp.Body).Decode(&answer)
}
