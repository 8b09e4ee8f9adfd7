package acceptance_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/guest"
)

// theReference returns the reference that an answer shows.
func theReference(t *testing.T, a *stage.Answer) string {
	t.Helper()
	if a.Reference() == "" {
		t.Fatalf("%s answers %d without a reference: %s", a.Path(), a.StatusCode, a.Body)
	}
	return a.Reference()
}

// lastReference returns the reference of the last line with a message.
func lastReference(t *testing.T, w *stage.Stage, msg string) string {
	t.Helper()
	got := w.Entries(msg)
	if len(got) == 0 {
		t.Fatalf("%s is not logged", msg)
	}
	return got[len(got)-1].Reference
}

func TestOneAttemptHasOneReferenceFromItsStartToThePageThatExplainsItsEnd(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(onLoggedPaths)
	visitor := w.Visitor()
	refused := visitor.Verify("/account/", "06 39 98 00 02")
	want := lastReference(t, w, "attempt started")
	for where, got := range map[string]string{
		"the log of its end":            lastReference(t, w, "not verified"),
		"the form that it ends on":      theReference(t, refused),
		"the form, opened later":        theReference(t, visitor.Open("/.number-verify/")),
		"the same in French":            theReference(t, visitor.Open("/.number-verify/", "Accept-Language: fr")),
		"the site's scripts":            theReference(t, visitor.Fetch("/account/")),
		"a script that asks for status": theReference(t, visitor.Fetch("/.number-verify/status")),
	} {
		if got != want {
			t.Errorf("%s: %q, want %q", where, got, want)
		}
	}
	waiting := w.Visitor()
	page := waiting.Follow(waiting.Start("/account/", "06 39 98 00 09"))
	if got, want := theReference(t, page), lastReference(t, w, "attempt started"); got != want {
		t.Errorf("the wait page shows %q, want %q", got, want)
	}
}

func TestReferenceOfABurnedAttemptStandsOnEachPageAboutIt(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(onLoggedPaths)
	visitor := w.Visitor()
	callback := visitor.Callback("/account/", "06 39 98 00 01")
	want := lastReference(t, w, "attempt started")
	other := w.Visitor()
	for who, a := range map[string]*stage.Answer{"who came back": other.ArriveFrom(callback), "whose it was": visitor.ArriveFrom(callback)} {
		if a.Code() != "browser_mismatch" || theReference(t, a) != want {
			t.Errorf("%s sees %q with %q, want %q", who, a.Code(), a.Reference(), want)
		}
	}
	for _, msg := range []string{"attempt burned", "visitor refused"} {
		if got := lastReference(t, w, msg); got != want {
			t.Errorf("%s: %q, want %q", msg, got, want)
		}
	}
}

func TestRefusalIsLoggedWithTheReferenceThatTheVisitorSees(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(onLoggedPaths)
	ready := func() *stage.Visitor {
		v := w.Visitor()
		v.Open("/.number-verify/")
		return v
	}
	asScript := []string{"Accept: application/json", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}
	for _, c := range []struct {
		name, msg string
		do        func() *stage.Answer
	}{
		{"a wrong number", "visitor refused", func() *stage.Answer { return ready().Press("12", "/") }},
		{"a wrong number, by a script", "visitor refused", func() *stage.Answer {
			return ready().Post("/.number-verify/start", url.Values{"number": {"12"}}, asScript...)
		}},
		{"no cookie", "visitor refused", func() *stage.Answer { return w.Visitor().Press("06 39 98 00 01", "/") }},
		{"an unknown callback", "visitor refused", func() *stage.Answer {
			return ready().ArriveFrom("/.number-verify/callback?state=" + strings.Repeat("A", 43))
		}},
		{"a wait page that is none", "visitor refused", func() *stage.Answer { return ready().ArriveFrom("/.number-verify/wait/x") }},
		{"a number that nobody knows", "visitor refused", func() *stage.Answer { return w.Visitor().Open("/known/") }},
		{"the same by a script", "visitor refused", func() *stage.Answer { return w.Visitor().Fetch("/known/") }},
		{"spent credits", "verification failed", func() *stage.Answer { return ready().Press("06 39 98 00 14", "/") }},
		{"a limit", "start refused by a limit", func() *stage.Answer {
			v := ready()
			v.Press("06 39 98 00 01", "/account/1")
			return v.Press("06 39 98 00 01", "/account/2")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if shown, logged := theReference(t, c.do()), lastReference(t, w, c.msg); shown != logged {
				t.Errorf("shown %q, logged %q", shown, logged)
			}
		})
	}
	if one, other := w.Visitor().Fetch("/account/"), w.Visitor().Fetch("/account/"); theReference(t, one) == theReference(t, other) {
		t.Error("two strangers have one reference")
	}
	for _, page := range []string{"/.number-verify/other", "/.number-verify/problem/busy?reference=%3Cb%3Exxxxx", "/.number-verify/problem/busy?reference=k7q2m9px"} {
		if a := w.Visitor().Open(page); strings.Contains(strings.ToLower(a.Body), "xxxxx") || strings.EqualFold(a.Reference(), "k7q2m9px") {
			t.Errorf("%s shows %q", page, a.Reference())
		}
	}
}

func TestFailedVerificationIsLoggedWithItsAttemptAndNoEmptyField(t *testing.T) {
	noLink := false
	w := stage.New(t, simulator.Options{OperatorURL: func(operator, _, _ string) string {
		if noLink {
			return "javascript:"
		}
		return operator
	}})
	w.Load(onLoggedPaths)
	w.Visitor().Verify("/account/", "06 39 98 00 03")
	w.Visitor().Start("/account/", "06 39 98 00 14")
	noLink = true
	w.Visitor().Start("/account/", "06 39 98 00 01")
	got := w.Entries("verification failed")
	if len(got) != 3 {
		t.Fatalf("logged: %+v", got)
	}
	for _, e := range got {
		if e.Attempt == "" || e.Reference == "" || e.Client != "127.0.0.0/24" {
			t.Errorf("logged: %+v", e)
		}
	}
	for line := range strings.Lines(w.Log()) {
		if strings.Contains(line, `"verification failed"`) && strings.Contains(line, `:""`) {
			t.Errorf("an empty field: %s", line)
		}
	}
}

func TestReferenceOfAFailingCacheStandsInTheLog(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(onFlaky)
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	guest.CacheIsDown.Store(true)
	t.Cleanup(func() { guest.CacheIsDown.Store(false) })
	for name, open := range map[string]func() *stage.Answer{
		"page": func() *stage.Answer { return visitor.Open("/account/") }, "script": func() *stage.Answer { return visitor.Fetch("/account/") },
		"form": func() *stage.Answer { return visitor.Open("/.number-verify/") }, "status": func() *stage.Answer { return visitor.Fetch("/.number-verify/status") },
	} {
		a := open()
		if shown, logged := theReference(t, a), lastReference(t, w, "session lookup failed"); shown != logged || a.Code() != "cache_unavailable" {
			t.Errorf("%s: %q, shown %q, logged %q", name, a.Code(), shown, logged)
		}
	}
	if shown, logged := theReference(t, visitor.SignOut()), lastReference(t, w, "sign-out failed"); shown != logged {
		t.Errorf("sign-out: shown %q, logged %q", shown, logged)
	}
}

func TestErrorPagesOfASiteGetTheReference(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
		number_verify /account* {
			public_url http://SITE
			number {http.request.header.X-User-Phone}
			pass_errors
			VERIFIER
		}
		handle_errors {
			respond "{http.number_verify.code} {http.number_verify.reference}"
		}
		reverse_proxy UPSTREAM
	}`)
	a := w.Visitor().Fetch("/account/")
	if want := "number_unknown " + lastReference(t, w, "visitor refused"); a.StatusCode != http.StatusForbidden || a.Body != want {
		t.Errorf("%d %q, want %q", a.StatusCode, a.Body, want)
	}
}

// The log file says what there is to remember.
func TestWhatWasLoggedOfAReferenceIsRecalledAfterAReload(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(onLoggedPaths)
	for _, number := range []string{"06 39 98 00 01", "06 39 98 00 02", "06 39 98 00 03", "06 39 98 00 14"} {
		w.Visitor().Verify("/account/", number)
	}
	w.Visitor().Press("12", "/")
	w.Load(onLoggedPaths)
	logged := make(map[string][]string)
	for text := range strings.Lines(w.Log()) {
		var line struct{ Reference, Msg string }
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line.Reference != "" {
			logged[line.Reference] = append(logged[line.Reference], line.Msg)
		}
	}
	if len(logged) != 5 {
		t.Errorf("%d references are logged: %v", len(logged), logged)
	}
	for reference, want := range logged {
		var got []string
		for _, recalled := range journal.Recall(reference) {
			var line struct{ Message string }
			if err := json.Unmarshal(recalled, &line); err != nil {
				t.Fatal(err)
			}
			got = append(got, line.Message)
			if found := w.Secrets.In(recalled); len(found) > 0 {
				t.Errorf("remembered: %v", found)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("of %s %q is recalled, and %q logged", reference, got, want)
		}
	}
}

func TestMistakeIsRecalledThatTheLogHasDropped(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LogLevel = "ERROR"
	w.Load(onLoggedPaths)
	reference := theReference(t, w.Visitor().Press("12", "/"))
	if lines := journal.Recall(reference); len(lines) != 1 || !strings.Contains(string(lines[0]), `"code":"cookies_required"`) {
		t.Errorf("recalled: %s", lines)
	}
	if w.Logged(reference) != 0 {
		t.Error("the log has it too")
	}
}
