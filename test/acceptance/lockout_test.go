package acceptance_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.etcd.io/bbolt"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// server is Caddy's HTTP server of the site, to be called without a socket.
func server(w *stage.Stage) http.Handler {
	w.T.Helper()
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		w.T.Fatal(err)
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		return server
	}
	w.T.Fatal("there is no server")
	return nil
}

// flood has a client post so many starts, each by a browser of its own, and checks
// that all are refused by its limit.
func flood(w *stage.Stage, address string, n int) {
	w.T.Helper()
	server, askers := server(w), 4
	var asking sync.WaitGroup
	for asker := range askers {
		asking.Go(func() {
			for i := range n / askers {
				body := strings.NewReader(fmt.Sprintf(`{"number":"+3363998%04d","return":"/account/%d/%d"}`, i%10_000, asker, i))
				r := httptest.NewRequest(http.MethodPost, w.URL("/.number-verify/start"), body)
				r.RemoteAddr = "127.0.0.1:9"
				for name, value := range map[string]string{
					"Content-Type": "application/json", "Accept": "application/json", "Sec-Fetch-Site": "same-origin",
					"X-Forwarded-For": address, "Cookie": "number-verify-browser=" + randomID(),
				} {
					r.Header.Set(name, value)
				}
				answer := httptest.NewRecorder()
				server.ServeHTTP(answer, r)
				if answer.Code != http.StatusTooManyRequests {
					w.T.Errorf("start %d is answered %d %s", i, answer.Code, answer.Body)
					return
				}
			}
		})
	}
	asking.Wait()
}

// randomID looks like a browser's cookie.
func randomID() string {
	var id [32]byte
	_, _ = rand.Read(id[:])
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// heap is how much memory is in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one has finalised
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A hundred thousand, less where the race detector is at work: .ci/test runs both.
func TestRefusedStartsOfOneClientTakeNothingFromOthers(t *testing.T) {
	starts := 100_000
	if raced {
		starts = 10_000
	}
	room := int64(1<<20 + starts*32) // no record is as small
	for _, store := range []string{"memory", "bolt"} {
		t.Run(store, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			file := filepath.Join(t.TempDir(), "nv.db")
			line := map[string]string{"memory": "cache memory", "bolt": "cache bolt " + file}[store]
			w.LoadWith(stage.FromAnywhere, strings.Replace(limited("client 3 10m"), "VERIFIER", "VERIFIER\n"+line, 1))
			for range 3 {
				if a := w.From("192.0.2.1").Press("06 39 98 00 20", "/account/"); a.StatusCode != http.StatusSeeOther {
					t.Fatalf("a start answers %d %q", a.StatusCode, a.Code())
				}
			}
			flood(w, "192.0.2.1", 1000) // what is made once
			var before int
			if store == "bolt" {
				before = commits(t, file)
			}
			inUse, began := heap(), time.Now()
			flood(w, "192.0.2.1", starts)
			took := time.Since(began)
			grown := heap() - inUse
			t.Logf("%d B more in use after %v", grown, took)
			if grown > room {
				t.Errorf("%d KiB more are in use", grown>>10)
			}
			if store == "bolt" {
				// what has ended is swept once a minute
				if n := commits(t, file) - before; n > 1+int(took.Minutes()) {
					t.Errorf("the file was written %d times", n)
				}
			}
			if n := w.Logged("start refused by a limit"); n == 0 || n > int(took.Seconds())+5 {
				t.Errorf("%d lines in the log in %v", n, took)
			}
			w.From("198.51.100.1").ArrivesAt("/account/")
		})
	}
}

// commits is how many transactions have been written to a bolt file.
func commits(t *testing.T, file string) int {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	duplicate := filepath.Join(t.TempDir(), "copy.db") // the file itself is locked
	if err := os.WriteFile(duplicate, content, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(duplicate, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var id int
	if err := db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestWhoHasTheSIMIsNotGivenBackHisStartsWithoutBound(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith(stage.FromAnywhere, limited("number 2 1h 2"))
	for range 22 { // 20 are taken back, two count
		w.From("192.0.2.1").ArrivesAt("/account/")
	}
	w.From("192.0.2.1").Press("06 39 98 00 01", "/account/").Is(t, http.StatusTooManyRequests, "rate_limited")
	if n := w.Starts(); n != 22 {
		t.Errorf("%d starts", n)
	}
	// attempts in flight are taken back all the same, and others' numbers
	other := w.From("192.0.2.1")
	if a := other.Press("06 39 98 00 20", "/account/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("another number: %d %q", a.StatusCode, a.Code())
	}
}

// Two directives of one account, each with windows of its own: what is started by
// one counts for both, whichever the configuration names first.
func TestAnotherWindowIsNotAnotherBudget(t *testing.T) {
	const parts = `http://SITE {
	FIRST
	SECOND
	reverse_proxy UPSTREAM
}`
	gate := func(name, limit string) string {
		return "@" + name + " path /" + name + "/*\nnumber_verify @" + name + " {\npublic_url http://SITE\npath /." + name + "\nlimits {\n" + limit + "\n}\nVERIFIER\n}"
	}
	for name, test := range map[string]struct {
		small, large string // limits of 4 and of 6
		address      func(i int) string
		number       func(i int) string
	}{
		"global": {"global 4 1h", "global 6 2h",
			func(i int) string { return fmt.Sprint("192.0.2.", i) }, func(i int) string { return fmt.Sprintf("06 39 98 10 %02d", i) }},
		"client": {"client 4 10m", "client 6 20m",
			func(int) string { return "192.0.2.1" }, func(i int) string { return fmt.Sprintf("06 39 98 10 %02d", i) }},
		"client, the second window": {"client 4 10m 4 2h", "client 6 10m 6 3h",
			func(int) string { return "192.0.2.1" }, func(i int) string { return fmt.Sprintf("06 39 98 10 %02d", i) }},
		"number": {"number 4 1h 4", "number 6 2h 6",
			func(i int) string { return fmt.Sprint("192.0.2.", i) }, func(int) string { return "06 39 98 00 20" }},
	} {
		for _, order := range [][]string{{"small", "large"}, {"large", "small"}} {
			t.Run(name+", "+order[0]+" first", func(t *testing.T) {
				w := stage.New(t, simulator.Options{})
				site := map[string]string{"small": gate("small", test.small), "large": gate("large", test.large)}
				w.LoadWith(stage.FromAnywhere, strings.NewReplacer("FIRST", site[order[0]], "SECOND", site[order[1]]).Replace(parts))
				for i, step := range []struct {
					by     string
					passes bool
				}{
					{"large", true}, {"small", true}, {"small", true}, {"large", true},
					{"small", false}, {"large", true}, {"small", false}, {"large", true},
					{"large", false}, {"small", false},
				} {
					visitor := w.From(test.address(i))
					visitor.Open("/." + step.by + "/")
					a := visitor.Post("/."+step.by+"/start", url.Values{"number": {test.number(i)}, "return": {"/"}})
					if passed := a.StatusCode == http.StatusSeeOther; passed != step.passes {
						t.Errorf("start %d, by the %s limit: %d %q", i, step.by, a.StatusCode, a.Code())
					}
				}
				if n := w.Starts(); n != 6 {
					t.Errorf("%d starts", n)
				}
			})
		}
	}
}

func TestClientsSecondWindowIsThatOfTheCaddyfile(t *testing.T) {
	for limit, retry := range map[string]time.Duration{"client 3 10m": 10 * time.Minute, "client 3 10m 3 24h": 24 * time.Hour} {
		t.Run(limit, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			w.LoadWith(stage.FromAnywhere, limited(limit))
			for i := range 3 {
				w.From("192.0.2.1").Press(fmt.Sprintf("06 39 98 10 %02d", i), "/account/")
			}
			a := w.From("192.0.2.1").Press("06 39 98 10 03", "/account/")
			a.Is(t, http.StatusTooManyRequests, "rate_limited")
			a.RetryAfter(t, retry-time.Minute, retry+retry/32)
		})
	}
}
