package acceptance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/test/manual"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

// auditField is a row of the schema in docs/audit.md.
type auditField struct{ kind, standsIn string }

const inEveryLine = "every line"

// auditSchema reads a table of docs/audit.md.
func auditSchema(t *testing.T, heading string) map[string]auditField {
	t.Helper()
	schema := make(map[string]auditField)
	for _, row := range manual.Rows(manual.Section(t, manual.Page(t, "docs/audit.md"), heading)) {
		schema[strings.Trim(row[0], "`")] = auditField{row[1], row[2]}
	}
	if len(schema) < 5 {
		t.Fatalf("docs/audit.md has no schema under %s", heading)
	}
	return schema
}

// auditLines returns the lines of the audit in a log, with a message.
func auditLines(t *testing.T, log, msg string) (lines []map[string]any) {
	t.Helper()
	for text := range strings.Lines(log) {
		line := make(map[string]any)
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if line["logger"] == stage.AuditLogger && line["msg"] == msg {
			lines = append(lines, line)
		}
	}
	return lines
}

// hasKind tells whether a value of a line is of the type that the schema tells.
func hasKind(kind string, value any) bool {
	switch v := value.(type) {
	case string:
		return kind == "text" && v != ""
	case bool:
		return kind == "true" && v
	case float64:
		return v >= 0 && (kind == "seconds" || (kind == "integer" && v == float64(int64(v))))
	default:
		return false
	}
}

// fits compares a line with the schema: it must have the fields that stand in every
// line and these, and no others.
func fits(t *testing.T, schema map[string]auditField, line map[string]any, besides ...string) {
	t.Helper()
	want := slices.Clone(besides)
	for name, field := range schema {
		if field.standsIn == inEveryLine {
			want = append(want, name)
		}
	}
	for name, value := range line {
		if field, ok := schema[name]; ok && !hasKind(field.kind, value) {
			t.Errorf("%s is %v, and should be %s", name, value, field.kind)
		}
	}
	own := []string{"level", "ts", "logger", "msg"}
	got := slices.DeleteFunc(slices.Sorted(maps.Keys(line)), func(name string) bool { return slices.Contains(own, name) })
	slices.Sort(want)
	if !slices.Equal(got, want) || line["level"] != "info" {
		t.Errorf("a line at %v has\n%v, want\n%v", line["level"], got, want)
	}
}

const onAuditedPaths = `http://SITE {
	number_verify /account* {
		public_url http://SITE
		result_wait 3s
		VERIFIER
	}
	number_verify /short* {
		public_url http://SITE
		path /short/nv
		attempt_ttl 1s
		VERIFIER
	}
	reverse_proxy UPSTREAM
}`

func TestAuditHasALineOfTheSchemaForEachAttemptThatEnds(t *testing.T) {
	w := stage.New(t, simulator.Options{PendingFor: time.Second})
	w.Load(onAuditedPaths)
	schema := auditSchema(t, "## The end of an attempt")
	verify := func(number string) func(*stage.Visitor) {
		return func(v *stage.Visitor) { v.Verify("/account/", number) }
	}
	refused := []string{"code", "operator", "method", "at_operator", "result"}
	for _, c := range []struct {
		name, outcome string
		besides       []string
		do            func(*stage.Visitor)
	}{
		{"01", "verified", []string{"operator", "method", "at_operator", "result", "session"}, verify("06 39 98 00 01")},
		{"02", "number_mismatch", refused, verify("06 39 98 00 02")},
		{"03", "access_denied", refused, verify("06 39 98 00 03")},
		{"04", "verified", []string{"operator", "method", "at_operator", "result", "session"}, verify("06 39 98 00 04")},
		{"05", "number_unsupported", []string{"code"}, verify("06 39 98 00 05")},
		{"06", "operator_unavailable", []string{"code"}, verify("06 39 98 00 06")},
		{"07", "number_unsupported", []string{"code"}, verify("06 39 98 00 07")},
		{"08", "operator_unavailable", refused, verify("06 39 98 00 08")},
		{"09", "result_timeout", refused, verify("06 39 98 00 09")},
		{"10", "", nil, func(v *stage.Visitor) { v.Open(v.Link("/account/", "06 39 98 00 10")) }},
		{"11", "number_mismatch", refused, verify("06 39 98 00 11")},
		{"12", "provider_unavailable", refused, verify("06 39 98 00 12")},
		{"13", "attempt_expired", refused, verify("06 39 98 00 13")},
		{"14", "provider_misconfigured", []string{"code"}, verify("06 39 98 00 14")},
		{"burned", "browser_mismatch", []string{"code", "operator", "method", "at_operator"}, func(v *stage.Visitor) {
			w.Visitor().ArriveFrom(v.Callback("/account/", "06 39 98 00 20"))
		}},
		{"too late", "attempt_expired", []string{"code", "operator", "method", "at_operator"}, func(v *stage.Visitor) {
			v.Open("/short/nv/")
			start := v.Post("/short/nv/start", url.Values{"number": {"06 39 98 00 22"}, "return": {"/short/"}})
			callback := v.Open(start.Location()).Location()
			late := time.Now().Add(time.Second)
			wait.Until(t, "the attempt is late", func() bool { return time.Now().After(late) })
			v.ArriveFrom(callback)
		}},
		{"left, and signed out", "", nil, func(v *stage.Visitor) {
			v.Link("/account/", "06 39 98 00 21")
			v.SignOut()
		}},
		{"a mistake", "", nil, func(v *stage.Visitor) {
			v.Open("/.number-verify/")
			v.Press("12", "/account/")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(auditLines(t, w.Log(), "attempt ended"))
			c.do(w.Visitor())
			got := auditLines(t, w.Log(), "attempt ended")[before:]
			if c.outcome == "" {
				if len(got) != 0 {
					t.Errorf("written: %v", got)
				}
				return
			}
			if len(got) != 1 {
				t.Fatalf("written: %v", got)
			}
			line := got[0]
			fits(t, schema, line, c.besides...)
			if line["outcome"] != c.outcome || (line["code"] != nil && line["code"] != c.outcome) {
				t.Errorf("outcome %v, code %v, want %s", line["outcome"], line["code"], c.outcome)
			}
			if line["verifier"] != "dqe" || line["realm"] != "127.0.0.1" || line["country"] != "FR" || line["client"] != "127.0.0.0/24" {
				t.Errorf("%v", line)
			}
		})
	}
	for _, e := range w.Entries("attempt ended") {
		if e.Logger != stage.AuditLogger {
			t.Errorf("%s has it as well", e.Logger)
		}
	}
}

func TestAuditTellsTheTimeOfEachLeg(t *testing.T) {
	w := stage.New(t, simulator.Options{PendingFor: time.Second})
	w.Load(onAuditedPaths)
	w.Visitor().Verify("/account/", "06 39 98 00 04") // pending for some seconds
	line := auditLines(t, w.Log(), "attempt ended")[0]
	seconds := func(name string) float64 { value, _ := line[name].(float64); return value }
	sum := seconds("to_operator") + seconds("at_operator") + seconds("result")
	if total := seconds("total"); total < sum-0.01 || total > sum+0.01 || seconds("result") < 0.9 || seconds("at_operator") > seconds("result") {
		t.Errorf("the legs: %v", line)
	}
}

// Who has the lines alone must not find a number in them, not even by trying all.
func TestAuditNamesANumberByAHashThatNeedsTheSecret(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	hashes := make(map[string][]string) // of each secret
	for _, secret := range []string{"the first secret of two", "the second secret of two"} {
		w.Load(`http://SITE {
			number_verify /account* {
				public_url http://SITE
				cache bolt ` + filepath.Join(t.TempDir(), "number-verify.db") + ` {
					secret "` + secret + `"
				}
				VERIFIER
			}
			reverse_proxy UPSTREAM
		}`)
		before := len(auditLines(t, w.Log(), "attempt ended"))
		for _, number := range []string{"06 39 98 00 01", "+33 6 39 98 00 01", "06 39 98 00 02"} {
			w.Visitor().Verify("/account/", number)
		}
		for _, line := range auditLines(t, w.Log(), "attempt ended")[before:] {
			hash, _ := line["number_hash"].(string)
			hashes[secret] = append(hashes[secret], hash)
		}
	}
	one, other := hashes["the first secret of two"], hashes["the second secret of two"]
	if len(one) != 3 || len(other) != 3 || one[0] != one[1] || one[0] == one[2] || one[0] == other[0] {
		t.Errorf("%v", hashes)
	}
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(one[0]) {
		t.Errorf("%q", one[0])
	}
}

func TestAuditNamesTheTextThatThePageHasShown(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	folder := t.TempDir()
	load := func(more string) {
		w.Load(strings.NewReplacer("attempt_ttl 1s", "attempt_ttl 1s\n"+more).Replace(onAuditedPaths))
	}
	shown := regexp.MustCompile(`data-texts="((?:en|fr)-[0-9a-f]{12})"`)
	seen := make(map[string]string) // what was configured, by version
	for i, c := range []struct{ name, more, language string }{
		{"as built in", "", "en"}, {"in French", "", "fr"}, {"a brand", `brand "Example"`, "en"},
		{"a notice", "privacy_url /privacy", "en"}, {"another time", "session_ttl 1h", "en"}, {"a template", "pages " + folder, "en"},
	} {
		if c.name == "a template" {
			page := `{{define "content"}}<p>We ask for your number.</p>{{template "builtin" .}}{{end}}`
			if err := os.WriteFile(filepath.Join(folder, "form.html"), []byte(page), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		load(c.more)
		visitor := w.Visitor()
		language := "Accept-Language: " + c.language
		m := shown.FindStringSubmatch(visitor.Open("/short/nv/", language).Body)
		if m == nil {
			t.Fatalf("%s: the page does not say its version", c.name)
		}
		if earlier, ok := seen[m[1]]; ok || !strings.HasPrefix(m[1], c.language) {
			t.Errorf("%s has the version %s, as %q", c.name, m[1], earlier)
		}
		seen[m[1]] = c.name
		visitor.Arrive(visitor.Post("/short/nv/start", url.Values{"number": {fmt.Sprintf("06 39 98 01 0%d", i)}, "return": {"/short/"}}, language))
		lines := auditLines(t, w.Log(), "attempt ended")
		if got := lines[len(lines)-1]["texts"]; got != m[1] {
			t.Errorf("%s: the audit names %v, the page %s", c.name, got, m[1])
		}
		load(c.more) // the same again
		if again := shown.FindStringSubmatch(w.Visitor().Open("/short/nv/", language).Body); again == nil || again[1] != m[1] {
			t.Errorf("%s: after a reload the page says %v, before %s", c.name, again, m[1])
		}
	}
}

// The stage itself searches logs and pages for numbers, tokens, nonces and cookies.
func TestNoLineOfTheGateHoldsTheAddressOfAClient(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith(`servers {
		trusted_proxies static 127.0.0.1/32
	}`, onLoggedPaths)
	const address = "X-Forwarded-For: 192.0.2.77"
	for _, number := range []string{"06 39 98 00 01", "06 39 98 00 01", "06 39 98 00 02", "06 39 98 00 14", "12"} {
		v := w.Visitor()
		v.Open("/.number-verify/", address)
		started := v.Post("/.number-verify/start", url.Values{"number": {number}, "return": {"/account/"}}, address)
		if strings.Contains(started.Location(), "/operator/") {
			started = v.Open(v.Open(started.Location()).Location(), address)
		}
		if strings.Contains(started.Body, "192.0.2.77") {
			t.Errorf("a page shows it: %s", started.Body)
		}
	}
	lines := 0
	for text := range strings.Lines(w.Log()) {
		if !strings.Contains(text, `number_verify`) || !strings.Contains(text, `192.0.2.0/24`) {
			continue
		}
		lines++
		if strings.Contains(text, "192.0.2.77") {
			t.Errorf("logged: %s", text)
		}
		var line struct{ Reference string }
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		for _, recalled := range journal.Recall(line.Reference) {
			if strings.Contains(string(recalled), "192.0.2.77") || len(w.Secrets.In(recalled)) > 0 {
				t.Errorf("remembered: %s", recalled)
			}
		}
	}
	if lines < 10 {
		t.Errorf("only %d lines are about that client", lines)
	}
}

func TestActsOfWhoRunsTheSiteStandInTheAudit(t *testing.T) {
	var log bytes.Buffer
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{LevelKey: "level", TimeKey: "ts", NameKey: "logger", MessageKey: "msg", EncodeLevel: zapcore.LowercaseLevelEncoder, EncodeTime: zapcore.EpochTimeEncoder})
	j := journal.New(zap.NewNop())
	j.Audit(zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&log), zapcore.InfoLevel)).Named(stage.AuditLogger).With(zap.String("verifier", "dqe")),
		func(e164 string) string { return "hash of " + e164[len(e164)-2:] })
	j.Revoked(t.Context(), journal.Act{Number: "+33639980001", Sessions: 2})
	j.Revoked(t.Context(), journal.Act{Session: "a1b2c3d4e5f6", Sessions: 1})
	j.Revoked(t.Context(), journal.Act{Session: "336399800001", Sessions: 0}) // a number without its plus
	j.Revoked(t.Context(), journal.Act{Realm: "*.example.com", Sessions: -1})
	j.Revoked(t.Context(), journal.Act{Sessions: -1, Failed: true})
	j.Searched(t.Context(), journal.Act{Number: "+33639980001", Sessions: 1})
	if strings.Contains(log.String(), "3998000") {
		t.Errorf("a number: %s", &log)
	}
	schema := auditSchema(t, "## An act of somebody who runs the site")
	lines := append(auditLines(t, log.String(), "sessions revoked"), auditLines(t, log.String(), "sessions searched")...)
	for i, want := range []struct {
		scope   string
		what    any
		besides []string
	}{
		{"number", "+33 6 •• •• •• 01", []string{"what", "number_hash", "sessions"}}, {"session", "a1b2c3d4e5f6", []string{"what", "sessions"}},
		{"session", nil, []string{"sessions"}},
		{"realm", "*.example.com", []string{"what"}}, {"all", nil, []string{"failed"}},
		{"number", "+33 6 •• •• •• 01", []string{"what", "number_hash", "sessions"}},
	} {
		if lines[i]["scope"] != want.scope || lines[i]["what"] != want.what {
			t.Errorf("%v, want %s %v", lines[i], want.scope, want.what)
		}
		fits(t, schema, lines[i], want.besides...)
	}
}
