package command_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// admin is a Caddy's admin API on a socket, which answers as its contract says.
type admin struct {
	*http.Server
	// answers are the bodies of its answers, by path.
	answers map[string]string
	// refusal is what it answers in place of them, with its status; 0 for none.
	refusal string
	status  int
	// got are the requests: method, path and body.
	got     []string
	address string
}

// newAdmin starts an admin API.
func newAdmin(t *testing.T, answers map[string]string) *admin {
	t.Helper()
	a := &admin{answers: answers}
	dir, err := os.MkdirTemp("", "admin") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	a.address = "unix/" + socket
	a.Server = &http.Server{Handler: http.HandlerFunc(a.answer)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = a.Shutdown(context.WithoutCancel(t.Context()))
		<-done
		_ = os.RemoveAll(dir)
	})
	return a
}

func (a *admin) answer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.got = append(a.got, r.Method+" "+r.RequestURI+" "+string(body))
	if len(body) > 0 && r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return
	}
	if a.status != 0 {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.refusal)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, a.answers[r.URL.Path])
}

// asked checks that there was one request.
func (a *admin) asked(t *testing.T, want string) {
	t.Helper()
	if len(a.got) != 1 || a.got[0] != want {
		t.Errorf("it sends %q, want %q", a.got, want)
	}
	a.got = nil
}

const statusAnswer = `{"sessions":12,"attempts_in_flight":3,"accounts":[
	{"verifier":"dqe","cache":"memory","realms":["www.example.com","shop.example.com"],"sessions":12,"attempts_in_flight":3,"calls":"made"},
	{"verifier":"dqe","cache":"redis","realms":["other.example.com"],"calls":"suspended"}]}`

func TestStatusTellsWhatThereIs(t *testing.T) {
	a := newAdmin(t, map[string]string{"/number-verify/": statusAnswer})
	got := run(t, "", "status", "--address", a.address)
	got.has(t, 0, "Sessions: 12. Attempts under way: 3.", "www.example.com shop.example.com  12        3          called", "other.example.com                 ?         ?          suspended", "Calls to the provider are suspended")
	a.asked(t, "GET /number-verify/ ")
	var printed, answered any
	if err := json.Unmarshal([]byte(run(t, "", "status", "--json", "--address", a.address).out), &printed); err != nil {
		t.Fatal(err)
	}
	if _ = json.Unmarshal([]byte(statusAnswer), &answered); len(printed.(map[string]any)) != len(answered.(map[string]any)) {
		t.Errorf("--json prints %v", printed)
	}
}

const foundAnswer = `{"number":"+33 6 •• •• •• 01","sessions":[
	{"session":"a1b2c3d4e5f6","realm":"www.example.com","verified_at":"2026-11-24T18:00:00Z","expires_at":"2026-11-25T18:00:00Z","method":"silent","operator":"SFR\u001b[2J"}]}`

func TestFindListsSessionsOfANumber(t *testing.T) {
	a := newAdmin(t, map[string]string{"/number-verify/find": foundAnswer})
	got := run(t, " +33 6.39-98\u00a000 01 \n", "find", "--number", "-", "--address", a.address)
	a.asked(t, `POST /number-verify/find {"number":"+33639980001"}`)
	got.has(t, 0, "+33 6 •• •• •• 01: 1 session", "a1b2c3d4e5f6", "www.example.com", "2026-11-24 18:00:00 UTC", "2026-11-25 18:00:00 UTC", "silent", "SFR", "revoke --session")
	got.hasNot(t, "\x1b", "Number, like")

	run(t, "06 39 98 00 01", "find", "--number", "-", "--address", a.address)
	a.asked(t, `POST /number-verify/find {"number":"06 39 98 00 01"}`)

	a.answers["/number-verify/find"] = `{"number":"+33 6 •• •• •• 01","sessions":[]}`
	run(t, "+33639980001\n", "find", "--number", "-", "--address", a.address).has(t, 4, "Nobody is verified with +33 6 •• •• •• 01")
	a.answers["/number-verify/find"] = `{"number":"+33 6 •• •• •• 01","sessions":[],"other_secret":true}`
	run(t, "+33639980001\n", "find", "--number", "-", "--address", a.address).has(t, 4, "Nobody is verified", "are not found by number: set that secret as a previous one")
	a.answers["/number-verify/revoke"] = `{"sessions":0,"other_secret":true}`
	run(t, "+33639980001\n", "revoke", "--number", "-", "--address", a.address).has(t, 4, "no session to end", "are not found by number: set that secret as a previous one")
	run(t, "+33639980001\n", "find", "--number", "-", "--address", a.address, "--json").has(t, 4, `"sessions": []`)
}

// TestNumberOnTheCommandLineWouldBeShownByPs: nothing is sent, and the number is not
// repeated.
func TestNumberOnTheCommandLineWouldBeShownByPs(t *testing.T) {
	a := newAdmin(t, nil)
	for _, args := range [][]string{
		{"find", "--number", "+33639980001"},
		{"find", "--number=06 39 98 00 01"},
		{"find"},
		{"revoke", "--number", "+33639980001"},
		{"revoke", "--number", "+33639980001", "--all", "--yes"},
	} {
		got := run(t, "+33639980001\n", append(args, "--address", a.address)...)
		got.has(t, 1, "ps shows it", "--number -")
		got.hasNot(t, "9980001", "98 00 01")
	}
	run(t, "\n", "find", "--number", "-", "--address", a.address).has(t, 1, "no number came")
	if len(a.got) > 0 {
		t.Errorf("it sends %q", a.got)
	}
}

func TestRevokeEndsWhatIsNamed(t *testing.T) {
	a := newAdmin(t, map[string]string{"/number-verify/revoke": `{"sessions":2}`})
	for _, c := range []struct{ body, args string }{
		{`{"number":"+33639980001"}`, "--number -"},
		{`{"session":"a1b2c3d4e5f6"}`, "--session a1b2c3d4e5f6"},
		{`{"realm":"www.example.com"}`, "--realm www.example.com --yes"},
		{`{"all":true}`, "--all --yes"},
	} {
		got := run(t, "+33 6 39 98 00 01\n", append(strings.Fields("revoke "+c.args), "--address", a.address)...)
		got.has(t, 0, "Ended: 2 sessions")
		a.asked(t, "POST /number-verify/revoke "+c.body)
	}
	a.answers["/number-verify/revoke"] = `{"sessions":0}`
	run(t, "", "revoke", "--session", "a1b2c3d4e5f6", "--address", a.address).has(t, 4, "no session")
	run(t, "", "revoke", "--session", "a1b2c3d4e5f6", "--json", "--address", a.address).has(t, 4, `"sessions": 0`)
	run(t, "", "revoke", "--all", "--yes", "--address", a.address).has(t, 0, "Ended: 0 sessions")
	a.answers["/number-verify/revoke"] = `{}`
	run(t, "", "revoke", "--all", "--yes", "--address", a.address).has(t, 0, "not known")
}

func TestRevokeOfMoreOrLessThanOneThingEndsNothing(t *testing.T) {
	a := newAdmin(t, map[string]string{"/number-verify/revoke": `{"sessions":2}`})
	for _, args := range []string{
		"", "--yes", "--all=false --yes", "--session=", "--realm= --yes", "--all --realm www.example.com --yes", "--session a --realm b --yes", "--number - --all --yes",
	} {
		run(t, "+33639980001\n", append(strings.Fields("revoke "+args), "--address", a.address)...).has(t, 1, "only one thing")
	}
	for _, args := range []string{"--all", "--realm www.example.com"} {
		got := run(t, "yes\n", append(strings.Fields("revoke "+args), "--address", a.address)...)
		got.has(t, 1, "may be billed", "add --yes")
	}
	if len(a.got) > 0 {
		t.Errorf("it sends %q", a.got)
	}
}

func TestRevokeAsksOnATerminal(t *testing.T) {
	a := newAdmin(t, map[string]string{"/number-verify/revoke": `{"sessions":2}`})
	for answer, want := range map[string]struct {
		status int
		text   string
	}{
		"yes\n": {0, "Ended: 2 sessions"}, "YES\n": {0, "Ended: 2 sessions"},
		"y\n": {1, "not confirmed"}, "\n": {1, "not confirmed"}, "no\n": {1, "not confirmed"}, "\x04": {1, "not confirmed"},
	} {
		got := process(t, stage.Terminal(t, answer), "revoke", "--realm", "www.example.com", "--address", a.address)
		got.has(t, want.status, "Type yes to go on", want.text)
		if isSent := len(a.got) > 0; isSent != (want.status == 0) {
			t.Errorf("after %q it sends %q", answer, a.got)
		}
		a.got = nil
	}
	got := process(t, stage.Terminal(t, "+33639980001\n"), "revoke", "--number", "-", "--address", a.address)
	got.has(t, 0, "Number, like", "Ended: 2 sessions")
	a.asked(t, `POST /number-verify/revoke {"number":"+33639980001"}`)
}

func TestErrorsOfTheAdminAPIAreSentences(t *testing.T) {
	a := newAdmin(t, nil)
	for _, c := range []struct {
		status        int
		answer, wants string
	}{
		{422, `{"type":"about:blank","title":"Invalid number","status":422,"detail":"this is no telephone number; write it with its country code, like +33639980001","code":"number_invalid"}`, "Error: this is no telephone number; write it with"},
		{503, `{"title":"Temporarily unavailable","detail":"The verification cannot be looked up at the moment.","code":"cache_unavailable"}`, "Error: The verification cannot be looked up"},
		{503, `{"title":"Service Unavailable","detail":"no site of this Caddy has number_verify"}`, "Error: no site of this Caddy has number_verify"},
		{404, `{"title":"Not Found","detail":"There is no such realm."}`, "Error: There is no such realm."},
		{404, "404 page not found\n", "without the module"},
		{403, `{"error":"client is not allowed to access from origin"}`, "client is not allowed"},
		{500, "oops \x1b[2J", "HTTP status 500"},
		{200, "<html>", "another version"},
	} {
		a.status, a.refusal = c.status, c.answer
		got := run(t, "+33639980042\n", "find", "--number", "-", "--address", a.address)
		got.has(t, 1, c.wants)
		got.hasNot(t, "{", "oops", "\x1b", "9980042")
		if lines := strings.Count(got.err, "\n"); lines != 1 {
			t.Errorf("the error has %d lines: %s", lines, got.err)
		}
	}
	run(t, "", "status", "--address", "unix/"+filepath.Join(t.TempDir(), "none")).has(t, 1, "no Caddy answers")
}

func TestAddressOfTheAdminAPIComesFromTheConfiguration(t *testing.T) {
	a := newAdmin(t, map[string]string{"/number-verify/": statusAnswer})
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte("{\n\tadmin "+a.address+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "", "status", "-c", file).has(t, 0, "Sessions: 12")
	run(t, "", "status", "--config", file+".none").has(t, 1, "no such file")
}

// TestExitStatusOfAProcess looks at what a script sees.
func TestExitStatusOfAProcess(t *testing.T) {
	a := newAdmin(t, map[string]string{"/number-verify/": statusAnswer, "/number-verify/revoke": `{"sessions":0}`})
	process(t, nil, "status", "--address", a.address).has(t, 0)
	nothing := process(t, nil, "revoke", "--session", "a1b2c3d4e5f6", "--address", a.address)
	nothing.has(t, 4, "no session")
	if nothing.err != "" {
		t.Errorf("it complains: %s", nothing.err)
	}
	process(t, nil, "revoke", "--address", a.address).has(t, 1, "Error: say what to end")
	process(t, nil, "status", "--nonsense").has(t, 1, "unknown flag")
	process(t, nil, "nonsense").has(t, 1, "no such command")
}
