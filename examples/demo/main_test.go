package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// started passes on what the demonstration prints, which it does once it runs.
type started chan string

func (s started) Write(p []byte) (int, error) {
	s <- string(p)
	return len(p), nil
}

// start runs a demonstration, which ends with the test, and returns its address.
func start(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	o, out, ended := options{port: freePort(t), operatorPort: freePort(t)}, make(started, 1), make(chan error, 1)
	site := fmt.Sprintf("http://localhost:%d", o.port)
	go func() { ended <- run(ctx, out, o) }()
	select {
	case text := <-out:
		if !strings.Contains(text, site+"/\n") {
			t.Errorf("it says: %s", text)
		}
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Fatal("it does not start")
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return site
}

// visitor is a browser without JavaScript.
type visitor struct {
	t      *testing.T
	client *http.Client
	site   string
}

func newVisitor(t *testing.T, site string) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	return &visitor{t, client, site}
}

func (v *visitor) open(address string) (*http.Response, string) {
	v.t.Helper()
	return v.request(http.MethodGet, address, nil)
}

// choose presses the button of a number on the gate's form.
func (v *visitor) choose(number, returnPath string) (*http.Response, string) {
	v.t.Helper()
	form := url.Values{"number": {number}, "return": {returnPath}}
	return v.request(http.MethodPost, v.site+"/.number-verify/start", strings.NewReader(form.Encode()))
}

func (v *visitor) request(method, address string, body io.Reader) (*http.Response, string) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, address, body)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return resp, string(text)
}

func TestDemonstrationVerifiesAVisitor(t *testing.T) {
	site := start(t)
	for _, number := range []string{"06 39 98 00 01", "06 39 98 12 34"} {
		v := newVisitor(t, site)
		v.open(site + "/account/?tab=1")
		operator, _ := v.choose(number, "/account/?tab=1")
		_, callback, ok := strings.Cut(operator.Header.Get("Refresh"), "url=")
		if !ok {
			t.Fatalf("the operator's page does not lead back: %v", operator.Header)
		}
		_, page := v.open(strings.Trim(callback, `"'`))
		e164 := "&#43;33" + strings.ReplaceAll(number, " ", "")[1:]
		if !strings.Contains(page, "The gate vouches for <strong>"+e164+"</strong>") {
			t.Errorf("the visitor sees: %s", page)
		}
	}
}

var button = regexp.MustCompile(`(?s)<button name="number" value="([^"]+)">.*?<span>([^<]+)</span>`)

func TestFormShowsEveryNumberWithWhatItDoes(t *testing.T) {
	site := start(t)
	_, page := newVisitor(t, site).open(site + "/account/")
	buttons := button.FindAllStringSubmatch(page, -1)
	if len(buttons) != len(simulator.Numbers()) {
		t.Fatalf("%d numbers on the page: %s", len(buttons), page)
	}
	for i, n := range simulator.Numbers() {
		if buttons[i][1] != n.National || buttons[i][2] != n.English {
			t.Errorf("it shows %q in place of %v", buttons[i][1:], n)
		}
	}
}

func TestNumbersCanBeTriedAgainAndAgain(t *testing.T) {
	site := start(t)
	for try := range 8 {
		for _, n := range simulator.Numbers() {
			v := newVisitor(t, site)
			v.open(site + "/account/")
			_, page := v.choose(n.National, fmt.Sprintf("/account/?try=%d", try))
			if strings.Contains(page, `data-code="rate_limited"`) || strings.Contains(page, `data-code="busy"`) {
				t.Fatalf("try %d of %s: %s", try, n.National, page)
			}
		}
	}
}

func TestPortThatIsTakenIsNamedWithItsFlag(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = run(t.Context(), io.Discard, options{port: freePort(t), operatorPort: l.Addr().(*net.TCPAddr).Port})
	if err == nil || !strings.Contains(err.Error(), "-operator-port") {
		t.Errorf("error: %v", err)
	}
}
