package acceptance_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// limited is a site with limits.
func limited(lines ...string) string {
	if len(lines) == 0 {
		return account
	}
	return strings.Replace(account, "VERIFIER", "VERIFIER\nlimits {\n"+strings.Join(lines, "\n")+"\n}", 1)
}

func TestParallelBurstOfStartsPassesExactlyItsLimit(t *testing.T) {
	const burst = 200
	for name, test := range map[string]struct {
		address func(i int) string
		number  func(i int) string
		passes  int
	}{
		"of one number from one address": {func(int) string { return "192.0.2.1" }, func(int) string { return "06 39 98 00 05" }, 5},
		"of one number from all":         {func(i int) string { return fmt.Sprint("192.0.2.", i) }, func(int) string { return "06 39 98 00 05" }, 30},
		"from one address":               {func(int) string { return "192.0.2.1" }, func(i int) string { return fmt.Sprintf("06 39 98 10 %02d", i%100) }, 60},
		"from one /64": {func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) },
			func(i int) string { return fmt.Sprintf("06 39 98 10 %02d", i%100) }, 60},
	} {
		t.Run(name, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			w.LoadWith(stage.FromAnywhere, account)
			visitors := make([]*stage.Visitor, burst)
			for i := range visitors {
				visitors[i] = w.From(test.address(i))
			}
			answers := make([]*stage.Answer, burst)
			var running sync.WaitGroup
			for i, visitor := range visitors {
				running.Go(func() { answers[i] = visitor.Press(test.number(i), "/account/") })
			}
			running.Wait()
			passed := 0
			for _, a := range answers {
				if a.StatusCode == http.StatusSeeOther || a.Code() == "number_unsupported" {
					passed++
					continue
				}
				a.Is(t, http.StatusTooManyRequests, "rate_limited")
				a.RetryAfter(t, 9*time.Minute, 62*time.Minute)
				if !strings.Contains(a.Body, "You can try again in ") {
					t.Error("the page does not say when to try again")
				}
			}
			if passed != test.passes || w.Starts() != test.passes {
				t.Errorf("%d passed and %d reached the provider, want %d", passed, w.Starts(), test.passes)
			}
		})
	}
}

func TestVerifiedStartsAreTakenOffSoThatNobodyLocksANumber(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith(stage.FromAnywhere, limited("number 2 1h 4", "client 3 10m"))
	for range 8 {
		visitor := w.From("192.0.2.1")
		if a := visitor.Arrive(visitor.Press("06 39 98 00 01", "/account/")); a.StatusCode != http.StatusOK || a.Request.URL.Path != "/account/" {
			t.Fatalf("the visitor ends at %s: %d %q", a.Request.URL, a.StatusCode, a.Code())
		}
	}
	for range 2 {
		visitor := w.From("192.0.2.1")
		visitor.Arrive(visitor.Press("06 39 98 00 02", "/account/")) // refused in the end
	}
	w.From("192.0.2.1").Press("06 39 98 00 02", "/account/").Is(t, http.StatusTooManyRequests, "rate_limited")
}

func TestAttemptsInFlightAreBoundedAndFreedByTheirEnd(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith(stage.FromAnywhere, limited("attempts 8", "number 100 1h 100"))
	visitor := w.From("192.0.2.1")
	press := func(b *stage.Visitor, i int) *stage.Answer {
		return b.Post("/.number-verify/start", url.Values{"number": {"06 39 98 00 01"}, "return": {fmt.Sprint("/account/", i)}})
	}
	var first *stage.Answer
	for i := range 5 {
		a := press(visitor, i)
		if a.StatusCode != http.StatusSeeOther {
			t.Fatalf("attempt %d: %d %q", i, a.StatusCode, a.Code())
		}
		if i == 0 {
			first = a
		}
	}
	sixth := press(visitor, 5)
	sixth.Is(t, http.StatusServiceUnavailable, "busy")
	sixth.RetryAfter(t, time.Second, 5*time.Minute)
	for i := range 3 {
		if a := w.From("192.0.2.2").Press("06 39 98 00 20", "/account/"); a.StatusCode != http.StatusSeeOther {
			t.Fatalf("attempt %d of others: %d %q", i, a.StatusCode, a.Code())
		}
	}
	w.From("192.0.2.3").Press("06 39 98 00 20", "/account/").Is(t, http.StatusServiceUnavailable, "busy")
	if a := visitor.Arrive(first); a.StatusCode != http.StatusOK {
		t.Fatalf("the first attempt ends with %d %q", a.StatusCode, a.Code())
	}
	if a := w.From("192.0.2.3").Press("06 39 98 00 20", "/account/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("after the end of one: %d %q", a.StatusCode, a.Code())
	}
}

func TestLimitsOutliveAReloadAndARestart(t *testing.T) {
	for name, test := range map[string]struct {
		cache string
		again func(w *stage.Stage, site string)
	}{
		"memory, reloaded": {"memory", func(w *stage.Stage, site string) {
			w.LoadWith(stage.FromAnywhere, strings.Replace(site, "result_wait 3s", "result_wait 4s", 1))
		}},
		"bolt, restarted": {"bolt " + filepath.Join(t.TempDir(), "nv.db"), func(w *stage.Stage, site string) {
			w.Stop()
			w.LoadWith(stage.FromAnywhere, site)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			site := strings.Replace(account, "VERIFIER", "VERIFIER\ncache "+test.cache, 1)
			w.LoadWith(stage.FromAnywhere, site)
			for range 5 {
				w.From("192.0.2.1").Press("06 39 98 00 05", "/account/")
			}
			test.again(w, site)
			w.From("192.0.2.1").Press("06 39 98 00 05", "/account/").Is(t, http.StatusTooManyRequests, "rate_limited")
			if n := w.Starts(); n != 5 {
				t.Errorf("%d starts have reached the provider", n)
			}
		})
	}
}

func TestLimitsHoldAcrossNodes(t *testing.T) {
	f := stage.NewFleet(t, simulator.Options{}, 2, shared, patientRedis(t))
	for i := range 8 {
		f.On(i % 2)
		visitor := f.Visitor()
		visitor.Follow(visitor.Open("/account/"))
		a := visitor.Press("06 39 98 00 05", "/account/")
		if i >= 5 {
			a.Is(t, http.StatusTooManyRequests, "rate_limited")
		}
	}
	if n := f.Starts(); n != 5 {
		t.Errorf("%d starts have reached the provider", n)
	}
}

func TestBudgetIsHeldAndAnnouncedBeforeItIsUsedUp(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith(stage.FromAnywhere, limited("global 10 24h"))
	said := func() int { return w.Logged("80 % of the global limit of starts is used") }
	for i := range 10 {
		visitor := w.From(fmt.Sprint("192.0.2.", i))
		visitor.Arrive(visitor.Press("06 39 98 00 01", "/account/"))
		if i == 6 && said() != 0 {
			t.Error("announced too early")
		}
	}
	if n := said(); n != 1 {
		t.Errorf("announced %d times", n)
	}
	a := w.From("192.0.2.99").Press("06 39 98 00 01", "/account/")
	a.Is(t, http.StatusTooManyRequests, "rate_limited")
	a.RetryAfter(t, 23*time.Hour, 25*time.Hour)

	w.LoadWith(stage.FromAnywhere, limited("global off"))
	if a := w.From("192.0.2.99").Press("06 39 98 00 01", "/account/"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("without a budget: %d %q", a.StatusCode, a.Code())
	}
}

func TestFullOfSessionsStartsNothingAndDropsNone(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(limited("sessions 2"))
	one, two, three := w.Visitor(), w.Visitor(), w.Visitor()
	one.ArrivesAt("/account/")
	two.ArrivesAt("/account/")
	three.Start("/account/", "06 39 98 00 01").Is(t, http.StatusServiceUnavailable, "busy")
	one.Passes("/account/")
	two.Passes("/account/")
	one.SignOut()
	w.Visitor().ArrivesAt("/account/")
}

func TestWhatIsRefusedBeforeTheProviderDoesNotCount(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith(stage.FromAnywhere, limited("number 2 1h 2", "client 2 10m"))
	visitor := w.From("192.0.2.1")
	for range 5 {
		visitor.Press("01 23 45", "/account/").Is(t, http.StatusUnprocessableEntity, "number_invalid")
		visitor.Press("+44 7700 900123", "/account/").Is(t, http.StatusUnprocessableEntity, "number_unsupported")
		r := visitor.Request(http.MethodPost, "/.number-verify/start", strings.NewReader("number=0639980005"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		visitor.Do(r).Is(t, http.StatusForbidden, "cross_origin")
	}
	for _, end := range []int{503, 503, 429} {
		// the operator cannot be reached, which counts all the same
		if a := w.From("192.0.2.1").Press("06 39 98 00 06", "/account/"); a.StatusCode != end {
			t.Errorf("a start answers %d %q, want %d", a.StatusCode, a.Code(), end)
		}
	}
}

func TestOneNumberSpelledInManyWaysIsOneBucket(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith(stage.FromAnywhere, limited("number 3 1h 3"))
	for i, spelled := range []string{
		"0639980020", "06 39 98 00 20", "06.39.98.00.20", "06-39-98-00-20", "06/39/98/00/20", "(06) 39 98 00 20", " 0639980020 ",
		"+33639980020", "+33 6 39 98 00 20", "+33 (0)6 39 98 00 20", "+33.6.39.98.00.20", "0033639980020", "00 33 6 39 98 00 20",
		"33639980020", "tel:+33639980020", "０６３９９８００２０", "+３３６３９９８００２０", "06\u00a039\u00a098\u00a000\u00a020", "06\u201039\u201098\u201000\u201020", "٠٦٣٩٩٨٠٠٢٠",
	} {
		w.Secrets.Add(spelled)
		a := w.From(fmt.Sprint("192.0.2.", i)).Press(spelled, "/account/")
		if reached := w.Starts(); reached > 3 {
			t.Fatalf("%q is another bucket", spelled)
		}
		if i >= 3 && a.Code() != "rate_limited" && a.Code() != "number_invalid" {
			t.Errorf("%q: %d %q", spelled, a.StatusCode, a.Code())
		}
	}
	if n := w.Starts(); n != 3 {
		t.Errorf("%d starts", n)
	}
}

// Hosts are chosen by visitors; the account is what is billed.
func TestLimitsCountTheAccountAndNotTheHost(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	other := stage.FreeAddr(t)
	site := strings.NewReplacer("http://SITE {", "http://SITE, http://"+other+" {", "public_url http://SITE", "public_url http://SITE http://"+other).Replace(account)
	w.LoadWith(stage.FromAnywhere, strings.Replace(site, "VERIFIER", "VERIFIER\nlimits {\nnumber 4 1h 4\n}", 1))
	for i := range 6 {
		base := []string{w.Addr, other}[i%2]
		visitor := w.Visitor()
		visitor.Follow(visitor.Open("http://" + base + "/account/"))
		a := visitor.Post("http://"+base+"/.number-verify/start", url.Values{"number": {"06 39 98 00 20"}, "return": {"/account/"}})
		if (i < 4) != (a.StatusCode == http.StatusSeeOther) {
			t.Errorf("start %d: %d %q", i, a.StatusCode, a.Code())
		}
	}
}

// The key is of the process, and not of the configuration.
func TestLimitsHoldThroughAReloadWithATokenFromElsewhere(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	site := `http://SITE {
		number_verify /account* {
			public_url http://SITE
			limits {
				number 1 1h 1
			}
			verifier dqe {
				server PROVIDER
				licence ` + simulator.DefaultLicence + `
				name "` + simulator.DefaultName + `"
				token {env.TEST_TOKEN}
			}
		}
		reverse_proxy UPSTREAM
	}`
	for i, want := range []string{"number_mismatch", "rate_limited"} {
		t.Setenv("TEST_TOKEN", w.FreshToken())
		w.Load(site)
		if end := w.Visitor().Verify("/account/", "06 39 98 00 02"); end.Code() != want {
			t.Errorf("start %d: %d %q, want %q", i, end.StatusCode, end.Code(), want)
		}
	}
}
