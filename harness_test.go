package numberverify_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

// world is a real Caddy in this process with a real upstream and a simulator of
// the provider, all on loopback. When its test ends, nothing secret may stand in
// anything that was logged or shown.
type world struct {
	t        testing.TB
	sim      *simulator.Simulator
	simURL   string
	upstream *upstream
	addr     string // host:port of the site
	logFile  string
	moreLogs []string // of Caddys in other processes
	secrets  *secrets
}

func newWorld(t testing.TB, options simulator.Options) *world {
	t.Helper()
	w := &world{t: t, secrets: &secrets{}, logFile: filepath.Join(t.TempDir(), "caddy.log")}
	w.secrets.addNumbers()
	t.Setenv("TEST_CLIENT_SECRET", simulator.DefaultClientSecret)
	operatorURL, redirect := options.OperatorURL, options.Redirect
	options.OperatorURL = func(operator, redirectURI, token string) string {
		w.secrets.add(token, operator[strings.LastIndex(operator, "/")+1:], stateOf(redirectURI))
		if operatorURL != nil {
			return operatorURL(operator, redirectURI, token)
		}
		return operator
	}
	options.Redirect = redirect
	w.secrets.add(simulator.DefaultClientSecret)
	w.sim = simulator.New(options)
	server := httptest.NewServer(w.sim)
	t.Cleanup(server.Close)
	w.simURL = server.URL
	w.upstream = newUpstream(t)
	w.addr = freeAddr(t)
	t.Cleanup(w.verifyNothingLeaked)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
		for _, violation := range w.sim.Violations() {
			t.Errorf("the provider's protocol was violated: %s", violation)
		}
	})
	return w
}

func stateOf(redirectURI string) string {
	u, err := url.Parse(redirectURI)
	if err != nil {
		return ""
	}
	return u.Query().Get("state")
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// url is the site's address with a path.
func (w *world) url(path string) string { return "http://" + w.addr + path }

// expand fills in the addresses of this world. VERIFIER is a whole block.
func (w *world) expand(caddyfile string) string {
	_, port, _ := net.SplitHostPort(w.addr)
	return strings.NewReplacer(
		"VERIFIER", `verifier dqe {
			server `+w.simURL+`
			licence `+simulator.DefaultLicence+`
			client_secret {env.TEST_CLIENT_SECRET}
			name "`+simulator.DefaultName+`"
		}`,
		"SIMULATOR", w.simURL,
		"UPSTREAM", w.upstream.addr,
		"SITE", w.addr,
		"PORT", port,
	).Replace(caddyfile)
}

// global are the options of every world: no admin, nothing outside the test's
// folder, and all logs at the lowest level in a file, filtered as documented.
func (w *world) global(more string) string {
	return fmt.Sprintf(`{
		admin off
		persist_config off
		skip_install_trust
		auto_https disable_redirects
		grace_period 1s
		storage file_system %s
		log {
			output file %s
			level DEBUG
			format filter {
				wrap json
				fields {
					request>headers>X-Verified-Number delete
					request>headers>X-Phone-Number delete
					request>headers>X-Phone delete
					request>headers>X-Test-Login delete
					request>headers>X-User-Phone delete
					request>headers>X-Forwarded-Uri delete
					headers>X-User-Phone delete
					request>uri query {
						delete state
						delete token
					}
					uri query {
						delete state
						delete token
					}
					resp_headers>Location delete
				}
			}
		}
		%s
	}
	`, filepath.Join(w.t.TempDir(), "storage"), w.logFile, more)
}

// load starts Caddy with sites, or reloads it.
func (w *world) load(sites string) {
	w.t.Helper()
	w.loadWith("", sites)
}

func (w *world) loadWith(global, sites string) {
	w.t.Helper()
	if err := loadCaddyfile(w.expand(w.global(global) + sites)); err != nil {
		w.t.Fatalf("loading the configuration: %v", err)
	}
}

func loadCaddyfile(text string) error {
	config, err := adapt(text)
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

func adapt(text string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// upstream is the site behind the gate. It keeps every request that reaches it.
type upstream struct {
	addr string
	mu   sync.Mutex
	got  []*received
}

type received struct {
	*http.Request
	body    string
	trailer http.Header
}

func newUpstream(t testing.TB) *upstream {
	u := &upstream{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		u.got = append(u.got, &received{r.Clone(context.WithoutCancel(r.Context())), string(body), r.Trailer.Clone()})
		u.mu.Unlock()
		fmt.Fprintf(w, "upstream saw %s %s", r.Method, r.URL.RequestURI())
	}))
	t.Cleanup(server.Close)
	u.addr = strings.TrimPrefix(server.URL, "http://")
	return u
}

// take returns what has arrived and forgets it.
func (u *upstream) take() []*received {
	u.mu.Lock()
	defer u.mu.Unlock()
	got := u.got
	u.got = nil
	return got
}

// browser is a visitor's browser: it keeps cookies, and says that it navigates.
type browser struct {
	t      testing.TB
	world  *world
	client *http.Client
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // Caddy's internal CA
	w.t.Cleanup(transport.CloseIdleConnections)
	return &browser{w.t, w, &http.Client{
		Jar:       &watchedJar{jar, w.secrets},
		Transport: transport,
		Timeout:   20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}
}

// watchedJar notes every cookie's value as a secret.
type watchedJar struct {
	http.CookieJar
	secrets *secrets
}

func (j *watchedJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		if c.Value != "" {
			j.secrets.add(c.Value)
		}
	}
	j.CookieJar.SetCookies(u, cookies)
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	body string
}

func (a *answer) location() string { return a.Header.Get("Location") }

var dataCode = regexp.MustCompile(`<main[^>]* data-code="([^"]*)"`)

// code is the code that the page tells.
func (a *answer) code() string {
	if m := dataCode.FindStringSubmatch(a.body); m != nil {
		return m[1]
	}
	return ""
}

func (b *browser) do(r *http.Request) *answer {
	b.t.Helper()
	response, err := b.client.Do(r)
	if err != nil {
		b.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatalf("%s %s: reading the answer: %v", r.Method, r.URL.Path, err)
	}
	if r.URL.Host == b.world.addr {
		b.world.secrets.shown(response, body)
	}
	return &answer{response, string(body)}
}

func (b *browser) request(method, rawURL string, body io.Reader) *http.Request {
	b.t.Helper()
	if strings.HasPrefix(rawURL, "/") {
		rawURL = b.world.url(rawURL)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, rawURL, body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	return r
}

// open loads an address, a path of the site or a full one, without following.
func (b *browser) open(rawURL string) *answer {
	b.t.Helper()
	return b.do(b.request(http.MethodGet, rawURL, nil))
}

// post submits a form of the site's own page.
func (b *browser) post(rawURL string, form url.Values) *answer {
	b.t.Helper()
	r := b.request(http.MethodPost, rawURL, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

// follow follows redirects until there is a page.
func (b *browser) follow(a *answer) *answer {
	b.t.Helper()
	for range 20 {
		if a.StatusCode != http.StatusSeeOther && a.StatusCode != http.StatusFound {
			return a
		}
		next, err := a.Request.URL.Parse(a.location())
		if err != nil {
			b.t.Fatalf("redirect to %q: %v", a.location(), err)
		}
		a = b.open(next.String())
	}
	b.t.Fatal("redirected in a loop")
	return nil
}

// start goes from a protected path to the operator's door.
func (b *browser) start(path, number string) *answer {
	b.t.Helper()
	form := b.follow(b.open(path))
	if form.StatusCode != http.StatusOK {
		b.t.Fatalf("form: status %d", form.StatusCode)
	}
	return b.submit(form, number)
}

var formFields = regexp.MustCompile(`(?s)<form[^>]* action="([^"]+/start)".*?name="return" value="([^"]*)"`)

// submit fills in and sends the form of a page.
func (b *browser) submit(form *answer, number string) *answer {
	b.t.Helper()
	m := formFields.FindStringSubmatch(form.body)
	if m == nil {
		b.t.Fatalf("no form in the page:\n%s", form.body)
	}
	action, err := form.Request.URL.Parse(m[1])
	if err != nil {
		b.t.Fatal(err)
	}
	return b.post(action.String(), url.Values{"number": {number}, "return": {unescape(m[2])}})
}

func unescape(s string) string {
	return strings.NewReplacer("&amp;", "&", "&#43;", "+", "&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">").Replace(s)
}

var refresh = regexp.MustCompile(`(?i)<meta http-equiv="refresh" content="\d+; ?url=([^"]+)"`)

// arrive follows redirects and the pages that renew themselves.
func (b *browser) arrive(a *answer) *answer {
	b.t.Helper()
	deadline := time.Now().Add(45 * time.Second)
	for time.Now().Before(deadline) {
		a = b.follow(a)
		m := refresh.FindStringSubmatch(a.body)
		if m == nil {
			return a
		}
		next, err := a.Request.URL.Parse(unescape(m[1]))
		if err != nil {
			b.t.Fatal(err)
		}
		a = b.open(next.String())
	}
	b.t.Fatal("the page renewed itself for ever")
	return nil
}

// verify goes the whole way with a number.
func (b *browser) verify(path, number string) *answer {
	b.t.Helper()
	return b.arrive(b.start(path, number))
}

// secrets collects what must not be logged or shown, and where it might be.
type secrets struct {
	mu     sync.Mutex
	values map[string]bool
	pages  bytes.Buffer
}

func (s *secrets) add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = make(map[string]bool)
	}
	for _, v := range values {
		if len(v) >= 8 {
			s.values[v] = true
			s.values[url.QueryEscape(v)] = true
		}
	}
}

// addNumbers adds the fictional numbers in every spelling that is one string.
func (s *secrets) addNumbers() {
	for i := range 100 {
		end := fmt.Sprintf("%02d", i)
		s.add("6399800"+end, "6 39 98 00 "+end, "6.39.98.00."+end, "6-39-98-00-"+end)
	}
}

// shown keeps what the gate or the site showed. Cookies and the way to the
// operator are how the protocol works; everything else must hold no secret.
func (s *secrets) shown(response *http.Response, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	header := response.Header.Clone()
	header.Del("Set-Cookie")
	if strings.HasSuffix(response.Request.URL.Path, "/start") {
		header.Del("Location")
		if bytes.HasPrefix(body, []byte(`{"redirect_url"`)) {
			body = nil
		}
	}
	fmt.Fprintf(&s.pages, "\n--- answer to %s %s\n", response.Request.Method, response.Request.URL.Path)
	_ = header.Write(&s.pages)
	s.pages.Write(body)
}

// verifyNothingLeaked searches all logs and answers of the test.
func (w *world) verifyNothingLeaked() {
	var logged []byte
	for _, file := range append(w.moreLogs, w.logFile) {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			w.t.Error(err)
		}
		logged = append(logged, text...)
	}
	w.secrets.mu.Lock()
	defer w.secrets.mu.Unlock()
	for value := range w.secrets.values {
		for where, text := range map[string][]byte{"a log": logged, "an answer": w.secrets.pages.Bytes()} {
			if i := bytes.Index(text, []byte(value)); i >= 0 {
				w.t.Errorf("%s holds the secret %q: …%s…", where, value, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
}
