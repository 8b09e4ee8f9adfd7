package acceptance_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// echo is a provider on a bare socket, who answers one of its calls with what it
// was sent itself, where Go's errors would quote it.
type echo struct {
	*simulator.Simulator
	addr string

	mu sync.Mutex
	// call is the one that is answered so, and form the answer; "" is none.
	call, form string
	// greeting is what is said before anything was asked, operator the name that
	// a start is answered with; "" is none.
	greeting, operator string
	sent               map[string]string // what was sent, by the parameter's name
	about              map[string]string // the form of a result's answer, by token
}

// newEcho listens until the test ends, and adds to the stage's secrets.
func newEcho(t *testing.T, w *stage.Stage) *echo {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{Simulator: w.Provider, addr: "http://" + listener.Addr().String(), sent: make(map[string]string), about: make(map[string]string)}
	ended, end := context.WithCancel(context.Background())
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer context.AfterFunc(ended, func() { _ = conn.Close() })()
				e.serve(conn, w)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		end()
		conns.Wait()
	})
	return e
}

// answers has the provider answer a call in that form from now on.
func (e *echo) answers(call, form string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.call, e.form, e.greeting = call, form, ""
}

// greets has the provider say what it was sent to whoever connects.
func (e *echo) greets() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.greeting = e.everything()
}

// everything is what the provider was sent last.
func (e *echo) everything() string {
	var all []string
	for name, value := range e.sent {
		all = append(all, name+"="+value)
	}
	return strings.Join(all, "&")
}

// serve answers the calls of one connection.
func (e *echo) serve(conn net.Conn, s *stage.Stage) {
	defer conn.Close()
	e.mu.Lock()
	greeting := e.greeting
	e.mu.Unlock()
	if greeting != "" {
		_, _ = io.WriteString(conn, greeting+"\r\n")
	}
	for reader := bufio.NewReader(conn); ; {
		r, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		form := e.formFor(r, s)
		honest := httptest.NewRecorder()
		e.Simulator.ServeHTTP(honest, r)
		body := e.named(honest.Body.String())
		var head strings.Builder
		_ = honest.Header().Write(&head) // to memory
		right := fmt.Sprintf("HTTP/1.1 %d OK\r\n%sContent-Length: %d\r\n\r\n%s", honest.Code, &head, len(body), body)
		if form == "" {
			_, _ = io.WriteString(conn, right)
			continue
		}
		_, _ = io.WriteString(conn, strings.Replace(form, "RIGHT", right, 1))
		if r.Close || !strings.Contains(form, "RIGHT") {
			return
		}
	}
}

var operatorField = regexp.MustCompile(`"operator":"[^"]*"`)

// named puts the operator's name into an answer.
func (e *echo) named(body string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.operator == "" {
		return body
	}
	name := strings.NewReplacer("SECRETS", e.everything(), "TOKEN", e.sent["token"], "NONCE", e.sent["nonce"]).Replace(e.operator)
	return operatorField.ReplaceAllLiteralString(body, `"operator":"`+name+`"`)
}

// formFor notes what was sent, and says in which form it is answered.
func (e *echo) formFor(r *http.Request, s *stage.Stage) string {
	_ = r.ParseForm()
	call := map[string]string{"/ACCESS_TOKEN/": "token", "/IDMOBILE/": "start", "/GET/": "result"}[r.URL.Path]
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range []string{"number", "token", "client_secret"} {
		if r.Form.Has(name) {
			e.sent[name] = r.Form.Get(name)
		}
	}
	if r.Form.Has("redirect_uri") {
		e.sent["nonce"] = stage.Parameter(r.Form.Get("redirect_uri"), "state")
	}
	s.Secrets.Add(e.sent["token"], e.sent["nonce"])
	form := ""
	if e.call == call {
		form = e.form
	}
	switch token := r.Form.Get("token"); {
	case call == "start" && e.call == "result":
		e.about[token] = e.form
	case call == "result":
		form = e.about[token]
	}
	return strings.ReplaceAll(form, "SECRETS", e.everything())
}

// refusedForms are answers that no client can use, each with another error.
var refusedForms = map[string]string{
	"no HTTP":                      "SECRETS\r\n\r\n",
	"a version that is none":       "SECRETS/1.1 200 OK\r\n\r\n",
	"a status that is none":        "HTTP/1.1 SECRETS OK\r\n\r\n",
	"a header without a colon":     "HTTP/1.1 200 OK\r\nSECRETS\r\n\r\n",
	"a header's name":              "HTTP/1.1 200 OK\r\n{SECRETS}: 1\r\n\r\n",
	"a length":                     "HTTP/1.1 200 OK\r\nContent-Length: SECRETS\r\n\r\n",
	"two lengths":                  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: SECRETS\r\n\r\n",
	"a coding":                     "HTTP/1.1 200 OK\r\nTransfer-Encoding: SECRETS\r\n\r\n",
	"a chunk":                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nSECRETS\r\n",
	"a trailer":                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: SECRETS\r\n\r\n0\r\nSECRETS\r\n\r\n",
	"packed text that is none":     "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 500\r\n\r\nSECRETS",
	"an address that is none":      "HTTP/1.1 302 Found\r\nLocation: http://%zz/?SECRETS\r\nContent-Length: 0\r\n\r\n",
	"another protocol":             "HTTP/1.1 101 SECRETS\r\nUpgrade: SECRETS\r\nConnection: Upgrade\r\n\r\n",
	"a status that is an error":    "HTTP/1.1 503 SECRETS\r\nContent-Length: 0\r\n\r\n",
	"a text that is no JSON":       "HTTP/1.1 200 OK\r\n\r\nSECRETS",
	"an error id":                  "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"error\",\"error_id\":\"SECRETS\",\"error_type\":\"SECRETS\",\"operator\":\"SECRETS\"}",
	"a field of another type":      "HTTP/1.1 200 OK\r\n\r\n{\"status\":[\"SECRETS\"]}",
	"an answer that is cut off":    "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nSECRETS",
	"an early hint and then none":  "HTTP/1.1 103 SECRETS\r\nLink: SECRETS\r\n\r\nSECRETS\r\n\r\n",
	"a right answer that is a 500": "HTTP/1.1 500 SECRETS\r\nContent-Length: 7\r\n\r\nSECRETS",
}

const onEcho = `http://SITE {
	number_verify /account* {
		public_url http://SITE
		limits {
			number 100000 1h 100000
			client 100000 10m
		}
		verifier dqe {
			server ECHO
			licence ` + simulator.DefaultLicence + `
			client_secret {env.TEST_CLIENT_SECRET}
			name "` + simulator.DefaultName + `"
			method METHOD
			timeout 2s
		}
	}
	reverse_proxy UPSTREAM
}`

func onEchoOf(t *testing.T, method string) (*stage.Stage, *echo) {
	w := stage.New(t, simulator.Options{})
	e := newEcho(t, w)
	w.Load(strings.NewReplacer("ECHO", e.addr, "METHOD", method).Replace(onEcho))
	// what Go's library logs goes to Caddy's log, but for Caddys that are loaded
	// by a test: here it is searched as well
	file, err := os.Create(filepath.Join(t.TempDir(), "library.log"))
	if err != nil {
		t.Fatal(err)
	}
	w.AlsoSearch(file.Name())
	before := log.Writer()
	log.SetOutput(file)
	t.Cleanup(func() {
		log.SetOutput(before)
		_ = file.Close()
	})
	return w, e
}

// The stage searches its logs for what was sent when each test ends.
func TestProviderThatAnswersWithNumberTokenNonceAndSecretWritesThemIntoNoLog(t *testing.T) {
	for _, method := range []string{"post", "get"} {
		t.Run(method, func(t *testing.T) {
			w, e := onEchoOf(t, method)
			w.Visitor().ArrivesAt("/account/") // nothing is wrong but the answers
			for name, form := range refusedForms {
				for _, call := range []string{"token", "start"} {
					e.answers(call, form)
					if a := w.Visitor().Start("/account/", "06 39 98 00 01"); a.Code() != "provider_unavailable" {
						t.Errorf("%s of the %s call: %d %q", name, call, a.StatusCode, a.Code())
					}
				}
			}
			var visits sync.WaitGroup
			for name, form := range refusedForms {
				e.answers("result", form)
				b := w.Visitor()
				operator := b.Start("/account/", "06 39 98 00 01").Location()
				visits.Go(func() {
					if end := b.Arrive(b.Open(operator)); end.Code() != "provider_unavailable" {
						t.Errorf("%s of the result call: %d %q", name, end.StatusCode, end.Code())
					}
				})
			}
			visits.Wait()
			if !strings.Contains(w.Log(), `"msg":"verification failed"`) {
				t.Error("nothing was logged that could be searched")
			}
		})
	}
}

// net/http logs what it did not ask for by itself, and Caddy has that in its log.
func TestProviderThatSpeaksUnaskedWritesNothingIntoTheLog(t *testing.T) {
	for name, form := range map[string]string{
		"after the answer":          "RIGHTHTTP/1.1 200 SECRETS\r\n\r\n",
		"after the answer, no HTTP": "RIGHTSECRETS",
	} {
		for _, method := range []string{"post", "get"} {
			t.Run(name+" "+method, func(t *testing.T) {
				w, e := onEchoOf(t, method)
				for _, call := range []string{"start", "result", "token"} {
					e.answers(call, form)
					if end := w.Visitor().Verify("/account/", "06 39 98 00 01"); end.Request.URL.Path != "/account/" {
						t.Errorf("%s: ends at %s %q", call, end.Request.URL.Path, end.Code())
					}
				}
			})
		}
	}
	t.Run("before the question", func(t *testing.T) {
		w, e := onEchoOf(t, "post")
		w.Visitor().ArrivesAt("/account/")
		callbacks := make(map[string]*stage.Visitor)
		for range 20 { // what is said early is not always early enough
			b := w.Visitor()
			callbacks[b.Callback("/account/", "06 39 98 00 01")] = b
		}
		e.greets()
		var visits sync.WaitGroup
		for callback, b := range callbacks {
			visits.Go(func() {
				if end := b.Arrive(b.Open(callback)); end.Code() != "provider_unavailable" {
					t.Errorf("ends at %s %q", end.Request.URL.Path, end.Code())
				}
			})
		}
		visits.Wait()
	})
}

func TestOperatorNameWithANumberOrATokenReachesNeitherLogNorHeader(t *testing.T) {
	for name, operator := range map[string]string{
		"everything": "SECRETS", "the number": "06 39 98 00 01", "its digits": "SFR 639980001",
		"the token": "TOKEN", "the nonce": "NONCE", "the client's secret": simulator.DefaultClientSecret,
	} {
		t.Run(name, func(t *testing.T) {
			w, e := onEchoOf(t, "post")
			e.operator = operator
			b := w.Visitor()
			if end := b.Verify("/account/", "06 39 98 00 01"); end.Request.URL.Path != "/account/" {
				t.Fatalf("ends at %s %q", end.Request.URL.Path, end.Code())
			}
			got := w.Upstream.Take()
			if len(got) != 1 || got[0].Header.Get("X-Verified-Operator") != "" {
				t.Errorf("arrived: %q", got[0].Header.Values("X-Verified-Operator"))
			}
			b.Open("/.number-verify/status") // the stage looks at answers too
		})
	}
}
