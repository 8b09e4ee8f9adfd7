package simulator

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const redirectURI = "https://www.example.com/.number-verify/callback?state=abc"

// clock is a clock that tests set forward.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// peer is a simulator that listens, and its client.
type peer struct {
	*Simulator
	t      testing.TB
	url    string
	method string
	http   *http.Client
}

func newPeer(t testing.TB, opts Options) *peer {
	t.Helper()
	sim := New(opts)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	client := server.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &peer{Simulator: sim, t: t, url: server.URL, method: http.MethodPost, http: client}
}

// reply is an answer, JSON decoded.
type reply struct {
	status   int
	location string
	body     string
	json     map[string]any
}

// errorID returns the error id, or "".
func (r reply) errorID() string {
	if r.json["status"] != "error" {
		return ""
	}
	id, _ := r.json["error_id"].(string)
	return id
}

func (p *peer) do(method, address string, form url.Values) reply {
	p.t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	} else if form != nil {
		address += "?" + form.Encode()
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, address, body)
	if err != nil {
		p.t.Error(err)
		return reply{}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return p.send(req)
}

func (p *peer) send(req *http.Request) reply {
	p.t.Helper()
	res, err := p.http.Do(req)
	if err != nil {
		p.t.Error(err)
		return reply{}
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Error(err)
	}
	r := reply{status: res.StatusCode, location: res.Header.Get("Location"), body: string(content)}
	if res.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(content, &r.json); err != nil {
			p.t.Errorf("%v in %s", err, content)
		}
	}
	return r
}

func (p *peer) call(path string, form url.Values) reply {
	p.t.Helper()
	return p.do(p.method, p.url+path, form)
}

func tokenForm() url.Values {
	return url.Values{
		"licence":       {DefaultLicence},
		"client_secret": {DefaultClientSecret},
		"grant_type":    {"client_idmobile"},
	}
}

func startForm(token, number string) url.Values {
	return url.Values{
		"licence":      {DefaultLicence},
		"number":       {number},
		"token":        {token},
		"name":         {DefaultName},
		"scope":        {"numVerify"},
		"redirect_uri": {redirectURI},
	}
}

func resultForm(token string) url.Values {
	return url.Values{"Licence": {DefaultLicence}, "token": {token}, "scope": {"numVerify"}}
}

func (p *peer) token() string {
	p.t.Helper()
	token, _ := p.call("/ACCESS_TOKEN/", tokenForm()).json["access_token"].(string)
	if token == "" {
		p.t.Error("no token")
	}
	return token
}

func (p *peer) start(token, number string) reply {
	p.t.Helper()
	return p.call("/IDMOBILE/", startForm(token, number))
}

func (p *peer) result(token string) reply {
	p.t.Helper()
	return p.call("/GET/", resultForm(token))
}

// begin starts an attempt and returns its token and its operator's page.
func (p *peer) begin(number string) (token, page string) {
	p.t.Helper()
	token = p.token()
	page, _ = p.start(token, number).json["url"].(string)
	if page == "" {
		p.t.Error("no url")
	}
	return token, page
}

func (p *peer) visit(page string) reply {
	p.t.Helper()
	return p.do(http.MethodGet, page, nil)
}

func (p *peer) wantViolations(want ...string) {
	p.t.Helper()
	got := p.Violations()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		p.t.Errorf("violations %q, want %q", got, want)
	}
}

// wantOutcome compares a result: "true", "false", "pending" or an error id.
func (p *peer) wantOutcome(token, want string) {
	p.t.Helper()
	r := p.result(token)
	got := r.errorID()
	switch r.json["status"] {
	case "pending":
		got = "pending"
		if _, ok := r.json["numVerify"]; ok {
			p.t.Errorf("a pending result says numVerify: %s", r.body)
		}
	case "success":
		got = "false"
		if r.json["numVerify"] == true {
			got = "true"
		}
	}
	if r.status != http.StatusOK || got != want {
		p.t.Errorf("result %d %s, want %s", r.status, r.body, want)
	}
}

func TestNumbersChooseTheOutcome(t *testing.T) {
	const redirects, stays = true, false
	tests := []struct {
		number, start string
		returns       bool
		status        string
		result, later string
	}{
		{"0639980001", "", redirects, "success", "true", "true"},
		{"0639980002", "", redirects, "error", "20", "20"},
		{"0639980003", "", redirects, "error", "21", "21"},
		{"0639980004", "", redirects, "success", "pending", "true"},
		{"0639980005", "09", stays, "", "", ""},
		{"0639980006", "16", stays, "", "", ""},
		{"0639980007", "15", stays, "", "", ""},
		{"0639980008", "", redirects, "error", "18", "18"},
		{"0639980009", "", redirects, "success", "pending", "pending"},
		{"0639980010", "", stays, "", "true", "true"},
		{"0639980011", "", redirects, "success", "false", "false"},
		{"0639980012", "", redirects, "error", "99", "99"},
		{"0639980013", "", redirects, "error", "30", "30"},
		{"0639980014", "98", stays, "", "", ""},
		{"0639980000", "", redirects, "success", "true", "true"},
		{"0639980015", "", redirects, "success", "true", "true"},
		{"0639981102", "", redirects, "success", "true", "true"},
		{"0639989999", "", redirects, "success", "true", "true"},
		{"0639970001", "10", stays, "", "", ""},
		{"0690000001", "10", stays, "", "", ""},
		{"+441632960001", "10", stays, "", "", ""},
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, test := range tests {
			t.Run(method+" "+test.number, func(t *testing.T) {
				clock := newClock()
				p := newPeer(t, Options{Now: clock.Now})
				p.method = method
				token := p.token()
				started := p.start(token, test.number)
				if got := started.errorID(); started.status != http.StatusOK || got != test.start {
					t.Fatalf("start %d %s, want id %q", started.status, started.body, test.start)
				}
				defer p.wantViolations()
				if test.start != "" {
					return
				}
				clock.advance(DefaultPendingFor)
				p.wantOutcome(token, "pending") // nobody has visited the operator

				visit := p.visit(started.json["url"].(string))
				if test.returns {
					want := redirectURI + "&status=" + test.status + "&token=" + token
					if visit.status != http.StatusFound || visit.location != want {
						t.Errorf("visit %d to %q, want %q", visit.status, visit.location, want)
					}
				} else if visit.status != http.StatusOK || visit.location != "" {
					t.Errorf("visit %d to %q, want a page", visit.status, visit.location)
				}
				p.wantOutcome(token, test.result)
				clock.advance(DefaultPendingFor)
				p.wantOutcome(token, test.later)
				p.wantOutcome(token, test.later)
			})
		}
	}
}

func TestASlowNumberIsPendingFromTheFirstVisitOn(t *testing.T) {
	clock := newClock()
	p := newPeer(t, Options{Now: clock.Now, PendingFor: 10 * time.Second})
	token, page := p.begin("0639980004")
	clock.advance(time.Minute)
	p.visit(page)
	clock.advance(9 * time.Second)
	p.visit(page)
	p.wantOutcome(token, "pending")
	clock.advance(time.Second)
	p.wantOutcome(token, "true")
}

func TestNumberFormats(t *testing.T) {
	p := newPeer(t, Options{})
	for _, number := range []string{"0639980002", "+33639980002", "33639980002", "0033639980002"} {
		token, page := p.begin(number)
		p.visit(page)
		p.wantOutcome(token, "20")
	}
	p.wantViolations()
	for _, number := range []string{"06 39 98 00 01", " 33639980001", "06.39.98.00.01", "0639", "o639980001", "٠٦٣٩٩٨٠٠٠١", "+33639980001;ext=1"} {
		p := newPeer(t, Options{})
		if r := p.start(p.token(), number); r.errorID() != "10" {
			t.Errorf("%q: %s", number, r.body)
		}
		p.wantViolations("start: number in an unknown format")
	}
}

func TestAnswersAsDocumented(t *testing.T) {
	p := newPeer(t, Options{})
	r := p.call("/ACCESS_TOKEN/", tokenForm())
	token, _ := r.json["access_token"].(string)
	refresh, _ := r.json["refresh_token"].(string)
	if !strings.HasPrefix(token, "TK") || !strings.HasPrefix(refresh, "*TK") ||
		r.json["token_type"] != "Bearer" || r.json["expires_in"] != "300" || len(r.json) != 4 {
		t.Errorf("token: %s", r.body)
	}
	r = p.start(token, "0639980001")
	if r.json["status"] != "success" || r.json["operator"] != "SFR" || len(r.json) != 3 {
		t.Errorf("start: %s", r.body)
	}
	page, _ := r.json["url"].(string)
	if !strings.HasPrefix(page, p.url+"/operator/") || strings.Contains(page, token) || strings.Contains(page, "abc") {
		t.Errorf("url: %s", page)
	}
	if r := p.result(token); r.body != `{"status":"pending","scope":"numVerify"}`+"\n" {
		t.Errorf("pending: %s", r.body)
	}
	p.visit(page)
	if r := p.result(token); r.body != `{"status":"success","scope":"numVerify","numVerify":true}`+"\n" {
		t.Errorf("result: %s", r.body)
	}
	if r := p.start(p.token(), "0639980005"); r.body != `{"status":"error","error_id":"09","error_type":"number not eligible"}`+"\n" {
		t.Errorf("error: %s", r.body)
	}
	if got, want := p.Calls(), (Calls{Token: 2, Start: 2, Result: 2}); got != want {
		t.Errorf("calls %+v, want %+v", got, want)
	}
}

func TestOperatorsDependOnTheNumberAlone(t *testing.T) {
	p := newPeer(t, Options{})
	for number, want := range map[string]string{
		"0639980001":    "SFR",
		"+33639980001":  "SFR",
		"0639980002":    "Bouygues Telecom",
		"0033639980003": "Free",
		"0639980004":    "Orange",
	} {
		if r := p.start(p.token(), number); r.json["operator"] != want {
			t.Errorf("%s: %s, want %s", number, r.body, want)
		}
	}
}

func TestTokensExpire(t *testing.T) {
	clock := newClock()
	p := newPeer(t, Options{Now: clock.Now})
	token, page := p.begin("0639980001")
	late := p.token()
	p.visit(page)
	clock.advance(TokenLifetime - time.Nanosecond)
	p.wantOutcome(token, "true")
	clock.advance(time.Nanosecond)
	p.wantOutcome(token, "30")
	if r := p.start(late, "0639980001"); r.errorID() != "30" {
		t.Errorf("start: %s", r.body)
	}
	p.wantViolations()
}

func TestATokenReusedForASecondAttemptIsRefusedAndRecorded(t *testing.T) {
	for _, first := range []string{"0639980001", "0639980005"} {
		p := newPeer(t, Options{})
		token := p.token()
		p.start(token, first)
		if r := p.start(token, "0639980015"); r.errorID() != "30" {
			t.Errorf("second start: %s", r.body)
		}
		p.wantViolations("start: a token that has started an attempt before")
		if a := p.Attempts(); len(a) != 1 || a[0].Starts != 2 || a[0].Number == "+33639980015" {
			t.Errorf("attempts: %+v", a)
		}
	}
}

func TestATokenReusedAfterAnInterceptedStartIsRecorded(t *testing.T) {
	p := newPeer(t, Options{Intercept: func(call string, w http.ResponseWriter, _ *http.Request) bool {
		if call == CallStart {
			w.WriteHeader(http.StatusBadGateway)
		}
		return call == CallStart
	}})
	token := p.token()
	p.start(token, "0639980001")
	p.wantViolations()
	p.start(token, "0639980001")
	p.wantViolations("start: a token that has started an attempt before")
}

func TestOneOfManyStartsWithOneTokenSucceeds(t *testing.T) {
	p := newPeer(t, Options{})
	token := p.token()
	var mu sync.Mutex
	succeeded := 0
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if p.start(token, "0639980001").json["status"] == "success" {
				mu.Lock()
				succeeded++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if succeeded != 1 || len(p.Violations()) != 19 {
		t.Errorf("%d succeeded, %d violations", succeeded, len(p.Violations()))
	}
}

func TestResultsWithoutAnAttempt(t *testing.T) {
	p := newPeer(t, Options{})
	p.wantOutcome("TKNOBODY", "30")
	p.wantOutcome(p.token(), "30")
	p.wantViolations("result: unknown token", "result: a token that has started no attempt")

	p = newPeer(t, Options{})
	token := p.token()
	p.start(token, "0639980005")
	p.wantOutcome(token, "30")
}

func TestSetErrorAnswersAnyErrorOfAnyCall(t *testing.T) {
	p := newPeer(t, Options{})
	for id := range errorTypes {
		token, page := p.begin("0639980001")
		p.visit(page)
		fresh := p.token()
		for _, call := range []string{CallToken, CallStart, CallResult} {
			p.SetError(call, id)
		}
		replies := []reply{
			p.call("/ACCESS_TOKEN/", tokenForm()),
			p.start(fresh, "0639980001"),
			p.result(token),
		}
		for i, r := range replies {
			if r.status != http.StatusOK || r.errorID() != id || r.json["error_type"] != errorTypes[id] {
				t.Errorf("id %s, call %d: %d %s", id, i, r.status, r.body)
			}
		}
		for _, call := range []string{CallToken, CallStart, CallResult} {
			p.SetError(call, "")
		}
		p.wantOutcome(token, "true")
	}
	p.wantViolations()
}

func TestExhaustedCreditsAreToldByTheTokenCall(t *testing.T) {
	p := newPeer(t, Options{})
	p.SetCredits(false)
	if r := p.call("/ACCESS_TOKEN/", tokenForm()); r.errorID() != "98" {
		t.Errorf("without credits: %s", r.body)
	}
	p.SetCredits(true)
	p.token()
}

func TestAttemptsAreForgottenAnHourAfterTheirExpiry(t *testing.T) {
	clock := newClock()
	p := newPeer(t, Options{Now: clock.Now})
	_, page := p.begin("0639980001")
	clock.advance(time.Minute)
	younger, _ := p.begin("0639980015")

	clock.advance(TokenLifetime + time.Hour - time.Minute)
	p.token()
	if got := len(p.Attempts()); got != 3 {
		t.Errorf("%d attempts after an hour, want 3", got)
	}
	clock.advance(time.Nanosecond)
	p.token()
	if got := p.Attempts(); len(got) != 3 || got[0].Token != younger {
		t.Errorf("attempts after more than an hour: %+v", got)
	}
	if r := p.visit(page); r.status != http.StatusNotFound {
		t.Errorf("forgotten page: %d", r.status)
	}
	if len(p.tokens) != 3 || len(p.links) != 1 {
		t.Errorf("%d tokens, %d links are kept", len(p.tokens), len(p.links))
	}
}

func TestInterceptMayAnswerAnyCall(t *testing.T) {
	for _, call := range []string{CallToken, CallStart, CallResult, CallOperator} {
		t.Run(call, func(t *testing.T) {
			intercepting := false
			p := newPeer(t, Options{Intercept: func(got string, w http.ResponseWriter, r *http.Request) bool {
				if !intercepting || got != call {
					return false
				}
				w.WriteHeader(http.StatusTeapot)
				_, err := io.WriteString(w, r.Form.Get("token"))
				return err == nil
			}})
			token, page := p.begin("0639980001")
			fresh := p.token()
			intercepting = true
			replies := map[string]reply{
				CallToken:    p.call("/ACCESS_TOKEN/", tokenForm()),
				CallStart:    p.start(fresh, "0639980001"),
				CallResult:   p.result(token),
				CallOperator: p.visit(page),
			}
			for name, r := range replies {
				if (r.status == http.StatusTeapot) != (name == call) {
					t.Errorf("%s: %d", name, r.status)
				}
			}
			if r := replies[call]; call == CallResult && r.body != token {
				t.Errorf("the form was not parsed: %q", r.body)
			}
			if visits := p.Attempts()[0].Visits; (visits == 0) != (call == CallOperator) {
				t.Errorf("%d visits", visits)
			}
		})
	}
}

func TestConcurrentResultCallsAreCounted(t *testing.T) {
	arrived, gate := make(chan struct{}), make(chan struct{})
	p := newPeer(t, Options{Intercept: func(call string, _ http.ResponseWriter, _ *http.Request) bool {
		if call == CallResult {
			arrived <- struct{}{}
			<-gate
		}
		return false
	}})
	token, page := p.begin("0639980001")
	p.visit(page)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { p.wantOutcome(token, "true") })
	}
	for range 3 {
		<-arrived
	}
	close(gate)
	wg.Wait()
	wg.Go(func() { <-arrived })
	p.wantOutcome(token, "true")
	wg.Wait()
	want := Attempt{Token: token, Number: "+33639980001", Starts: 1, Visits: 1, Results: 4, ConcurrentResults: 3}
	if got := p.Attempts(); len(got) != 1 || got[0] != want {
		t.Errorf("attempts %+v, want %+v", got, want)
	}
}

func TestManyAttemptsAtOnceKeepApart(t *testing.T) {
	p := newPeer(t, Options{})
	outcomes := map[string]string{"0639980001": "true", "0639980002": "20", "0639980011": "false", "0639980009": "pending"}
	var wg sync.WaitGroup
	for range 10 {
		for number, want := range outcomes {
			wg.Go(func() {
				token, page := p.begin(number)
				p.visit(page)
				p.wantOutcome(token, want)
				p.Attempts()
				p.Calls()
			})
		}
	}
	wg.Wait()
	p.wantViolations()
	if got, want := p.Calls(), (Calls{Token: 40, Start: 40, Result: 40}); got != want {
		t.Errorf("calls %+v, want %+v", got, want)
	}
	for _, a := range p.Attempts() {
		if a.Starts != 1 || a.Visits != 1 || a.Results != 1 || a.ConcurrentResults != 1 {
			t.Errorf("attempt %+v", a)
		}
	}
}

func TestOneSIMIsReadFromEachOfItsForms(t *testing.T) {
	for want, forms := range map[string][]string{
		"+33639980001":  {"0639980001", "+33639980001", "33639980001", "0033639980001"},
		"+262639970001": {"0639970001", "+262639970001", "262639970001", "00262639970001"},
		"+590690001234": {"0690001234", "+590690001234", "590690001234", "00590690001234"},
		"+508551234":    {"0508551234", "+508551234", "508551234", "00508551234"},
		"+508708401234": {"0708401234", "+508708401234"},
		"+594709301234": {"0709301234"},
		"+262639980001": {"+262639980001", "262639980001", "00262639980001"},
		"+212639980001": {"+212639980001", "212639980001", "00212639980001"},
		"":              {"", "0709401234", "0139980001", "06399800011", "063998000", "+0639980001", "000639980001", "++33639980001", "0639980x01"},
	} {
		for _, form := range forms {
			if got := subscriber(form); got != want {
				t.Errorf("%q is read as %q, want %q", form, got, want)
			}
		}
	}
}

func FuzzSubscriber(f *testing.F) {
	for _, seed := range []string{"0639980001", "+33639980001", "33639980001", "0033639980001", "", "+", "0033", "003306399800", "0508551234", "00100", "12345678901234567"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, number string) {
		e164 := subscriber(number)
		if e164 == "" {
			return
		}
		if e164[0] != '+' || e164[1] == '0' || !dialable.MatchString(e164) || !dialable.MatchString(number) {
			t.Errorf("%q is read as %q", number, e164)
		}
		for _, form := range []string{e164, e164[1:], "00" + e164[1:]} {
			if again := subscriber(form); again != e164 {
				t.Errorf("%q is read as %q, and %q as %q", number, e164, form, again)
			}
		}
	})
}

func FuzzNoQueryGetsAVerification(f *testing.F) {
	f.Add("/ACCESS_TOKEN/", tokenForm().Encode())
	f.Add("/IDMOBILE/", startForm("TKNOBODY", "0639980001").Encode())
	f.Add("/GET/", resultForm("TKNOBODY").Encode())
	f.Add("/GET/", "Licence=%zz;token=&scope=numVerify&&=")
	f.Add("/operator/", "")
	f.Fuzz(func(t *testing.T, path, query string) {
		s := New(Options{})
		w := httptest.NewRecorder()
		s.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path, RawQuery: query}, Host: "localhost", Body: http.NoBody})
		if strings.Contains(w.Body.String(), "numVerify") {
			t.Errorf("%s: %s", path, w.Body)
		}
		for _, violation := range s.Violations() {
			if strings.Contains(violation, DefaultClientSecret) || strings.Contains(violation, "TKNOBODY") {
				t.Errorf("a violation tells a secret: %s", violation)
			}
		}
	})
}

func BenchmarkAttempt(b *testing.B) {
	b.ReportAllocs()
	s := New(Options{})
	serve := func(method, target string, form url.Values) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	for b.Loop() {
		var token tokenAnswer
		var start startAnswer
		if err := json.NewDecoder(serve("POST", "/ACCESS_TOKEN/", tokenForm()).Body).Decode(&token); err != nil {
			b.Fatal(err)
		}
		if err := json.NewDecoder(serve("POST", "/IDMOBILE/", startForm(token.AccessToken, "0639980001")).Body).Decode(&start); err != nil {
			b.Fatal(err)
		}
		serve("GET", start.URL, nil)
		if w := serve("POST", "/GET/", resultForm(token.AccessToken)); !strings.Contains(w.Body.String(), "true") {
			b.Fatal(w.Body)
		}
	}
}
