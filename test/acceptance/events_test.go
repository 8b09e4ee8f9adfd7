package acceptance_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/events"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/guest"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

// heard is what listeners heard of the gate.
type heard struct {
	mu     sync.Mutex
	events []string // the listener, the event's name and its outcome
	data   []map[string]any
}

// hear notes what listeners hear until the test ends. First, do is called.
func hear(t *testing.T, do guest.Hearing) *heard {
	t.Helper()
	h := new(heard)
	guest.Hear(func(l *guest.Listener, e caddy.Event) {
		if !strings.HasPrefix(e.Name(), "number_verify.") {
			return
		}
		if e.Origin() != nil {
			t.Errorf("%s comes from %s", e.Name(), e.Origin().CaddyModule().ID)
		}
		if do != nil {
			do(l, e)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.events = append(h.events, strings.TrimSpace(fmt.Sprint(l.Name, " ", e.Name(), " ", e.Data["outcome"])))
		h.data = append(h.data, maps.Clone(e.Data))
	})
	t.Cleanup(func() { guest.Hear(nil) })
	return h
}

// all are the events so far.
func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

// is waits until exactly these events were heard.
func (h *heard) is(t *testing.T, want ...string) {
	t.Helper()
	wait.Until(t, "the last event", func() bool { return len(h.all()) >= len(want) })
	if got := h.all(); !slices.Equal(got, want) {
		t.Errorf("heard\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// listening are the global options of a Caddy with a listener of that name.
func listening(name string) string {
	return "events {\n on * test_listener " + name + "\n}"
}

const heardSite = `
http://SITE {
	number_verify /account* {
		public_url http://SITE
		result_wait 10s
		VERIFIER
	}
	metrics /metrics
	reverse_proxy UPSTREAM
}
`

var publicID = regexp.MustCompile(`^[0-9a-f]{12}$`)

func TestEventsTellWhatHappenedInWordsThatMayBeLogged(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	h := hear(t, nil)
	w.LoadWith(listening("all"), heardSite)
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	visitor.Passes("/account/")
	w.Visitor().Verify("/account/", "06 39 98 00 02")
	w.Visitor().Verify("/account/", "06 39 98 00 05")
	w.Visitor().Open(w.Visitor().Callback("/account/", "06 39 98 00 20"))
	w.Visitor().Press("no number", "/account/")
	h.is(t, "all number_verify.verified verified", "all number_verify.refused number_mismatch",
		"all number_verify.refused number_unsupported", "all number_verify.burned browser_mismatch")
	for i, want := range []map[string]any{
		{"outcome": "verified", "number": "+33 6 •• •• •• 01", "country": "FR", "operator": "SFR", "method": "silent", "client": "127.0.0.0/24", "realm": "127.0.0.1"},
		{"outcome": "number_mismatch", "number": "+33 6 •• •• •• 02", "country": "FR", "operator": "Bouygues Telecom", "method": "silent", "client": "127.0.0.0/24", "realm": "127.0.0.1"},
		{"outcome": "number_unsupported", "number": "+33 6 •• •• •• 05", "country": "FR", "operator": "", "method": "", "client": "127.0.0.0/24", "realm": "127.0.0.1"},
		{"outcome": "browser_mismatch", "number": "+33 6 •• •• •• 20", "country": "FR", "operator": h.data[3]["operator"], "method": "silent", "client": "127.0.0.0/24", "realm": "127.0.0.1"},
	} {
		got := h.data[i]
		for _, id := range []string{"attempt", "session"} {
			if name, ok := got[id]; ok && !publicID.MatchString(fmt.Sprint(name)) {
				t.Errorf("%s is %q", id, name)
			}
		}
		if got["attempt"] == nil || (got["session"] != nil) != (i == 0) {
			t.Errorf("event %d tells %v", i, got)
		}
		if i == 0 && (len(w.Entries("verified")) != 1 || w.Entries("verified")[0].Attempt != got["attempt"]) {
			t.Errorf("the attempt has another name in the log than %v", got["attempt"])
		}
		if w.Logged(fmt.Sprintf(`"reference":"%s"`, got["reference"])) == 0 {
			t.Errorf("the log does not know the reference %q", got["reference"])
		}
		for _, name := range []string{"attempt", "session", "reference"} {
			delete(got, name)
		}
		if !maps.Equal(got, want) {
			t.Errorf("event %d tells\n%v\nwant\n%v", i, got, want)
		}
	}
	text, err := json.Marshal(h.data)
	if err != nil {
		t.Fatal(err)
	}
	for secret := range w.Secrets.In(text) {
		t.Errorf("events tell the secret %q", secret)
	}
}

func TestEventsTellWhatAnAdministratorEnds(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	h := hear(t, nil)
	w.LoadWith(listening("all"), heardSite)
	w.Visitor().ArrivesAt("/account/")
	h.is(t, "all number_verify.verified verified")
	session := fmt.Sprint(h.data[0]["session"])
	for _, body := range []string{
		`{"session":"` + session + `"}`, `{"session":"000000000000"}`, `{"number":"+33639980001"}`, `{"realm":"127.0.0.1"}`, `{"all":true}`,
		`{"realm":"elsewhere.example"}`, `{"number":"+33"}`, `{}`, // nothing is revoked
	} {
		administer(t, "revoke", body)
	}
	w.Stop()
	wants := []map[string]any{
		{"scope": "session", "session": session, "sessions": int64(1)},
		{"scope": "session", "sessions": int64(0)},
		{"scope": "number", "number": "+33 6 •• •• •• 01", "sessions": int64(0)},
		{"scope": "realm", "realm": "127.0.0.1"},
		{"scope": "all"},
	}
	if !slices.EqualFunc(h.data[1:], wants, maps.Equal) {
		t.Errorf("heard %v, want %v", h.data[1:], wants)
	}
}

// A limit refuses whatever anybody sends. That must not start a command each time.
func TestStartsThatALimitRefusesAreNoEvents(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	h := hear(t, nil)
	w.LoadWith(listening("all")+"\n"+stage.FromAnywhere, heardSite)
	for i := range 9 {
		w.From("192.0.2.1").Press("06 39 98 00 05", fmt.Sprint("/account/", i))
	}
	w.Stop()
	if got := h.all(); len(got) != 5 {
		t.Errorf("%d events for 5 starts that were called: %v", len(got), got)
	}
}

// The site's visitor waits for the result while the configuration is replaced: the request
// belongs to the old one, whose handlers are gone.
func TestEventOfARequestThatOutlivesItsConfigurationGoesToTheNewHandlers(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	w := stage.New(t, simulator.Options{Intercept: func(call string, _ http.ResponseWriter, _ *http.Request) bool {
		if call == simulator.CallResult {
			close(asked)
			<-answer
		}
		return false
	}})
	h := hear(t, nil)
	w.LoadWith(listening("before"), heardSite)
	visitor := w.Visitor()
	back := visitor.Callback("/account/", stage.TypedNumber)
	arrived := make(chan *stage.Answer)
	go func() { arrived <- visitor.Open(back) }()
	<-asked
	w.LoadWith(listening("now"), heardSite)
	close(answer)
	visitor.Arrive(<-arrived)
	h.is(t, "now number_verify.verified verified")
}

// Caddy ends handlers and the gate's app in any order, so it is tried several times.
func TestEventsThatWaitAreHandledBeforeTheirHandlersEnd(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	h := hear(t, func(l *guest.Listener, e caddy.Event) {
		slow := time.NewTimer(200 * time.Millisecond)
		defer slow.Stop()
		select {
		case <-slow.C:
		case <-l.Over():
			t.Errorf("the listener %s was ended before it had done", l.Name)
		}
	})
	site := strings.Replace(heardSite, "result_wait 10s", "result_wait 10s\nlimits {\n number 100 1h 100\n}", 1)
	w.LoadWith(listening("0"), site)
	var want []string
	for i := range 6 {
		w.Visitor().Start("/account/", "06 39 98 00 05")
		w.LoadWith(listening(fmt.Sprint(i+1)), site)
		want = append(want, fmt.Sprint(i, " number_verify.refused number_unsupported"))
	}
	if got := h.all(); !slices.Equal(got, want) {
		t.Errorf("after the reloads\n%s\nwere heard, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestHandlerOfEventsThatHangsHoldsNeitherVisitorsNorCaddy(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	hear(t, func(l *guest.Listener, _ caddy.Event) {
		if l.Name == "hangs" {
			<-hang
		}
	})
	w.LoadWith(listening("hangs"), heardSite)
	before := w.Metrics()["events_dropped_total"]
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	w.Visitor().Verify("/account/", "06 39 98 00 02")
	w.Visitor().Verify("/account/", "06 39 98 00 05")
	began := time.Now()
	w.LoadWith(listening("now"), heardSite)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the reload took %v", took)
	}
	visitor.Passes("/account/")
	if dropped := w.Metrics()["events_dropped_total"] - before; dropped != 2 {
		t.Errorf("%v events are counted as dropped, want the two after the one that hangs", dropped)
	}
	if w.Logged(`"msg":"events dropped"`) != 1 {
		t.Error("the log does not tell of it")
	}
}

func TestHandlerOfEventsThatPanicsDoesNotEndCaddy(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.MayPanic = true
	h := hear(t, func(_ *guest.Listener, e caddy.Event) {
		if e.Data["outcome"] == "number_mismatch" {
			panic(e.Data)
		}
	})
	w.LoadWith(listening("all"), heardSite)
	w.Visitor().Verify("/account/", "06 39 98 00 02")
	w.Visitor().ArrivesAt("/account/")
	h.is(t, "all number_verify.verified verified")
	if w.Logged(`"msg":"guest module panicked"`) != 1 {
		t.Error("the log does not tell of it")
	}
}

func TestEventsNobodyListensToDoNotWait(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LogLevel = "INFO" // at DEBUG Caddy logs every event
	w.Load(heardSite)
	events.Process.Emit("number_verify.verified", func() map[string]any {
		t.Error("what an event tells is put together for nobody")
		return nil
	})
	w.Visitor().ArrivesAt("/account/")
}

func TestExampleOfEventsRunsACommandAndCallsAWebhook(t *testing.T) {
	type call struct {
		method, path, contentType string
		form                      url.Values
	}
	calls := make(chan call, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		calls <- call{r.Method, r.URL.Path, r.Header.Get("Content-Type"), form}
	}))
	t.Cleanup(hook.Close)
	folder := t.TempDir()
	told, script := filepath.Join(folder, "told"), filepath.Join(folder, "tell")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nprintf '%s|' \"$@\" >>"+told+".new && mv "+told+".new "+told+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := stage.New(t, simulator.Options{})
	w.AlsoSearch(told)
	loadExample(w, "examples/events.Caddyfile", "https://hooks.example.com", hook.URL, "/usr/local/bin/number-burned", script)
	w.Visitor().ArrivesAt("/account/")
	w.Visitor().Open(w.Visitor().Callback("/account/", "06 39 98 00 20"))
	got := <-calls
	want := url.Values{"event": {"number_verify.verified"}, "number": {"+33 6 •• •• •• 01"}, "operator": {"SFR"}, "realm": {"127.0.0.1"}}
	for name := range want {
		if got.form.Get(name) != want.Get(name) {
			t.Errorf("the webhook is told that %s is %q, want %q", name, got.form.Get(name), want.Get(name))
		}
	}
	if got.method != http.MethodPost || got.path != "/number-verified" || !publicID.MatchString(got.form.Get("attempt")) {
		t.Errorf("the webhook gets %+v", got)
	}
	wait.Until(t, "the command", func() bool { _, err := os.Stat(told); return err == nil })
	text, err := os.ReadFile(told)
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`^attempt=[0-9a-f]{12}\|client=127\.0\.0\.0/24\|$`); !m.Match(text) {
		t.Errorf("the command is called with %q", text)
	}
	if len(calls) != 0 {
		t.Errorf("%d more calls of the webhook", len(calls))
	}
}
