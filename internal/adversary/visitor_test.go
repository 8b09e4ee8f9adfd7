package adversary

import (
	"crypto/tls"
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

// The visitor's number, as he types it and as the site is told it, and forged,
// which only an adversary says.
const (
	typedNumber    = "06 39 98 00 01"
	visitorsNumber = "+33639980001"
	forged         = "forged"
)

// visitor is a browser that behaves: it keeps cookies, says that it navigates,
// and follows no redirect by itself.
type visitor struct {
	t      *testing.T
	origin string
	client *http.Client
}

// visitor comes to an origin of the site.
func (s *site) visitor(t *testing.T, origin string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // Caddy's own CA
	t.Cleanup(transport.CloseIdleConnections)
	return &visitor{t, origin, &http.Client{
		Jar: jar, Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// request is one by a navigation; path may be a whole address.
func (v *visitor) request(method, path string, form url.Values, fields ...string) *http.Request {
	v.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = v.origin + path
	}
	r, err := http.NewRequestWithContext(v.t.Context(), method, path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, p := range pairs(fields) {
		r.Header.Set(p[0], p[1])
	}
	return r
}

func (v *visitor) do(r *http.Request) reply {
	v.t.Helper()
	answer, err := v.client.Do(r)
	if err != nil {
		v.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, string(body)}
}

func (v *visitor) get(path string, fields ...string) reply {
	v.t.Helper()
	return v.do(v.request(http.MethodGet, path, nil, fields...))
}

func (v *visitor) post(path string, form url.Values, fields ...string) reply {
	v.t.Helper()
	return v.do(v.request(http.MethodPost, path, form, fields...))
}

// start opens the form and presses its button.
func (v *visitor) start(number, back string) reply {
	v.t.Helper()
	v.get("/.number-verify/")
	return v.post("/.number-verify/start", url.Values{"number": {number}, "return": {back}})
}

// link is the operator's, of a fresh attempt.
func (v *visitor) link(number string) string {
	v.t.Helper()
	a := v.start(number, "/account/")
	if a.status != http.StatusSeeOther {
		v.t.Fatalf("the start answers %d %q", a.status, a.code())
	}
	return a.location()
}

// callback is the address that the operator sends the visitor of a fresh attempt
// back to.
func (v *visitor) callback(number string) string {
	v.t.Helper()
	return v.get(v.link(number)).location()
}

var refresh = regexp.MustCompile(`<meta http-equiv="refresh" content="\d+; ?url=([^"]+)"`)

// arrive opens an address and goes where it leads, as long as a page renews
// itself, and returns the last answer and its path.
func (v *visitor) arrive(address string) (a reply, at string) {
	v.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		a = v.get(address)
		next := a.location()
		if m := refresh.FindStringSubmatch(a.body); m != nil {
			<-tick.C
			next = html.UnescapeString(m[1])
		}
		base, err := url.Parse(address)
		if err != nil {
			v.t.Error(err)
			return a, ""
		}
		if at = base.Path; next == "" {
			return a, at
		}
		to, err := base.Parse(next)
		if err != nil {
			v.t.Errorf("sent to %q: %v", next, err)
			return a, at
		}
		if address = to.String(); !strings.HasPrefix(address, "http") {
			address = v.origin + address
		}
	}
	v.t.Errorf("sent around in circles, at last to %s", at)
	return a, at
}

// verify is verified, and has its session cookie.
func (v *visitor) verify() *visitor {
	v.t.Helper()
	if a, at := v.arrive(v.callback(typedNumber)); a.status != http.StatusOK || at != "/account/" {
		v.t.Fatalf("not verified: %d %q at %s", a.status, a.code(), at)
	}
	return v
}

// cookies are the visitor's, by name.
func (v *visitor) cookies() map[string]string {
	v.t.Helper()
	u, err := url.Parse(v.origin)
	if err != nil {
		v.t.Fatal(err)
	}
	all := make(map[string]string)
	for _, c := range v.client.Jar.Cookies(u) {
		all[c.Name] = c.Value
	}
	return all
}

// session is the visitor's session cookie, as name and value.
func (v *visitor) session() (name, value string) {
	v.t.Helper()
	for name, value := range v.cookies() {
		if !strings.HasSuffix(name, "-browser") {
			return name, value
		}
	}
	v.t.Fatal("there is no session cookie")
	return "", ""
}

// plant sets a cookie that is not the site's.
func (v *visitor) plant(name, value string) {
	v.t.Helper()
	u, err := url.Parse(v.origin)
	if err != nil {
		v.t.Fatal(err)
	}
	v.client.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/"}})
}

// at is the same browser, whose requests to the site go to another node.
func (v *visitor) at(node *site) *visitor {
	there := *v
	client := *v.client
	client.Transport = &nodeTransport{v.client.Transport, strings.TrimPrefix(v.origin, "http://"), node.plain}
	there.client = &client
	return &there
}

type nodeTransport struct {
	http.RoundTripper
	site, node string
}

// RoundTrip implements http.RoundTripper.
func (n *nodeTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == n.site {
		r = r.Clone(r.Context())
		r.Host, r.URL.Host = n.site, n.node
	}
	return n.RoundTripper.RoundTrip(r)
}

// cookie is the field that the visitor's requests have.
func (v *visitor) cookie() string {
	v.t.Helper()
	var all []string
	for name, value := range v.cookies() {
		all = append(all, name+"="+value)
	}
	return "Cookie: " + strings.Join(all, "; ")
}

var dataCode = regexp.MustCompile(`<main[^>]* data-code="([^"]*)"|"code":"([^"]*)"`)

// code is the code that the answer tells.
func (r reply) code() string {
	if m := dataCode.FindStringSubmatch(r.body); m != nil {
		return m[1] + m[2]
	}
	return ""
}
