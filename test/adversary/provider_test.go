package adversary

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// twist answers in the provider's place, who would have said honest.
type twist func(w http.ResponseWriter, r *http.Request, honest string)

// lie is an answer of the provider that is wrong in one way.
type lie struct {
	vector
	twist twist
	// code is what the visitor is told; "" where he is verified all the same.
	code string
}

// The kinds of mistakes that lies imitate.
const (
	wrongType   = "an answer whose fields are of another type, there twice, or not there"
	almostTrue  = "a yes that is read into something else (a switch without a default)"
	noAnswer    = "an answer that is none: HTML, nothing, half of one"
	endless     = "exhaustion: an answer that is too large, or never ends"
	elsewhere   = "CVE-2025-4673 (Go) and its kind: a redirect that takes the secret along"
	badTLS      = "a provider that cannot prove who it is"
	badLink     = "an operator's address that is a script, another place, or a secret"
	badOperator = "text of the provider that reaches a header, a page, a log"
)

const unavailable = "provider_unavailable"

// liar is a provider who lies in one call.
type liar struct {
	*simulator.Simulator
	mu    sync.Mutex
	lies  map[string]twist // by call
	about map[string]twist // results, by token
}

var callOf = map[string]string{"/ACCESS_TOKEN/": "token", "/IDMOBILE/": "start", "/GET/": "result"}

// ServeHTTP implements http.Handler.
func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call, ok := callOf[r.URL.Path]
	if !ok {
		l.Simulator.ServeHTTP(w, r)
		return
	}
	honest := httptest.NewRecorder()
	l.Simulator.ServeHTTP(honest, r)
	l.mu.Lock()
	tell, token := l.lies[call], r.Form.Get("token")
	switch call {
	case "start":
		l.about[token] = l.lies["result"]
	case "result":
		tell = l.about[token]
	}
	l.mu.Unlock()
	if tell != nil {
		tell(w, r, honest.Body.String())
		return
	}
	for name, values := range honest.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(honest.Code)
	_, _ = honest.Body.WriteTo(w)
}

// tells has the provider lie in that call from now on; nil: no longer. What is
// told of a result is decided when its attempt starts.
func (l *liar) tells(call string, tell twist) {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.lies)
	l.lies[call] = tell
}

func newLiar() *liar {
	return &liar{Simulator: simulator.New(simulator.Options{}), lies: make(map[string]twist), about: make(map[string]twist)}
}

// says answers with that text.
func says(text string) twist {
	return func(w http.ResponseWriter, _ *http.Request, _ string) { _, _ = io.WriteString(w, text) }
}

// saysWith answers with a status, and with what is right.
func saysWith(status int) twist {
	return func(w http.ResponseWriter, _ *http.Request, honest string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, honest)
	}
}

// has puts another value, in JSON, into a field of the honest answer; "" takes it
// away.
func has(field, value string) twist {
	return func(w http.ResponseWriter, _ *http.Request, honest string) {
		var fields map[string]json.RawMessage
		_ = json.Unmarshal([]byte(honest), &fields)
		delete(fields, field)
		if value != "" {
			fields[field] = json.RawMessage(value)
		}
		text, _ := json.Marshal(fields)
		_, _ = w.Write(text)
	}
}

// wrongValues are no text that a field may have.
var wrongValues = map[string]string{
	"not there": "", "null": "null", "empty": `""`, "a number": "1", "a boolean": "false", "a list": `["x"]`, "an object": `{"x":"y"}`,
}

// bodies are answers that are wrong in every call.
func bodies(call string, off *elsewhereServer) []lie {
	all := []lie{
		{vector{"HTML", noAnswer}, says("<!doctype html><h1>Maintenance</h1>"), unavailable},
		{vector{"nothing", noAnswer}, says(""), unavailable},
		{vector{"blanks", noAnswer}, says("  \n "), unavailable},
		{vector{"half an answer", noAnswer}, func(w http.ResponseWriter, _ *http.Request, honest string) {
			_, _ = io.WriteString(w, honest[:len(honest)/2])
		}, unavailable},
		{vector{"a list", noAnswer}, func(w http.ResponseWriter, _ *http.Request, honest string) { _, _ = io.WriteString(w, "["+honest+"]") }, unavailable},
		{vector{"a text", noAnswer}, says(`"success"`), unavailable},
		{vector{"null", noAnswer}, says("null"), unavailable},
		{vector{"two answers", noAnswer}, func(w http.ResponseWriter, _ *http.Request, honest string) { _, _ = io.WriteString(w, honest+honest) }, unavailable},
		{vector{"an answer and more", noAnswer}, func(w http.ResponseWriter, _ *http.Request, honest string) { _, _ = io.WriteString(w, honest+" x") }, unavailable},
		{vector{"UTF-16", noAnswer}, says("\xff\xfe{\x00\"\x00}\x00"), unavailable},
		{vector{"an answer with two statuses", wrongType}, func(w http.ResponseWriter, _ *http.Request, honest string) {
			_, _ = io.WriteString(w, `{"status":"error",`+strings.TrimPrefix(honest, "{"))
		}, unavailable},
		{vector{"an unknown error", wrongType}, says(`{"status":"error","error_id":"77"}`), unavailable},
		{vector{"an error without an id", wrongType}, says(`{"status":"error"}`), unavailable},
		{vector{"an error id that is a list", wrongType}, has("error_id", `["20"]`), unavailable},
		{vector{"an error id that is a long text", wrongType}, has("error_id", `"`+strings.Repeat("9", 1000)+`"`), unavailable},
		{vector{"an error id beside success", wrongType}, has("error_id", `"99"`), unavailable},
		{vector{"a status that is a number", wrongType}, has("status", "1"), unavailable},
		{vector{"a status that is a list", wrongType}, has("status", `["success"]`), unavailable},
		{vector{"100,000 brackets", endless}, says(strings.Repeat("[", 100_000)), unavailable},
		{vector{"brackets within", endless}, says(`{"status":` + strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000) + "}"), unavailable},
		{vector{"50 MB", endless}, flood("", " "), unavailable},
		{vector{"50 MB in one text", endless}, flood(`{"operator":"`, "a"), unavailable},
		{vector{"50 MB in a few bytes", endless}, bomb, unavailable},
		{vector{"a byte in a second", endless}, drip, unavailable},
		{vector{"no answer", endless}, func(_ http.ResponseWriter, r *http.Request, _ string) { <-r.Context().Done() }, unavailable},
		{vector{"headers of 2 MB", endless}, func(w http.ResponseWriter, _ *http.Request, honest string) {
			for i := range 2000 {
				w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("a", 1000))
			}
			_, _ = io.WriteString(w, honest)
		}, unavailable},
		{vector{"a connection that is reset", noAnswer}, hangUp(""), unavailable},
		{vector{"a connection that is reset within", noAnswer}, hangUp("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"status\""), unavailable},
		{vector{"a length that is too short", noAnswer}, hangUp("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{\"status\":\"success\"}"), unavailable},
		{vector{"two lengths", noAnswer}, hangUp("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), unavailable},
		{vector{"chunks that are none", noAnswer}, hangUp("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), unavailable},
		{vector{"no HTTP", noAnswer}, hangUp("SSH-2.0-OpenSSH\r\n"), unavailable},
		{vector{"informational answers for ever", endless}, hangUp(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 1000)), unavailable},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		all = append(all, lie{vector{fmt.Sprint("a redirect by ", status), elsewhere}, func(w http.ResponseWriter, r *http.Request, _ string) {
			http.Redirect(w, r, off.URL+r.URL.Path, status)
		}, unavailable})
	}
	for _, status := range []int{204, 304, 401, 403, 404, 418, 429, 502, 503} {
		all = append(all, lie{vector{fmt.Sprint("what is right, as ", status), noAnswer}, saysWith(status), unavailable})
	}
	for i := range all {
		all[i].name = call + ": " + all[i].name
	}
	return all
}

func flood(begin, with string) twist {
	return func(w http.ResponseWriter, _ *http.Request, _ string) {
		_, _ = io.WriteString(w, begin)
		megabyte := strings.Repeat(with, 1<<20)
		for range 50 {
			if _, err := io.WriteString(w, megabyte); err != nil {
				return
			}
		}
		swallowed.Add(1)
	}
}

// swallowed counts answers of 50 MB that somebody has read to their end.
var swallowed atomic.Int64

// bomb unpacks to 50 MB.
func bomb(w http.ResponseWriter, _ *http.Request, _ string) {
	w.Header().Set("Content-Encoding", "gzip")
	packed := gzip.NewWriter(w)
	for range 50 {
		if _, err := io.WriteString(packed, strings.Repeat(" ", 1<<20)); err != nil {
			return
		}
	}
	_ = packed.Close()
}

func drip(w http.ResponseWriter, r *http.Request, honest string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range honest {
		_, _ = io.WriteString(w, honest[i:i+1])
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// hangUp sends bytes and closes the connection.
func hangUp(text string) twist {
	return func(w http.ResponseWriter, _ *http.Request, _ string) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, text)
		_ = conn.Close()
	}
}

// elsewhereServer notes who comes.
type elsewhereServer struct {
	*httptest.Server
	visits atomic.Int64
}

func newElsewhere(t *testing.T) *elsewhereServer {
	e := &elsewhereServer{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { e.visits.Add(1) }))
	t.Cleanup(e.Close)
	return e
}

// startLies are those of the token call and of the start call.
func startLies(off *elsewhereServer) map[string][]lie {
	token, start := bodies("token", off), bodies("start", off)
	for name, value := range wrongValues {
		token = append(token, lie{vector{"token: access_token is " + name, wrongType}, has("access_token", value), unavailable})
		start = append(start, lie{vector{"start: url is " + name, wrongType}, has("url", value), unavailable})
		if name != "not there" && name != "null" && name != "empty" {
			start = append(start, lie{vector{"start: operator is " + name, wrongType}, has("operator", value), unavailable})
		}
	}
	for _, value := range []string{`"soon"`, "-5", `"NaN"`, "1e300", "null", `[1]`, "{}"} {
		token = append(token, lie{vector{"token: expires_in is " + value, wrongType}, has("expires_in", value), ""})
	}
	for _, value := range []string{`"pending"`, `"Success"`, `"successful"`, `""`} {
		start = append(start, lie{vector{"start: status is " + value, almostTrue}, has("status", value), unavailable})
	}
	for id, code := range map[string]string{
		"09": "number_unsupported", "10": "number_invalid", "11": "number_invalid", "12": "operator_unavailable", "13": "number_unsupported",
		"15": "number_unsupported", "16": "operator_unavailable", "17": "number_unsupported", "99": unavailable, "00": unavailable,
	} {
		start = append(start, lie{vector{"start: error " + id, almostTrue}, says(`{"status":"success","url":"http://evil.example/","operator":"SFR","error_id":"` + id + `"}`), code})
	}
	return map[string][]lie{"token": token, "start": append(start, badLinks()...)}
}

// badLinks are addresses of the operator that no visitor may be sent to.
func badLinks() []lie {
	link := func(name string, address func(honest string) string) lie {
		return lie{vector{"start: " + name, badLink}, func(w http.ResponseWriter, r *http.Request, honest string) {
			var answer struct{ URL string }
			_ = json.Unmarshal([]byte(honest), &answer)
			value, _ := json.Marshal(address(answer.URL))
			has("url", string(value))(w, r, honest)
		}, unavailable}
	}
	secret := func(name, parameter string, spelled func(string) string) lie {
		return lie{vector{"start: " + name, badLink}, func(w http.ResponseWriter, r *http.Request, honest string) {
			value := r.Form.Get(parameter)
			if u, err := url.Parse(value); err == nil && u.Query().Has("state") {
				value = u.Query().Get("state")
			}
			has("url", fmt.Sprintf("%q", "https://operator.example/"+spelled(value)))(w, r, honest)
		}, unavailable}
	}
	percent := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, "%%%02X", s[i])
		}
		return b.String()
	}
	in := func(encode func(string) string) func(string) string {
		return func(s string) string { return "?x=" + encode(s) }
	}
	plain := func(s string) string { return s }
	all := []lie{
		secret("the nonce in the link", "redirect_uri", in(plain)),
		secret("the nonce in the link's path", "redirect_uri", plain),
		secret("the nonce in the link's fragment", "redirect_uri", func(s string) string { return "#" + s }),
		secret("the nonce in the link, encoded", "redirect_uri", in(percent)),
		secret("the nonce in the link, encoded twice", "redirect_uri", in(func(s string) string { return url.QueryEscape(percent(s)) })),
		secret("the nonce in the link, in base64", "redirect_uri", in(func(s string) string { return base64.StdEncoding.EncodeToString([]byte("a" + s)) })),
		secret("the nonce in the link, in base64 for addresses", "redirect_uri", in(func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("ab" + s)) })),
		secret("the callback in the link, in base64", "redirect_uri", in(func(s string) string {
			return base64.RawURLEncoding.EncodeToString([]byte("http://x/callback?state=" + s))
		})),
		secret("the nonce in the link, in hexadecimal", "redirect_uri", in(func(s string) string { return hex.EncodeToString([]byte(s)) })),
		secret("the nonce in the link, in upper case hexadecimal", "redirect_uri", in(func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) })),
		secret("the token in the link", "token", in(plain)),
		secret("the token in the link, encoded", "token", in(percent)),
		secret("the token in the link, in base64", "token", in(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) })),
		link("a link that breaks its line", func(honest string) string { return honest + "\r\nSet-Cookie: number-verify=evil" }),
		link("a link with somebody's name", func(honest string) string { return strings.Replace(honest, "://", "://a:b@", 1) }),
		link("a link with a blank", func(honest string) string { return strings.Replace(honest, "://", ":// ", 1) }),
		link("a link with a backslash", func(honest string) string { return strings.Replace(honest, "://", ":\\\\", 1) }),
		link("a link with a backslash in its path", func(honest string) string { return honest + "\\evil" }),
		link("a link with a NUL", func(honest string) string { return honest + "\x00" }),
	}
	for name, address := range map[string]string{
		"a script": "javascript:alert(1)//", "a script in capitals": "JavaScript:alert(1)", "a script behind blanks": "  javascript:alert(1)",
		"data": "data:text/html,x", "a file": "file:///etc/passwd", "mail": "mailto:evil@evil.example", "a call": "tel:0639980001",
		"a path": "/evil", "a path of a host": "//evil.example/", "no scheme": "evil.example/x", "no host": "http:///x", "no slashes": "https:evil.example",
		"a port alone": "http://:80/", "a port that is none": "http://evil.example:x/", "a scheme that nobody knows": "gopher://evil.example/",
		"blanks": "   ", "9 kB": "https://operator.example/" + strings.Repeat("a", 9<<10), "an open bracket": "http://[::1/", "a broken encoding": "http://%zz/",
	} {
		all = append(all, link(name+" as the link", func(string) string { return address }))
	}
	return all
}

func TestHostileAnswersToStarts(t *testing.T) {
	provider, off := newLiar(), newElsewhere(t)
	s := newSiteOf(t, account, provider)
	for call, lies := range startLies(off) {
		attack(t, "Hostile answers of the provider", lies, func(t *testing.T, l lie) {
			provider.tells(call, l.twist)
			v, began := s.VisitorAt(t, s.Origin(stage.HTTP11)), time.Now()
			a := begin(v, stage.TypedNumber, "/account/")
			provider.tells(call, nil)
			if l.code == "" {
				if a.StatusCode != http.StatusSeeOther {
					t.Errorf("answers %d %q", a.StatusCode, a.Code())
				}
				return
			}
			if a.Code() != l.code || a.Location() != "" || a.StatusCode < 400 {
				t.Errorf("answers %d %q to %q, not %q", a.StatusCode, a.Code(), a.Location(), l.code)
			}
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("the visitor waits %v", took)
			}
			v.ArriveFrom("/account/")
			s.unverified(t)
		})
	}
	if off.visits.Load() > 0 {
		t.Errorf("%d requests of the gate went where the provider's redirects pointed", off.visits.Load())
	}
	if swallowed.Load() > 0 {
		t.Errorf("%d answers of 50 MB were read to their end", swallowed.Load())
	}
	s.verifiedAt(t, s.Origin(stage.HTTP11)) // all is well without lies
}

// resultLies are those of the result call. Most are asked again, so that all
// visitors come at once.
func resultLies(off *elsewhereServer) []lie {
	all := bodies("result", off)
	for value, code := range map[string]string{
		"true": "", `"true"`: "", `"True"`: "",
		"": "number_mismatch", "false": "number_mismatch", `"false"`: "number_mismatch", "null": "number_mismatch", "1": "number_mismatch", `"1"`: "number_mismatch",
		`"yes"`: "number_mismatch", `"TRUE"`: "number_mismatch", `" true"`: "number_mismatch", "[true]": "number_mismatch", `{"true":true}`: "number_mismatch", "1.0": "number_mismatch",
	} {
		all = append(all, lie{vector{"result: numVerify is " + value, almostTrue}, has("numVerify", value), code})
	}
	for _, value := range []string{"", "null", `""`, `"Success"`, `"SUCCESS"`, `" success"`, `"verified"`, `"true"`} {
		all = append(all, lie{vector{"result: status is " + value, almostTrue}, has("status", value), unavailable})
	}
	for id, code := range map[string]string{
		"18": "operator_unavailable", "20": "number_mismatch", "21": "access_denied", "30": "attempt_expired", "99": unavailable, "0": unavailable, "-1": unavailable, "1e1": unavailable,
	} {
		all = append(all, lie{vector{"result: error " + id + " beside a yes", almostTrue}, has("error_id", id), code})
		all = append(all, lie{vector{"result: error " + id + " as text, beside a yes", almostTrue}, has("error_id", `"`+id+`"`), code})
	}
	return append(all,
		lie{vector{"result: the yes in another letter case", almostTrue}, says(`{"status":"success","NUMVERIFY":true}`), "number_mismatch"},
		lie{vector{"result: a no and a yes", almostTrue}, says(`{"status":"success","numVerify":false,"numVerify":true}`), unavailable},
		lie{vector{"result: a yes and a no", almostTrue}, says(`{"status":"success","numVerify":true,"numVerify":false}`), unavailable},
		lie{vector{"result: a yes within", almostTrue}, says(`{"status":"success","result":{"numVerify":true}}`), "number_mismatch"},
		lie{vector{"result: pending for ever", endless}, says(`{"status":"pending","scope":"numVerify"}`), "result_timeout"},
		lie{vector{"result: pending, with a yes", almostTrue}, says(`{"status":"pending","numVerify":true}`), "result_timeout"},
	)
}

func TestHostileAnswersForResults(t *testing.T) {
	provider, off := newLiar(), newElsewhere(t)
	s := newSiteOf(t, account, provider)
	type end struct {
		a    *stage.Answer
		took time.Duration
	}
	lies := resultLies(off)
	visitors, ends := make(map[string]*stage.Visitor), make(map[string]chan end)
	for _, l := range lies {
		provider.tells("result", l.twist)
		v := s.VisitorAt(t, s.Origin(stage.HTTP11))
		callback := v.Callback("/account/", stage.TypedNumber)
		ended := make(chan end, 1)
		visitors[l.name], ends[l.name] = v, ended
		go func() {
			began := time.Now()
			a := v.ArriveFrom(callback)
			ended <- end{a, time.Since(began)}
		}()
	}
	s.Upstream.Take()
	attack(t, "Hostile answers of the provider", lies, func(t *testing.T, l lie) {
		e := <-ends[l.name]
		if e.a.Code() != l.code || (l.code == "") != (e.a.Path() == "/account/") {
			t.Errorf("ends at %s with %d %q, not %q", e.a.Path(), e.a.StatusCode, e.a.Code(), l.code)
		}
		if e.took > 25*time.Second {
			t.Errorf("the visitor waits %v", e.took)
		}
	})
	s.Upstream.Take()
	for _, l := range lies {
		visitors[l.name].Open("/account/")
		if l.code != "" {
			s.unverified(t)
		} else if s.verified(t) != 1 {
			t.Errorf("%s: not verified", l.name)
		}
	}
	if off.visits.Load() > 0 {
		t.Errorf("%d requests of the gate went where the provider's redirects pointed", off.visits.Load())
	}
	if swallowed.Load() > 0 {
		t.Errorf("%d answers of 50 MB were read to their end", swallowed.Load())
	}
	for _, a := range provider.Attempts() {
		if a.Results > 30 || a.ConcurrentResults > 1 {
			t.Errorf("a result was asked for %d times, %d at once", a.Results, a.ConcurrentResults)
		}
	}
}

// operatorName is what the provider calls an operator.
type operatorName struct {
	vector
	name string
}

func TestOperatorNamesOfAdversaries(t *testing.T) {
	provider := newLiar()
	s := newSiteOf(t, account, provider)
	var names []operatorName
	for name, text := range map[string]string{
		"markup": `<script>evil()</script>`, "an attribute": `" onload="evil()`, "a header": "SFR\r\nX-Verified-Number: " + forged,
		"a line of the log": "SFR\n{\"level\":\"error\"}", "a NUL": "SFR\x00", "an escape": "\x1b[31mSFR\x1b[0m", "the other direction": "SFR\u202eevil",
		"10 kB": strings.Repeat("SFR ", 2500), "10 kB of two bytes": strings.Repeat("é", 5000), "a placeholder": "{env.ADVERSARY_SECRET}", "a template": "{{.Number}}",
		"line breaks of Unicode": "SFR\u2028\u2029\u0085", "blanks": "   ", "the value of a list": "SFR, " + forged, "a tab": "S\tFR", "a replacement": "\ufffd\ufffd",
	} {
		names = append(names, operatorName{vector{"operator: " + name, badOperator}, text})
	}
	attack(t, "Hostile answers of the provider", names, func(t *testing.T, n operatorName) {
		text, _ := json.Marshal(n.name)
		provider.tells("start", has("operator", string(text)))
		v := s.verifiedAt(t, s.Origin(stage.HTTP11))
		provider.tells("start", nil)
		s.Upstream.Take()
		v.Open("/account/")
		got := s.Upstream.Take()
		if len(got) != 1 {
			t.Fatalf("%d requests arrived", len(got))
		}
		values := got[0].Header["X-Verified-Operator"]
		if len(values) > 1 || len(values) == 1 && (len(values[0]) > 64 || strings.ContainsFunc(values[0], func(r rune) bool { return !unicode.IsPrint(r) })) {
			t.Errorf("the site reads %q", values)
		}
		if number := got[0].Header["X-Verified-Number"]; len(number) != 1 || number[0] != stage.VisitorsNumber {
			t.Errorf("the site reads the number %q", number)
		}
		for _, path := range []string{"/.number-verify/", "/.number-verify/status"} {
			if page := v.Open(path); strings.Contains(page.Body, "<script>") || strings.Contains(page.Body, secretOfSite) {
				t.Errorf("%s shows it: %s", path, page.Body)
			}
		}
	})
}

func TestOperatorHostsThatAreNotOnTheList(t *testing.T) {
	provider := newLiar()
	body := strings.Replace(account, "GATE", strings.Replace(gate, "timeout 2s", "timeout 2s\noperator_hosts operator.example *.operators.example", 1), 1)
	s := newSiteOf(t, body, provider)
	var lies []lie
	for host, code := range map[string]string{
		"operator.example": "", "a.operators.example": "", "OPERATOR.example": "", "operator.example:8443": "",
		"evil.example": unavailable, "operator.example.evil.example": unavailable, "evil-operator.example": unavailable, "xoperator.example": unavailable,
		"operators.example": unavailable, "xoperators.example": unavailable, "a.operator.example": unavailable, "operator.example@evil.example": unavailable,
		"evil.example#operator.example": unavailable, "evil.example?.operators.example": unavailable, "evil.example/.operators.example": unavailable,
	} {
		lies = append(lies, lie{vector{"operator_hosts: " + host, badLink}, has("url", fmt.Sprintf("%q", "https://"+host+"/")), code})
	}
	attack(t, "Hostile answers of the provider", lies, func(t *testing.T, l lie) {
		provider.tells("start", l.twist)
		a := begin(s.VisitorAt(t, s.Origin(stage.HTTP11)), stage.TypedNumber, "/account/")
		if a.Code() != l.code || (l.code == "") != (a.StatusCode == http.StatusSeeOther) {
			t.Errorf("answers %d %q to %q", a.StatusCode, a.Code(), a.Location())
		}
	})
}

func TestProvidersWhoCannotProveWhoTheyAre(t *testing.T) {
	unknown := httptest.NewTLSServer(newLiar())
	t.Cleanup(unknown.Close)
	plain := httptest.NewServer(newLiar())
	t.Cleanup(plain.Close)
	closed := stage.FreeAddr(t)
	type impostor struct {
		vector
		address string
	}
	attack(t, "Hostile answers of the provider", []impostor{
		{vector{"TLS: a certificate of nobody", badTLS}, unknown.URL},
		{vector{"TLS: a certificate for another name", badTLS}, strings.Replace(unknown.URL, "127.0.0.1", "localhost", 1)},
		{vector{"TLS: none", badTLS}, strings.Replace(plain.URL, "http:", "https:", 1)},
		{vector{"TLS: nobody is there", badTLS}, "https://" + closed},
	}, func(t *testing.T, i impostor) {
		s := newSiteAt(t, account, i.address)
		if a := begin(s.VisitorAt(t, s.Origin(stage.HTTP11)), stage.TypedNumber, "/account/"); a.Code() != unavailable {
			t.Errorf("answers %d %q", a.StatusCode, a.Code())
		}
	})
}
