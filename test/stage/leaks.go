package stage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
)

// secrets collects the values that must not be logged or shown, and the answers that
// were shown.
type secrets struct {
	mu     sync.Mutex
	values map[string]bool
	pages  bytes.Buffer
}

// Add has values searched for when the test ends. Values of less than 8 bytes would
// be found anywhere, and are left out.
func (s *secrets) Add(values ...string) {
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

// addNumbers adds a hundred fictional numbers, in each of their spellings.
func (s *secrets) addNumbers() {
	for i := range 100 {
		end := fmt.Sprintf("%02d", i)
		s.Add("6399800"+end, "6 39 98 00 "+end, "6.39.98.00."+end, "6-39-98-00-"+end)
	}
}

// In returns the secrets that a text holds, each with the text around it.
func (s *secrets) In(text []byte) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[string]string)
	for value := range s.values {
		if i := bytes.Index(text, []byte(value)); i >= 0 {
			found[value] = string(text[max(0, i-200):min(len(text), i+100)])
		}
	}
	return found
}

// shown keeps an answer of the gate or the site, without the parts that must hold
// secrets: cookies and the link to the operator.
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

// AlsoSearch has one more file, beside the logs of the stage's Caddys, searched for
// secrets when the test ends.
func (s *Stage) AlsoSearch(file string) { s.alsoSearched = append(s.alsoSearched, file) }

// Log returns the logs of all Caddys so far.
func (s *Stage) Log() string {
	s.T.Helper()
	return s.read(append(s.nodeLogs, s.LogFile))
}

func (s *Stage) read(files []string) string {
	s.T.Helper()
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			s.T.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// Logged counts how often a text is in the logs.
func (s *Stage) Logged(text string) int {
	s.T.Helper()
	return strings.Count(s.Log(), text)
}

// Entry is a line of the log.
type Entry struct {
	Level, Logger, Msg, Code, Client, Attempt, Reference string
}

// AuditLogger is the logger of the audit.
const AuditLogger = "http.number_verify.audit"

// isGates tells whether the gate wrote the entry.
func (e Entry) isGates() bool {
	return e.Logger == AuditLogger || strings.HasPrefix(e.Logger, "http.handlers.number_verify")
}

// Entries returns the gate's log entries with a message.
func (s *Stage) Entries(msg string) []Entry {
	s.T.Helper()
	var found []Entry
	for line := range strings.Lines(s.Log()) {
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.T.Fatalf("%v: %s", err, line)
		}
		if e.isGates() && e.Msg == msg {
			found = append(found, e)
		}
	}
	return found
}

// verifyNothingLeaked searches all logs and answers of the test.
func (s *Stage) verifyNothingLeaked() {
	log := s.Log()
	s.Secrets.mu.Lock()
	pages := bytes.Clone(s.Secrets.pages.Bytes())
	s.Secrets.mu.Unlock()
	for where, text := range map[string][]byte{"a log": []byte(log + s.read(s.alsoSearched)), "an answer": pages} {
		for value, around := range s.Secrets.In(text) {
			s.T.Errorf("%s holds the secret %q: …%s…", where, value, around)
		}
	}
	for line := range strings.Lines(log) {
		s.verifyLine(line)
	}
}

// verifyLine checks that a line of the log was written by Caddy and reports no panic,
// and that a line of the gate holds no number in any spelling.
func (s *Stage) verifyLine(line string) {
	var e Entry
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Level == "" {
		s.T.Errorf("the log holds a line of somebody else: %.200s", line)
	}
	if !s.MayPanic && (e.Level == "panic" || strings.Contains(e.Msg, "panic")) {
		s.T.Errorf("Caddy panicked: %.2000s", line)
	}
	if e.isGates() && strings.Contains(strings.NewReplacer(" ", "", ".", "", "-", "").Replace(line), "6399800") {
		s.T.Errorf("the gate logs a number: %.500s", line)
	}
}
