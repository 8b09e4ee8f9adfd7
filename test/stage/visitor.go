package stage

import (
	"crypto/tls"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The visitor's number, as it is typed and as the site gets it.
const (
	TypedNumber    = "06 39 98 00 01"
	VisitorsNumber = "+33639980001"
)

// Visitor is a browser that behaves: it keeps cookies, says that it navigates, and
// follows no redirect by itself.
type Visitor struct {
	// T is told of failures.
	T      testing.TB
	Stage  *Stage
	Client *http.Client
	// Origin is the scheme and host for addresses that are only a path.
	Origin string

	transport *http.Transport
}

// Visitor returns a new visitor of the site by http, without any cookie.
func (s *Stage) Visitor() *Visitor { return s.VisitorAt(s.T, s.URL("")) }

// VisitorAt returns a new visitor of an origin of the site, who tells t of failures.
func (s *Stage) VisitorAt(t testing.TB, origin string) *Visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // Caddy's internal CA
	t.Cleanup(transport.CloseIdleConnections)
	v := &Visitor{T: t, Stage: s, Origin: origin, transport: transport, Client: &http.Client{
		Jar:       jar,
		Transport: s.retried(transport),
		Timeout:   time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}
	if s.isWatched {
		v.Client.Jar = &watchedJar{jar, &s.Secrets}
	}
	return v
}

// watchedJar notes every cookie's value as a secret.
type watchedJar struct {
	http.CookieJar
	secrets *secrets
}

// SetCookies implements http.CookieJar.
func (j *watchedJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		j.secrets.Add(c.Value)
	}
	j.CookieJar.SetCookies(u, cookies)
}

// Do sends a request and reads the answer.
func (v *Visitor) Do(r *http.Request) *Answer {
	v.T.Helper()
	response, err := v.Client.Do(r)
	if err != nil {
		v.T.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		v.T.Fatalf("%s %s: reading the answer: %v", r.Method, r.URL.Path, err)
	}
	if v.Stage.isWatched && r.URL.Host == v.Stage.Addr {
		v.Stage.Secrets.shown(response, body)
	}
	return &Answer{response, string(body)}
}

// Request returns the request of a navigation to a path of the site, or to a whole
// address. Fields are "Name: value", and replace the browser's own.
func (v *Visitor) Request(method, address string, body io.Reader, fields ...string) *http.Request {
	v.T.Helper()
	if strings.HasPrefix(address, "/") {
		address = v.Origin + address
	}
	r, err := http.NewRequestWithContext(v.T.Context(), method, address, body)
	if err != nil {
		v.T.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	setFields(r, fields)
	return r
}

func setFields(r *http.Request, fields []string) {
	for _, p := range pairs(fields) {
		r.Header.Set(p[0], p[1])
	}
}

// Open loads a path of the site, or a whole address, and follows no redirect.
func (v *Visitor) Open(address string, fields ...string) *Answer {
	v.T.Helper()
	return v.Do(v.Request(http.MethodGet, address, nil, fields...))
}

// Post submits a form of the site's own page.
func (v *Visitor) Post(address string, form url.Values, fields ...string) *Answer {
	v.T.Helper()
	own := []string{"Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: same-origin"}
	return v.Do(v.Request(http.MethodPost, address, strings.NewReader(form.Encode()), append(own, fields...)...))
}

// Fetch is a GET by a script of the site's own page.
func (v *Visitor) Fetch(path string) *Answer {
	v.T.Helper()
	return v.Do(v.Request(http.MethodGet, path, nil,
		"Accept: */*", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-Fetch-Site: same-origin"))
}

// Follow follows redirects until there is a page.
func (v *Visitor) Follow(a *Answer) *Answer {
	v.T.Helper()
	for range 20 {
		if a.StatusCode != http.StatusSeeOther && a.StatusCode != http.StatusFound {
			return a
		}
		a = v.next(a, a.Location())
	}
	v.T.Fatal("redirected in a loop")
	return nil
}

// next opens an address that an answer leads to, which may be relative.
func (v *Visitor) next(a *Answer, address string) *Answer {
	v.T.Helper()
	next, err := a.Request.URL.Parse(address)
	if err != nil {
		v.T.Fatalf("sent to %q: %v", address, err)
	}
	return v.Open(next.String())
}

// Arrive follows redirects, and pages that renew themselves, to where they end.
func (v *Visitor) Arrive(a *Answer) *Answer {
	v.T.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < time.Minute; <-tick.C {
		a = v.Follow(a)
		to := a.Refresh()
		if to == "" {
			return a
		}
		a = v.next(a, to)
	}
	v.T.Fatal("the page renewed itself for ever")
	return nil
}

// ArriveFrom opens an address and goes where it leads.
func (v *Visitor) ArriveFrom(address string) *Answer {
	v.T.Helper()
	return v.Arrive(v.Open(address))
}

var formFields = regexp.MustCompile(`(?s)<form[^>]* action="([^"]+/start)".*?name="return" value="([^"]*)"`)

// Submit fills in and sends the form of a page.
func (v *Visitor) Submit(form *Answer, number string) *Answer {
	v.T.Helper()
	m := formFields.FindStringSubmatch(form.Body)
	if m == nil {
		v.T.Fatalf("no form in the page (%d):\n%s", form.StatusCode, form.Body)
	}
	action, err := form.Request.URL.Parse(m[1])
	if err != nil {
		v.T.Fatal(err)
	}
	return v.Post(action.String(), url.Values{"number": {number}, "return": {html.UnescapeString(m[2])}})
}

// Start opens a protected path and submits the form there. The answer leads to the
// operator.
func (v *Visitor) Start(path, number string) *Answer {
	v.T.Helper()
	form := v.Follow(v.Open(path))
	if form.StatusCode != http.StatusOK {
		v.T.Fatalf("form: status %d", form.StatusCode)
	}
	return v.Submit(form, number)
}

// Press posts the same as the form would, without opening the form.
func (v *Visitor) Press(number, back string) *Answer {
	v.T.Helper()
	return v.Post("/.number-verify/start", url.Values{"number": {number}, "return": {back}})
}

// Link starts an attempt that leads to a protected path, and returns the operator's
// link.
func (v *Visitor) Link(path, number string) string {
	v.T.Helper()
	v.Open("/.number-verify/")
	a := v.Press(number, path)
	if a.StatusCode != http.StatusSeeOther {
		v.T.Fatalf("the start answers %d %q", a.StatusCode, a.Code())
	}
	return a.Location()
}

// Callback starts an attempt, opens the operator's link, and returns the callback
// address that the operator redirects to.
func (v *Visitor) Callback(path, number string) string {
	v.T.Helper()
	return v.Open(v.Link(path, number)).Location()
}

// Verify goes the whole way with a number.
func (v *Visitor) Verify(path, number string) *Answer {
	v.T.Helper()
	return v.Arrive(v.Start(path, number))
}

// ArrivesAt checks that a verification made from path ends there, and returns what
// the site received last.
func (v *Visitor) ArrivesAt(path string) *Received {
	v.T.Helper()
	end := v.Verify(path, TypedNumber)
	if end.StatusCode != http.StatusOK || end.Request.URL.RequestURI() != path {
		v.T.Fatalf("from %s to %s: %d %q\n%s", path, end.Request.URL, end.StatusCode, end.Code(), end.Body)
	}
	got := v.Stage.Upstream.Take()
	if len(got) == 0 {
		v.T.Fatal("nothing reached the upstream")
	}
	return got[len(got)-1]
}

// Passes checks that the visitor's request reaches the upstream as verified.
func (v *Visitor) Passes(path string) {
	v.T.Helper()
	v.Stage.Upstream.Take()
	a := v.Open(path)
	if got := v.Stage.Upstream.Take(); a.StatusCode != http.StatusOK || len(got) != 1 || got[0].Header.Get("X-Verified-Number") == "" {
		v.T.Fatalf("%s: status %d, %d requests upstream", path, a.StatusCode, len(got))
	}
}

// Refused checks that the visitor's request does not reach the upstream, and returns
// the answer.
func (v *Visitor) Refused(path string) *Answer {
	v.T.Helper()
	v.Stage.Upstream.Take()
	a := v.Open(path)
	if n := len(v.Stage.Upstream.Take()); n != 0 {
		v.T.Fatalf("%s: the gate is open: status %d, %d requests upstream", path, a.StatusCode, n)
	}
	return a
}

// SignOut presses the button of the sign-out.
func (v *Visitor) SignOut() *Answer {
	v.T.Helper()
	return v.Post("/.number-verify/sign-out", nil)
}

// Status is the answer to a script that asks the gate for the visitor's status.
type Status struct {
	Verified  bool
	Code      string
	Number    string
	Operator  string
	ExpiresAt time.Time `json:"expires_at"`
}

// Status asks the gate for the visitor's status.
func (v *Visitor) Status() Status {
	v.T.Helper()
	a := v.Fetch("/.number-verify/status")
	var s Status
	if err := json.Unmarshal([]byte(a.Body), &s); err != nil {
		v.T.Fatalf("status %d: %v: %s", a.StatusCode, err, a.Body)
	}
	return s
}
