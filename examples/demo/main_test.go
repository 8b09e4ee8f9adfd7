package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
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

// started tells by its first write that the demonstration runs.
type started chan string

func (s started) Write(p []byte) (int, error) {
	s <- string(p)
	return len(p), nil
}

func TestDemonstrationVerifiesAVisitor(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	port, out, ended := freePort(t), make(started, 1), make(chan error, 1)
	go func() { ended <- run(ctx, out, port, freePort(t)) }()
	select {
	case text := <-out:
		if !strings.Contains(text, fmt.Sprintf("http://localhost:%d/", port)) || !strings.Contains(text, "06 39 98 00 14") {
			t.Errorf("it says: %s", text)
		}
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Fatal("it does not start")
	}
	page := walkThrough(t, fmt.Sprintf("http://localhost:%d", port))
	if !strings.Contains(page, "The gate vouches for <strong>&#43;33639980001</strong>") {
		t.Errorf("the visitor sees: %s", page)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// walkThrough verifies the number that always works and returns the page that
// the visitor ends on.
func walkThrough(t *testing.T, site string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	request := func(method, address string, body io.Reader) (*http.Response, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, address, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/html")
		if body != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(text)
	}
	request("GET", site+"/account/?tab=1", nil)
	form := url.Values{"number": {"06 39 98 00 01"}, "return": {"/account/?tab=1"}}
	operator, _ := request("POST", site+"/.number-verify/start", strings.NewReader(form.Encode()))
	_, callback, ok := strings.Cut(operator.Header.Get("Refresh"), "url=")
	if !ok {
		t.Fatalf("the operator's page does not lead back: %v", operator.Header)
	}
	_, page := request("GET", strings.Trim(callback, `"'`), nil)
	return page
}

func TestPortThatIsTakenIsNamedWithItsFlag(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = run(t.Context(), io.Discard, freePort(t), l.Addr().(*net.TCPAddr).Port)
	if err == nil || !strings.Contains(err.Error(), "-operator-port") {
		t.Errorf("error: %v", err)
	}
}
