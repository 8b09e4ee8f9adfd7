package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

// output hands on what the command prints, up to its last line.
type output struct {
	text strings.Builder
	all  chan string
}

func (o *output) Write(p []byte) (int, error) {
	o.text.Write(p)
	if strings.Contains(string(p), "Ctrl-C") {
		o.all <- o.text.String()
	}
	return len(p), nil
}

func TestWhatItPrintsIsWhatItAccepts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := &output{all: make(chan string, 1)}, make(chan error, 1)
	port := freePort(t)
	go func() { ended <- run(ctx, out, port) }()
	var text string
	select {
	case text = <-out.all:
	case err := <-ended:
		t.Fatal(err)
	}
	for _, n := range simulator.Numbers() {
		if !strings.Contains(text, n.National+"   "+n.English+"\n") {
			t.Errorf("it does not print %s", n.National)
		}
	}
	set := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^ +export (\w+)='?([^'\n]*)'?$`).FindAllStringSubmatch(text, -1) {
		set[m[1]] = m[2]
	}
	client := &http.Client{}
	t.Cleanup(client.CloseIdleConnections)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, set["DQE_SERVER"]+"/ACCESS_TOKEN/", strings.NewReader(url.Values{
		"grant_type": {"client_idmobile"}, "licence": {set["DQE_LICENCE"]}, "client_secret": {set["DQE_CLIENT_SECRET"]},
	}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), `"access_token"`) {
		t.Errorf("the token call answers %d %s %v", response.StatusCode, body, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestPortThatIsTakenIsNamedWithItsFlag(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = run(t.Context(), io.Discard, l.Addr().(*net.TCPAddr).Port)
	if err == nil || !strings.Contains(err.Error(), "-port") {
		t.Errorf("error: %v", err)
	}
}
