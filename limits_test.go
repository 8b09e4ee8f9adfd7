package numberverify_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/redistest"
)

// fromAnywhere lets tests choose the address that a visitor comes from.
const fromAnywhere = "servers {\n\t\t\ttrusted_proxies static 127.0.0.1/8\n\t\t}"

// limited is a site with limits.
func limited(lines ...string) string {
	if len(lines) == 0 {
		return account
	}
	return strings.Replace(account, "VERIFIER", "VERIFIER\nlimits {\n"+strings.Join(lines, "\n")+"\n}", 1)
}

// from is a browser at an address, on the form.
func (w *world) from(address string) *browser {
	b := w.browser()
	b.client.Transport = &atAddress{&retryTransport{b.client.Transport}, address}
	b.follow(b.open("/account/"))
	return b
}

type atAddress struct {
	http.RoundTripper
	address string
}

// RoundTrip implements http.RoundTripper.
func (a *atAddress) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", a.address)
	return a.RoundTripper.RoundTrip(r)
}

// press posts a number from the form.
func (b *browser) press(number string) *answer {
	b.t.Helper()
	return b.post("/.number-verify/start", url.Values{"number": {number}, "return": {"/account/"}})
}

// starts is how many starts have reached the provider.
func (w *world) starts() int { return w.sim.Calls().Start }

// is checks a refusal of a start.
func (a *answer) is(t *testing.T, status int, code string) {
	t.Helper()
	if a.StatusCode != status || a.code() != code {
		t.Errorf("a start answers %d %q, want %d %q", a.StatusCode, a.code(), status, code)
	}
}

// retryAfter checks that the answer says when to come again.
func (a *answer) retryAfter(t *testing.T, least, most time.Duration) {
	t.Helper()
	seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if after := time.Duration(seconds) * time.Second; err != nil || after < least || after > most {
		t.Errorf("Retry-After: %q, want %v to %v", a.Header.Get("Retry-After"), least, most)
	}
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
			w := newWorld(t, simulator.Options{})
			w.loadWith(fromAnywhere, account)
			visitors := make([]*browser, burst)
			for i := range visitors {
				visitors[i] = w.from(test.address(i))
			}
			answers := make([]*answer, burst)
			var running sync.WaitGroup
			for i, visitor := range visitors {
				running.Go(func() { answers[i] = visitor.press(test.number(i)) })
			}
			running.Wait()
			passed := 0
			for _, a := range answers {
				if a.StatusCode == http.StatusSeeOther || a.code() == "number_unsupported" {
					passed++
					continue
				}
				a.is(t, http.StatusTooManyRequests, "rate_limited")
				a.retryAfter(t, 9*time.Minute, 62*time.Minute)
				if !strings.Contains(a.body, "You can try again in ") {
					t.Error("the page does not say when to try again")
				}
			}
			if passed != test.passes || w.starts() != test.passes {
				t.Errorf("%d passed and %d reached the provider, want %d", passed, w.starts(), test.passes)
			}
		})
	}
}

func TestVerifiedStartsAreTakenOffSoThatNobodyLocksANumber(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadWith(fromAnywhere, limited("number 2 1h 4", "client 3 10m"))
	for range 8 {
		visitor := w.from("192.0.2.1")
		if a := visitor.arrive(visitor.press("06 39 98 00 01")); a.StatusCode != http.StatusOK || a.Request.URL.Path != "/account/" {
			t.Fatalf("the visitor ends at %s: %d %q", a.Request.URL, a.StatusCode, a.code())
		}
	}
	for range 2 {
		visitor := w.from("192.0.2.1")
		visitor.arrive(visitor.press("06 39 98 00 02")) // refused in the end
	}
	w.from("192.0.2.1").press("06 39 98 00 02").is(t, http.StatusTooManyRequests, "rate_limited")
}

func TestAttemptsInFlightAreBoundedAndFreedByTheirEnd(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadWith(fromAnywhere, limited("attempts 8", "number 100 1h 100"))
	visitor := w.from("192.0.2.1")
	press := func(b *browser, i int) *answer {
		return b.post("/.number-verify/start", url.Values{"number": {"06 39 98 00 01"}, "return": {fmt.Sprint("/account/", i)}})
	}
	var first *answer
	for i := range 5 {
		a := press(visitor, i)
		if a.StatusCode != http.StatusSeeOther {
			t.Fatalf("attempt %d: %d %q", i, a.StatusCode, a.code())
		}
		if i == 0 {
			first = a
		}
	}
	sixth := press(visitor, 5)
	sixth.is(t, http.StatusServiceUnavailable, "busy")
	sixth.retryAfter(t, time.Second, 5*time.Minute)
	for i := range 3 {
		if a := w.from("192.0.2.2").press("06 39 98 00 20"); a.StatusCode != http.StatusSeeOther {
			t.Fatalf("attempt %d of others: %d %q", i, a.StatusCode, a.code())
		}
	}
	w.from("192.0.2.3").press("06 39 98 00 20").is(t, http.StatusServiceUnavailable, "busy")
	if a := visitor.arrive(first); a.StatusCode != http.StatusOK {
		t.Fatalf("the first attempt ends with %d %q", a.StatusCode, a.code())
	}
	if a := w.from("192.0.2.3").press("06 39 98 00 20"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("after the end of one: %d %q", a.StatusCode, a.code())
	}
}

func TestLimitsOutliveAReloadAndARestart(t *testing.T) {
	for name, test := range map[string]struct {
		cache string
		again func(w *world, site string)
	}{
		"memory, reloaded": {"memory", func(w *world, site string) {
			w.loadWith(fromAnywhere, strings.Replace(site, "result_wait 3s", "result_wait 4s", 1))
		}},
		"bolt, restarted": {"bolt " + filepath.Join(t.TempDir(), "nv.db"), func(w *world, site string) {
			if err := caddy.Stop(); err != nil {
				t.Fatal(err)
			}
			w.loadWith(fromAnywhere, site)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, simulator.Options{})
			site := strings.Replace(account, "VERIFIER", "VERIFIER\ncache "+test.cache, 1)
			w.loadWith(fromAnywhere, site)
			for range 5 {
				w.from("192.0.2.1").press("06 39 98 00 05")
			}
			test.again(w, site)
			w.from("192.0.2.1").press("06 39 98 00 05").is(t, http.StatusTooManyRequests, "rate_limited")
			if n := w.starts(); n != 5 {
				t.Errorf("%d starts have reached the provider", n)
			}
		})
	}
}

func TestLimitsHoldAcrossNodes(t *testing.T) {
	f := newFleet(t, simulator.Options{}, 2, shared, "cache redis "+redistest.Start(t).Addr)
	for i := range 8 {
		f.on(i % 2)
		visitor := f.browser()
		visitor.follow(visitor.open("/account/"))
		a := visitor.press("06 39 98 00 05")
		if i >= 5 {
			a.is(t, http.StatusTooManyRequests, "rate_limited")
		}
	}
	if n := f.starts(); n != 5 {
		t.Errorf("%d starts have reached the provider", n)
	}
}

func TestBudgetIsHeldAndAnnouncedBeforeItIsUsedUp(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadWith(fromAnywhere, limited("global 10 24h"))
	said := func() int { return w.logged("80 % of the global limit of starts is used") }
	for i := range 10 {
		visitor := w.from(fmt.Sprint("192.0.2.", i))
		visitor.arrive(visitor.press("06 39 98 00 01"))
		if i == 6 && said() != 0 {
			t.Error("announced too early")
		}
	}
	if n := said(); n != 1 {
		t.Errorf("announced %d times", n)
	}
	a := w.from("192.0.2.99").press("06 39 98 00 01")
	a.is(t, http.StatusTooManyRequests, "rate_limited")
	a.retryAfter(t, 23*time.Hour, 25*time.Hour)

	w.loadWith(fromAnywhere, limited("global off"))
	if a := w.from("192.0.2.99").press("06 39 98 00 01"); a.StatusCode != http.StatusSeeOther {
		t.Errorf("without a budget: %d %q", a.StatusCode, a.code())
	}
}

func TestFullOfSessionsStartsNothingAndDropsNone(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.load(limited("sessions 2"))
	one, two, three := w.browser(), w.browser(), w.browser()
	one.arrivesAt("/account/")
	two.arrivesAt("/account/")
	three.start("/account/", "06 39 98 00 01").is(t, http.StatusServiceUnavailable, "busy")
	one.passes("/account/")
	two.passes("/account/")
	one.post("/.number-verify/sign-out", nil)
	w.browser().arrivesAt("/account/")
}

func TestWhatIsRefusedBeforeTheProviderDoesNotCount(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadWith(fromAnywhere, limited("number 2 1h 2", "client 2 10m"))
	visitor := w.from("192.0.2.1")
	for range 5 {
		visitor.press("01 23 45").is(t, http.StatusUnprocessableEntity, "number_invalid")
		visitor.press("+44 7700 900123").is(t, http.StatusUnprocessableEntity, "number_unsupported")
		r := visitor.request(http.MethodPost, "/.number-verify/start", strings.NewReader("number=0639980005"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		visitor.do(r).is(t, http.StatusForbidden, "cross_origin")
	}
	for _, end := range []int{503, 503, 429} {
		// the operator cannot be reached, which counts all the same
		if a := w.from("192.0.2.1").press("06 39 98 00 06"); a.StatusCode != end {
			t.Errorf("a start answers %d %q, want %d", a.StatusCode, a.code(), end)
		}
	}
}

func TestOneNumberSpelledInManyWaysIsOneBucket(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	w.loadWith(fromAnywhere, limited("number 3 1h 3"))
	for i, spelled := range []string{
		"0639980020", "06 39 98 00 20", "06.39.98.00.20", "06-39-98-00-20", "06/39/98/00/20", "(06) 39 98 00 20", " 0639980020 ",
		"+33639980020", "+33 6 39 98 00 20", "+33 (0)6 39 98 00 20", "+33.6.39.98.00.20", "0033639980020", "00 33 6 39 98 00 20",
		"33639980020", "tel:+33639980020", "０６３９９８００２０", "+３３６３９９８００２０", "06\u00a039\u00a098\u00a000\u00a020", "06\u201039\u201098\u201000\u201020", "٠٦٣٩٩٨٠٠٢٠",
	} {
		w.secrets.add(spelled)
		a := w.from(fmt.Sprint("192.0.2.", i)).press(spelled)
		if reached := w.starts(); reached > 3 {
			t.Fatalf("%q is another bucket", spelled)
		}
		if i >= 3 && a.code() != "rate_limited" && a.code() != "number_invalid" {
			t.Errorf("%q: %d %q", spelled, a.StatusCode, a.code())
		}
	}
	if n := w.starts(); n != 3 {
		t.Errorf("%d starts", n)
	}
}

// Hosts are chosen by visitors; the account is what is billed.
func TestLimitsCountTheAccountAndNotTheHost(t *testing.T) {
	w := newWorld(t, simulator.Options{})
	other := freeAddr(t)
	site := strings.NewReplacer("http://SITE {", "http://SITE, http://"+other+" {", "public_url http://SITE", "public_url http://SITE http://"+other).Replace(account)
	w.loadWith(fromAnywhere, strings.Replace(site, "VERIFIER", "VERIFIER\nlimits {\nnumber 4 1h 4\n}", 1))
	for i := range 6 {
		base := []string{w.addr, other}[i%2]
		visitor := w.browser()
		visitor.follow(visitor.open("http://" + base + "/account/"))
		a := visitor.post("http://"+base+"/.number-verify/start", url.Values{"number": {"06 39 98 00 20"}, "return": {"/account/"}})
		if (i < 4) != (a.StatusCode == http.StatusSeeOther) {
			t.Errorf("start %d: %d %q", i, a.StatusCode, a.code())
		}
	}
}
