package command_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// caddyLog is a log as Caddy writes it, two lines of which are of K7Q2M9PX.
const caddyLog = `{"level":"info","ts":1795543209.25,"logger":"http.handlers.number_verify","msg":"not verified","attempt":"f00","code":"number_mismatch","client":"192.0.2.0/24","number":"+33 6 •• •• •• 01","operator":"SFR","reference":"K7Q2M9PX"}
{"level":"info","ts":1795543201.5,"logger":"http.handlers.number_verify","msg":"attempt started","attempt":"f00","client":"192.0.2.0/24","operator":"SFR","reference":"K7Q2M9PX"}
{"level":"info","ts":1795543202,"logger":"http.handlers.number_verify","msg":"attempt started","reference":"AAAAAAAA"}
{"level":"info","ts":1795543203,"logger":"http.log.access","msg":"handled request","request":{"uri":"/?q=K7Q2M9PX"}}
`

// older is a line of a rolled log whose times are written for people.
const older = `{"level":"error","ts":"2026-11-24T17:19:00.000Z","msg":"verification failed","step":"start","code":"provider_misconfigured","error":"token call: error id 98","error_id":"98","hint":"the credits at DQE are exhausted: buy more, nobody can be verified until then","reference":"K7Q2M9PX"}` + "\n"

func write(t *testing.T, name string, text []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func zipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// inOrder checks that texts are said one after the other.
func (s said) inOrder(t *testing.T, texts ...string) {
	t.Helper()
	rest := s.out
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			t.Fatalf("it does not say %q in its place:\n%s", text, s.out)
		}
		rest = after
	}
}

func TestExplainTellsFromTheLogWhatHappenedInOrder(t *testing.T) {
	log, rolled := write(t, "caddy.log", []byte(caddyLog)), write(t, "caddy-old.log.gz", zipped(t, older))
	got := run(t, "", "explain", "K7Q2M9PX", "--log", log, "--log", rolled)
	got.has(t, 0)
	got.inOrder(t, "K7Q2M9PX: 3 events",
		"2026-11-24 17:19:00 UTC  verification failed", "code: provider_misconfigured, error_id: 98", "hint: the credits at DQE are exhausted",
		"2026-11-24 18:00:01 UTC  attempt started", "operator: SFR",
		"2026-11-24 18:00:09 UTC  not verified", "code: number_mismatch", "number: +33 6 •• •• •• 01",
		"provider_misconfigured: licence, secret, credits", "What to do: the log says what to fix.",
		"number_mismatch: the SIM has another number (20).", "What to do: use the mobile data of the right SIM.")
	got.hasNot(t, "handled request", "AAAAAAAA", "logger")
	for name, in := range map[string]string{"plain": caddyLog, "zipped": string(zipped(t, caddyLog))} {
		if got := run(t, in, "explain", "K7Q2M9PX", "--log", "-"); got.status != 0 || !strings.Contains(got.out, "2 events") {
			t.Errorf("%s from standard input: %s", name, got.all())
		}
	}
	var printed struct {
		Reference string
		Events    []map[string]any
	}
	if err := json.Unmarshal([]byte(run(t, "", "explain", "K7Q2M9PX", "--json", "--log", log).out), &printed); err != nil {
		t.Fatal(err)
	}
	if printed.Reference != "K7Q2M9PX" || len(printed.Events) != 2 || printed.Events[0]["message"] != "attempt started" {
		t.Errorf("--json prints %+v", printed)
	}
}

func TestReferenceMayBeCopiedAsPeopleDo(t *testing.T) {
	log := write(t, "caddy.log", []byte(strings.ReplaceAll(caddyLog, "K7Q2M9PX", "K70119PX")))
	for _, typed := range []string{"K70119PX", "k7o1-19px", " K7Oi L9Px ", "k7 0 1 l 9 p x", "K7-Oll9-PX"} {
		run(t, "", "explain", typed, "--log", log).has(t, 0, "K70119PX: 2 events")
	}
	for _, typed := range []string{"", "K70119P", "K70119PXX", "K70119PU", "+33639980001", "K7011é9P"} {
		got := run(t, "", "explain", typed, "--log", log)
		got.has(t, 1, "8 letters and digits")
		got.hasNot(t, "9980001")
	}
	run(t, "", "explain", "--log", log).has(t, 1, "one <reference>")
	run(t, "", "explain", "K70119PX", "K70119PX").has(t, 1, "one <reference>")
}

func TestExplainAsksTheRunningCaddy(t *testing.T) {
	a := newAdmin(t, map[string]string{"/number-verify/explain": `{"reference":"K7Q2M9PX","events":[{"time":"2026-11-24T18:00:00.5Z","message":"not verified","code":"number_mismatch","operator":"SFR\u001b[2J"}]}`})
	got := run(t, "", "explain", "k7q2m9px", "--address", a.address)
	got.has(t, 0, "1 event", "2026-11-24 18:00:00 UTC  not verified", "the SIM has another number")
	got.hasNot(t, "\x1b")
	a.asked(t, `POST /number-verify/explain {"reference":"K7Q2M9PX"}`)

	a.status, a.refusal = 404, `{"type":"about:blank","title":"Not Found","status":404,"detail":"This node does not remember it."}`
	run(t, "", "explain", "K7Q2M9PX", "--address", a.address).has(t, 4, "another node", "--log", "Nothing is known of K7Q2M9PX")
	a.refusal = "404 page not found"
	run(t, "", "explain", "K7Q2M9PX", "--address", a.address).has(t, 1, "without the module")
}

func TestLogsThatCannotBeSearchedSaySo(t *testing.T) {
	log := write(t, "caddy.log", []byte(caddyLog))
	run(t, "", "explain", "00000000", "--log", log).has(t, 4, "Nothing is known of 00000000")
	run(t, "", "explain", "K7Q2M9PX", "--log", log+".none").has(t, 1, "caddy.log.none: no such file")
	run(t, "", "explain", "K7Q2M9PX", "--log", write(t, "cut.gz", zipped(t, caddyLog)[:60])).has(t, 1, "cut.gz: unexpected EOF")
	run(t, "", "explain", "K7Q2M9PX", "--log", write(t, "a.zst", []byte("\x28\xb5\x2f\xfdxxxx"))).has(t, 1, "zstd -dc")
	console := "2026/11/24 18:00:00.000\tINFO\thttp.handlers.number_verify\tnot verified\t{\"reference\": \"K7Q2M9PX\"}\n"
	run(t, console, "explain", "K7Q2M9PX", "--log", "-").has(t, 4, "1 line with K7Q2M9PX that cannot be read")
	odd := `{"ts":{},"msg":["x"],"reference":"K7Q2M9PX","code":7}` + "\n" + `{"reference":"K7Q2M9PX"}`
	run(t, odd, "explain", "K7Q2M9PX", "--log", "-").has(t, 0, "2 events")
}
