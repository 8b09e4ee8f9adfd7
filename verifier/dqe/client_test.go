package dqe

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	testNonce  = "nonce-nonce-nonce-nonce-nonce-nonce-nonce-1"
	testNumber = "+33639980001"
	testSecret = "client pass phrase"
	testToken  = "TK94-token-of-this-attempt"
)

// provider answers each path with what a test sets.
type provider struct {
	answers map[string]http.HandlerFunc
	mu      sync.Mutex
	got     []*http.Request
}

func (p *provider) requests() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "form", http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	p.got = append(p.got, r)
	p.mu.Unlock()
	p.answers[r.URL.Path](w, r)
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

// tame returns the answers that DQE documents.
func tame() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		pathToken:  says(`{"access_token":"` + testToken + `","token_type":"Bearer","expires_in":"300","refresh_token":"*TK9b"}`),
		pathStart:  says(`{"status":"success","operator":"SFR","url":" https://op.example.net/check "}`),
		pathResult: says(`{"status":"success","scope":"numVerify","numVerify":true}`),
	}
}

// testClient returns a client of a provider, and everything that it logs.
func testClient(t *testing.T, p *provider, change func(*settings)) (*client, *bytes.Buffer) {
	t.Helper()
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := settings{server: u, licence: "LICENCE", name: "Example SAS", clientSecret: testSecret, numberFormat: phone.National, timeout: 2 * time.Second, callbackToken: callbackLog}
	if change != nil {
		change(&s)
	}
	var logs bytes.Buffer
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&logs), zap.DebugLevel)
	c := newClient(s, zap.New(core))
	t.Cleanup(func() {
		for _, secret := range []string{testNonce, testSecret, testToken, "639980001"} {
			if strings.Contains(logs.String(), secret) {
				t.Errorf("a log holds %q: %s", secret, logs.String())
			}
		}
	})
	return c, &logs
}

// start does what the gate does for an attempt: it fetches a token, and starts.
func start(t *testing.T, c *client, number string) (*verifier.Started, error) {
	t.Helper()
	token, err := c.Token(t.Context())
	if err != nil {
		checkError(t, err)
		return nil, err
	}
	started, err := c.Start(t.Context(), verifier.StartRequest{
		Number: number, CallbackURL: "https://www.example.com/.number-verify/callback", State: testNonce, Token: token.Value,
	})
	checkError(t, err)
	return started, err
}

// checkError checks that an error can be logged.
func checkError(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{testNonce, testSecret, url.QueryEscape(testSecret), testToken, "639980001", "op.example.net"} {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("an error holds %q: %v", secret, err)
		}
	}
}

func TestCallsCarryExactlyTheDocumentedParameters(t *testing.T) {
	for _, get := range []bool{false, true} {
		p := &provider{answers: tame()}
		c, _ := testClient(t, p, func(s *settings) { s.get = get })
		started, err := start(t, c, testNumber)
		if err != nil || started.URL != " https://op.example.net/check " || started.Operator != "SFR" {
			t.Fatalf("%+v %v", started, err)
		}
		if outcome, err := c.Result(t.Context(), started.State); outcome != verifier.Verified || err != nil {
			t.Fatalf("%v %v", outcome, err)
		}
		want := []struct {
			path   string
			params url.Values
		}{
			{"/ACCESS_TOKEN/", url.Values{"licence": {"LICENCE"}, "client_secret": {testSecret}, "grant_type": {"client_idmobile"}}},
			{"/IDMOBILE/", url.Values{
				"licence": {"LICENCE"}, "number": {"0639980001"}, "token": {testToken}, "name": {"Example SAS"}, "scope": {"numVerify"},
				"redirect_uri": {"https://www.example.com/.number-verify/callback?state=" + testNonce},
			}},
			{"/GET/", url.Values{"Licence": {"LICENCE"}, "token": {testToken}, "scope": {"numVerify"}}},
		}
		for i, r := range p.requests() {
			sent := r.PostForm
			if get {
				sent = r.URL.Query()
			}
			if r.URL.Path != want[i].path || !reflect.DeepEqual(sent, want[i].params) || (r.Method == http.MethodGet) != get || (!get && r.URL.RawQuery != "") {
				t.Errorf("%s %s sends %v, want %v", r.Method, r.URL.Path, sent, want[i].params)
			}
		}
	}
}

func TestEveryErrorIDHasItsClassAtEveryCall(t *testing.T) {
	classes := map[verifier.Class]string{
		verifier.Misconfigured:       "01 02 03 04 05 06 07 22 31 98",
		verifier.NumberUnsupported:   "09 13 14 15 17",
		verifier.NumberInvalid:       "10 11",
		verifier.OperatorUnavailable: "12 16 18",
		verifier.Mismatch:            "20",
		verifier.Denied:              "21",
		verifier.Expired:             "30",
		verifier.ProviderUnavailable: "99 08 42 00",
	}
	for class, ids := range classes {
		for _, id := range strings.Fields(ids) {
			number := strings.TrimLeft(id, "0")
			if number == "" {
				number = "0"
			}
			for _, spelling := range []string{`"` + id + `"`, `"` + number + `"`, number} {
				for path, call := range map[string]string{pathToken: callToken, pathStart: callStart, pathResult: callResult} {
					for _, status := range []int{200, 400, 500} {
						p := &provider{answers: tame()}
						p.answers[path] = func(w http.ResponseWriter, _ *http.Request) {
							w.WriteHeader(status)
							fmt.Fprintf(w, `{"status":"error","error_id":%s,"error_type":"text of another id"}`, spelling)
						}
						c, _ := testClient(t, p, nil)
						started, err := start(t, c, testNumber)
						if path == pathResult {
							_, err = c.Result(t.Context(), started.State)
						}
						var refused *verifier.Error
						if !errors.As(err, &refused) || refused.Class != class || refused.ID != id || refused.Call != call || refused.Again {
							t.Errorf("%s at %s with %d: %+v", spelling, call, status, err)
						}
						if class == verifier.Misconfigured && refused != nil && refused.Hint == "" {
							t.Errorf("%s: no hint for the site's operator", id)
						}
					}
				}
			}
		}
	}
}

func TestOnlyTrueMeansVerified(t *testing.T) {
	for value, want := range map[string]verifier.Outcome{
		`true`: verifier.Verified, `"true"`: verifier.Verified, `"True"`: verifier.Verified,
		`false`: 0, `"false"`: 0, `null`: 0, `1`: 0, `"yes"`: 0, `"TRUE"`: 0, `[true]`: 0, `{"a":true}`: 0, `" true"`: 0, `""`: 0,
	} {
		p := &provider{answers: tame()}
		p.answers[pathResult] = says(`{"status":"success","scope":"numVerify","numVerify":` + value + `}`)
		c, _ := testClient(t, p, nil)
		got, err := c.Result(t.Context(), verifier.State(`{"token":"`+testToken+`"}`))
		if got != want || (want == 0) != (err != nil) {
			t.Errorf("%s: %v %v", value, got, err)
		}
	}
	for body, want := range map[string]verifier.Outcome{
		`{"status":"pending","scope":"numVerify"}`:                   verifier.Pending,
		`{"status":"pending","numVerify":true}`:                      verifier.Pending,
		`{"scope":"numVerify","numVerify":true}`:                     verifier.Unknown,
		`{"status":"error","numVerify":true}`:                        verifier.Unknown,
		`{"status":"success","error_id":"20","numVerify":true}`:      verifier.Unknown,
		`{"status":"success","scope":"numVerify"}`:                   verifier.Unknown,
		`{"status":"success","error_id":"nonsense","numVerify":"1"}`: verifier.Unknown,
		`{"status":"success","NumVerify":true}`:                      verifier.Unknown,
		`{"STATUS":"success","numVerify":true}`:                      verifier.Unknown,
		`{"status":"success","numVerify":false,"numVerify":true}`:    verifier.Unknown,
		`{"status":"error","status":"success","numVerify":true}`:     verifier.Unknown,
		`{"status":"success","numVerify":true}{}`:                    verifier.Unknown,
		`{"status":"success","numVerify":true`:                       verifier.Unknown,
		`[{"status":"success","numVerify":true}]`:                    verifier.Unknown,
	} {
		p := &provider{answers: tame()}
		p.answers[pathResult] = says(body)
		c, _ := testClient(t, p, nil)
		if got, err := c.Result(t.Context(), verifier.State(`{"token":"x"}`)); got != want || (want == verifier.Unknown) != (err != nil) {
			t.Errorf("%s: %v %v", body, got, err)
		}
	}
}

func TestHostileAnswersRefuse(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"html":         says("<html>maintenance"),
		"nothing":      says(""),
		"an array":     says("[]"),
		"a wrong type": says(`{"status":1,"access_token":2,"url":3}`),
		"cut off":      says(`{"status":"success","access_token":"x`),
		"status 503":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"50 MB": func(w http.ResponseWriter, _ *http.Request) {
			for range 50 {
				if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err != nil {
					return
				}
			}
		},
		"a reset": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
		},
		"silence": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		for path, again := range map[string]bool{pathToken: false, pathStart: false, pathResult: true} {
			t.Run(name+" at "+path, func(t *testing.T) {
				p := &provider{answers: tame()}
				p.answers[path] = answer
				c, _ := testClient(t, p, func(s *settings) { s.timeout, s.get = 200*time.Millisecond, true })
				var err error
				if path == pathResult {
					_, err = c.Result(t.Context(), verifier.State(`{"token":"`+testToken+`"}`))
					checkError(t, err)
				} else {
					_, err = start(t, c, testNumber)
				}
				var refused *verifier.Error
				if !errors.As(err, &refused) || refused.Class != verifier.ProviderUnavailable || refused.Again != again {
					t.Errorf("%+v", err)
				}
				for _, r := range p.requests() {
					if r.URL.Path == "/elsewhere" {
						t.Error("the redirect was followed, with all its secrets")
					}
				}
			})
		}
	}
}

func TestTokenCallByHTTPStatus(t *testing.T) {
	for status, class := range map[int]verifier.Class{400: verifier.Misconfigured, 500: verifier.ProviderUnavailable} {
		p := &provider{answers: tame()}
		p.answers[pathToken] = func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", status) }
		c, _ := testClient(t, p, nil)
		_, err := start(t, c, testNumber)
		var refused *verifier.Error
		if !errors.As(err, &refused) || refused.Class != class || refused.Hint == "" {
			t.Errorf("%d: %+v", status, err)
		}
	}
}

func TestUntrustedCertificateIsRefused(t *testing.T) {
	server := httptest.NewTLSServer(&provider{answers: tame()})
	defer server.Close()
	c, _ := testClient(t, &provider{answers: tame()}, func(s *settings) { s.server, _ = url.Parse(server.URL) })
	if _, err := start(t, c, testNumber); err == nil {
		t.Error("a certificate of nobody is accepted")
	}
}

func TestTokenSaysWhenItExpiresAndIsRememberedForLonger(t *testing.T) {
	now := time.Now()
	for name, change := range map[string]func(*settings){
		"DQE's":          nil,
		"from elsewhere": func(s *settings) { s.token = func() (string, error) { return testToken, nil } },
	} {
		c, _ := testClient(t, &provider{answers: tame()}, change)
		token, err := c.Token(t.Context())
		if err != nil || token.Value != testToken || token.Expires.Sub(now).Round(time.Minute) != 5*time.Minute || token.Remember.Sub(token.Expires) < time.Hour {
			t.Errorf("%s: %v, expires %s, remembered until %s", name, err, token.Expires, token.Remember)
		}
	}
}

func TestStartWithoutATokenCallsNobody(t *testing.T) {
	p := &provider{answers: tame()}
	c, _ := testClient(t, p, nil)
	if _, err := c.Start(t.Context(), verifier.StartRequest{Number: testNumber, State: testNonce}); err == nil || len(p.requests()) != 0 {
		t.Errorf("%v after %d calls", err, len(p.requests()))
	}
}

// DQE may add its parameters with a second question mark, and encode them wrongly.
func TestCallbackIsReadHoweverDQEWritesIt(t *testing.T) {
	for raw, want := range map[string]url.Values{
		"state=S&token=TK&status=success": {"state": {"S"}, "token": {"TK"}, "status": {"success"}},
		"state=S?token=TK&status=success": {"state": {"S"}, "token": {"TK"}, "status": {"success"}},
		"token=TK&state=S":                {"state": {"S"}, "token": {"TK"}},
		"state=S&token=100%":              {"state": {"S"}, "token": {"100%"}},
		"state=S&token=T;K":               {"state": {"S"}, "token": {"T;K"}},
		"state=S&token=T%2FK+L":           {"state": {"S"}, "token": {"T/K L"}},
		"&&state=S&&token=TK&":            {"state": {"S"}, "token": {"TK"}},
		"state=S&%73tate=T":               {"state": {"S", "T"}},
		"state=S?state":                   {"state": {"S", ""}},
		"state=%zz&=x":                    {"state": {"%zz"}, "": {"x"}},
		"token=TK;state=S":                {"token": {"TK;state=S"}},
		"":                                {},
	} {
		if got := new(client).ParseCallback(raw); !reflect.DeepEqual(got, want) {
			t.Errorf("%q is read as %v", raw, got)
		}
	}
}

func TestStaticTokenIsReadForEachAttempt(t *testing.T) {
	p := &provider{answers: tame()}
	tokens := []string{testToken, "", testToken}
	c, _ := testClient(t, p, func(s *settings) {
		s.token = func() (string, error) {
			next := tokens[0]
			tokens = tokens[1:]
			return next, nil
		}
	})
	if _, err := start(t, c, testNumber); err != nil || len(p.requests()) != 1 || p.requests()[0].URL.Path != pathStart {
		t.Errorf("%v after %d calls", err, len(p.requests()))
	}
	var refused *verifier.Error
	if _, err := start(t, c, testNumber); !errors.As(err, &refused) || refused.Class != verifier.Misconfigured {
		t.Errorf("an empty token: %v", err)
	}
}

// Tokens are claimed for an account, and two directives may spell the address of one
// server differently.
func TestTokenServesOneAttemptHoweverItsServerIsSpelled(t *testing.T) {
	account := func(server, licence string) string {
		u, err := url.Parse(server)
		if err != nil {
			t.Fatal(err)
		}
		return newClient(settings{server: u, licence: licence}, zap.NewNop()).Account()
	}
	want := account("https://dqe.example.com", "LICENCE")
	if want != "dqe/7f87a4ed03afe200" {
		t.Errorf("the account has another name than in earlier versions: %s", want)
	}
	for _, same := range []string{"https://dqe.example.com/", "https://DQE.Example.com", "https://dqe.example.com:443", "https://dqe.example.com.:443/", "HTTPS://dqe.example.com./"} {
		if got := account(same, "LICENCE"); got != want {
			t.Errorf("%s is another account", same)
		}
	}
	for _, other := range []string{"https://dqe.example.com:8443", "https://dqe.example.com/v2", "https://other.example.com"} {
		if account(other, "LICENCE") == want {
			t.Errorf("%s is the same account", other)
		}
	}
	if account("https://dqe.example.com", "OTHER") == want {
		t.Error("another licence is the same account")
	}
}

func TestCallbackToken(t *testing.T) {
	issued := verifier.State(`{"token":"` + testToken + `"}`)
	for _, c := range []struct {
		mode   string
		tokens []string
		burns  bool
		warns  bool
	}{
		{callbackLog, []string{testToken}, false, false},
		{callbackLog, []string{"other"}, false, true},
		{callbackLog, nil, false, false},
		{callbackRequire, []string{testToken}, false, false},
		{callbackRequire, []string{"other"}, true, false},
		{callbackRequire, nil, true, false},
		{callbackRequire, []string{testToken, testToken}, true, false},
		{callbackIgnore, []string{"other"}, false, false},
	} {
		client, logs := testClient(t, &provider{}, func(s *settings) { s.callbackToken = c.mode })
		_, err := client.Callback(issued, url.Values{"token": c.tokens, "status": {"error"}})
		checkError(t, err)
		if errors.Is(err, verifier.ErrForeignCallback) != c.burns || (err != nil) != c.burns || (logs.Len() > 0) != c.warns {
			t.Errorf("%s %v: %v, %d bytes of log", c.mode, c.tokens, err, logs.Len())
		}
	}
}

func TestStartByGetIsNotBilledTwiceWhenItsConnectionDies(t *testing.T) {
	answers := tame()
	answers[pathStart] = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	p := &provider{answers: answers}
	c, _ := testClient(t, p, func(s *settings) { s.get = true })
	if _, err := start(t, c, testNumber); err == nil {
		t.Error("a start without an answer succeeds")
	}
	starts := 0
	for _, r := range p.requests() {
		if r.URL.Path == pathStart {
			starts++
		}
	}
	if starts != 1 {
		t.Errorf("%d starts reach the provider", starts)
	}
}

// Otherwise whoever has the SIM of one number would be verified as another.
func TestNumbersThatShareAFormAreNeverSent(t *testing.T) {
	for number, forms := range map[string]map[phone.Format]string{
		"+33639980001":     {phone.National: "0639980001", phone.E164: "+33639980001", phone.MSISDN: "33639980001", phone.IDD: "0033639980001"},
		"+508551234":       {phone.National: "0508551234", phone.E164: "+508551234", phone.MSISDN: "508551234", phone.IDD: "00508551234"},
		"+590690001234":    {phone.National: "0690001234", phone.E164: "+590690001234", phone.MSISDN: "590690001234", phone.IDD: "00590690001234"},
		"+590639980001":    {phone.E164: "+590639980001", phone.MSISDN: "590639980001", phone.IDD: "00590639980001"},
		"+262639980001":    {phone.E164: "+262639980001", phone.MSISDN: "262639980001", phone.IDD: "00262639980001"},
		"+212639980001":    {phone.E164: "+212639980001", phone.MSISDN: "212639980001", phone.IDD: "00212639980001"},
		"+33690001234":     {phone.E164: "+33690001234", phone.MSISDN: "33690001234", phone.IDD: "0033690001234"},
		"not in E.164":     {},
		"0639980001":       {},
		"+033639980001":    {},
		"+336399800010000": {phone.E164: "+336399800010000", phone.MSISDN: "336399800010000", phone.IDD: "00336399800010000"},
	} {
		for _, format := range phone.Formats {
			p := &provider{answers: tame()}
			c, _ := testClient(t, p, func(s *settings) { s.numberFormat = format })
			want, understood := forms[format]
			if got := c.Understands(number); got != understood {
				t.Errorf("%s as %s: understood: %v", number, format, got)
			}
			_, err := c.Start(t.Context(), verifier.StartRequest{Number: number, CallbackURL: "https://www.example.com/cb", State: testNonce, Token: testToken})
			checkError(t, err)
			var refused *verifier.Error
			switch calls := p.requests(); {
			case understood && (err != nil || len(calls) != 1 || calls[0].PostForm.Get("number") != want):
				t.Errorf("%s as %s: %v after %d calls, want %s", number, format, err, len(calls), want)
			case !understood && (!errors.As(err, &refused) || refused.Class != verifier.NumberUnsupported || len(calls) != 0):
				t.Errorf("%s as %s: %v after %d calls", number, format, err, len(calls))
			}
		}
	}
}

func TestEveryNumberOfTheSimulatorWithoutAViolation(t *testing.T) {
	want := map[int]verifier.Class{2: verifier.Mismatch, 3: verifier.Denied, 5: verifier.NumberUnsupported, 6: verifier.OperatorUnavailable,
		7: verifier.NumberUnsupported, 8: verifier.OperatorUnavailable, 11: verifier.Mismatch, 12: verifier.ProviderUnavailable, 13: verifier.Expired, 14: verifier.Misconfigured}
	for _, format := range phone.Formats {
		for _, get := range []bool{false, true} {
			sim := simulator.New(simulator.Options{})
			server := httptest.NewServer(sim)
			c, _ := testClient(t, &provider{}, func(s *settings) {
				s.server, _ = url.Parse(server.URL)
				s.licence, s.clientSecret, s.name = simulator.DefaultLicence, simulator.DefaultClientSecret, simulator.DefaultName
				s.numberFormat, s.get = format, get
			})
			for i := 1; i <= 14; i++ {
				started, err := start(t, c, fmt.Sprintf("+336399800%02d", i))
				if err == nil {
					resp, openErr := http.DefaultTransport.RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, started.URL, nil))
					if openErr != nil {
						t.Fatal(openErr)
					}
					resp.Body.Close()
					_, err = c.Result(t.Context(), started.State)
				}
				class, refuses := want[i]
				var refused *verifier.Error
				if refuses != (err != nil) || (refuses && (!errors.As(err, &refused) || refused.Class != class)) {
					t.Errorf("%02d, %s: %v", i, format, err)
				}
			}
			server.Close()
			for _, violation := range sim.Violations() {
				t.Error(violation)
			}
		}
	}
}

func TestLifetimeOfAToken(t *testing.T) {
	for raw, want := range map[string]time.Duration{
		`"300"`: 5 * time.Minute, `600`: 10 * time.Minute, `"600"`: 10 * time.Minute, ``: defaultLifetime, `null`: defaultLifetime,
		`"soon"`: defaultLifetime, `0`: defaultLifetime, `-5`: defaultLifetime, `1e300`: maxLifetime, `"NaN"`: defaultLifetime, `"Inf"`: maxLifetime,
	} {
		if got := lifetime([]byte(raw)); got != want {
			t.Errorf("%s: %s", raw, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"status":"success","numVerify":true}`, `{"error_id":20}`, `{"status":"error"}`, `[]`, `{"expires_in":"300","operator":"\u0000"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := decode(callResult, body)
		if err != nil {
			return
		}
		if d := lifetime(a.ExpiresIn); d <= 0 || d > maxLifetime {
			t.Errorf("lifetime %s", d)
		}
		if out, err := outcome(a); out == verifier.Verified && (err != nil || a.Status != "success") {
			t.Errorf("verified by %q", body)
		}
	})
}
