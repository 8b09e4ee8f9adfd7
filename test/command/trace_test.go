package command_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// secrets are those of the attempt that is traced.
type secrets struct{ redirectURI, nonce, token string }

// The exit statuses of a trace.
const (
	hidden  = 0
	shown   = 1
	unclear = 4
)

// site is the address of the gate that is traced.
const site = "public_url https://www.example.com"

// traced runs the command against a simulated DQE whose operator's link leads to a
// chain of pages; the last of them goes to the simulated operator, who recognises
// the SIM and redirects to the callback.
func traced(t *testing.T, chain func(s secrets, w http.ResponseWriter, r *http.Request, operator string)) said {
	t.Helper()
	var s secrets
	var operator string
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { chain(s, w, r, operator) }))
	defer pages.Close()
	sim := simulator.New(simulator.Options{OperatorURL: func(operatorURL, redirectURI, token string) string {
		u, _ := url.Parse(redirectURI)
		s, operator = secrets{redirectURI, u.Query().Get("state"), token}, operatorURL
		return pages.URL + "/first"
	}})
	dqe := httptest.NewServer(sim)
	defer dqe.Close()
	got := run(t, "+33 6 39 98 00 01\n", "trace", "--number", "-", "--yes", "--config", configuration(t, dqe.URL, "", site))
	for _, secret := range []string{s.nonce, s.token, simulator.DefaultClientSecret, "639980001", "/first", "callback?"} {
		if secret == "" || strings.Contains(got.all(), secret) {
			t.Errorf("it prints %q:\n%s", secret, got.all())
		}
	}
	if s.redirectURI != "https://www.example.com/.number-verify/callback?state="+s.nonce {
		t.Errorf("visitors would come back to %s", s.redirectURI)
	}
	for _, violation := range sim.Violations() {
		t.Error(violation)
	}
	return got
}

// leak is a page that shows something and goes on.
type leak func(s secrets, w http.ResponseWriter, next string)

func redirect(w http.ResponseWriter, next string) {
	w.Header().Set("Location", next)
	w.WriteHeader(http.StatusFound)
}

func body(text func(s secrets) string) leak {
	return func(s secrets, w http.ResponseWriter, next string) {
		fmt.Fprintf(w, `<!doctype html><META content='0;URL="%s"' http-equiv=Refresh><p>%s`, strings.ReplaceAll(next, "&", "&amp;"), text(s))
	}
}

func TestChainThatShowsNothingBeforeItsLastHop(t *testing.T) {
	for name, show := range map[string]leak{
		"redirects":        func(_ secrets, w http.ResponseWriter, next string) { redirect(w, next) },
		"a page":           body(func(secrets) string { return "Bonjour" }),
		"a refresh header": func(_ secrets, w http.ResponseWriter, next string) { w.Header().Set("Refresh", "0;url="+next) },
		"a cookie": func(_ secrets, w http.ResponseWriter, next string) {
			http.SetCookie(w, &http.Cookie{Name: "id", Value: "1", Path: "/"})
			redirect(w, next)
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := traced(t, func(s secrets, w http.ResponseWriter, r *http.Request, operator string) {
				if r.URL.Path != "/first" {
					if _, err := r.Cookie("id"); name == "a cookie" && err != nil {
						t.Error("the cookie is lost")
					}
					redirect(w, operator)
					return
				}
				show(s, w, "/second?a=1&b=2")
			})
			got.has(t, hidden, "3  302", "leads to the site", "without the SIM, with the nonce", "Nothing shows")
			if n := strings.Count(got.out, "shows neither"); n != 3 {
				t.Errorf("%d hops show neither:\n%s", n, got.out)
			}
		})
	}
}

func TestChainThatShowsTheNonceOrTheTokenToWhoeverFetchesIt(t *testing.T) {
	b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for name, c := range map[string]struct {
		show leak
		want string
	}{
		"the callback in the first page":    {body(func(s secrets) string { return s.redirectURI }), "nonce in its body"},
		"the nonce in base64":               {body(func(s secrets) string { return b64("{\"u\":\"" + s.redirectURI) }), "nonce in its body"},
		"the nonce in a script":             {body(func(s secrets) string { return fmt.Sprintf(`\u00%x%s`, s.nonce[0], s.nonce[1:]) }), "nonce in its body"},
		"the nonce escaped for HTML":        {body(func(s secrets) string { return fmt.Sprintf(`&#%d;%s`, s.nonce[0], s.nonce[1:]) }), "nonce in its body"},
		"the token in the first page":       {body(func(s secrets) string { return s.token }), "token in its body"},
		"the token in base64 for addresses": {body(func(s secrets) string { return base64.RawURLEncoding.EncodeToString([]byte("t=" + s.token)) }), "token in its body"},
		"the callback in a redirect": {func(s secrets, w http.ResponseWriter, next string) {
			redirect(w, next+"?redirect_uri="+url.QueryEscape(s.redirectURI))
		}, "nonce in a header"},
		"the next page's address": {func(s secrets, w http.ResponseWriter, next string) {
			redirect(w, next+"?redirect_uri="+url.QueryEscape(s.redirectURI))
		}, "nonce in its address"},
		"the callback in base64 in a redirect": {func(s secrets, w http.ResponseWriter, next string) {
			redirect(w, next+"?r="+url.QueryEscape(b64(s.redirectURI)))
		}, "nonce in a header"},
		"a header": {func(s secrets, w http.ResponseWriter, next string) {
			w.Header().Set("X-Session", s.token)
			redirect(w, next)
		}, "token in a header"},
		"a header in base64": {func(s secrets, w http.ResponseWriter, next string) {
			w.Header().Set("Set-Cookie", "s="+b64(s.redirectURI))
			redirect(w, next)
		}, "nonce in a header"},
	} {
		t.Run(name, func(t *testing.T) {
			got := traced(t, func(s secrets, w http.ResponseWriter, r *http.Request, operator string) {
				if r.URL.Path == "/first" {
					c.show(s, w, "/second")
					return
				}
				redirect(w, operator)
			})
			got.has(t, shown, c.want, "leads to the site")
		})
	}
}

func TestChainWhoseLinkShowsIt(t *testing.T) {
	sim := simulator.New(simulator.Options{OperatorURL: func(operatorURL, redirectURI, _ string) string {
		return operatorURL + "?r=" + url.QueryEscape(redirectURI)
	}})
	dqe := httptest.NewServer(sim)
	defer dqe.Close()
	run(t, "+33639980001\n", "trace", "--number", "-", "--yes", "--config", configuration(t, dqe.URL, "", site)).has(t, shown, "link itself shows")
}

func TestChainThatCannotBeFollowed(t *testing.T) {
	for name, c := range map[string]struct {
		show   leak
		status int
		want   string
	}{
		"in circles":          {func(_ secrets, w http.ResponseWriter, _ string) { redirect(w, "/first") }, unclear, "more than 20 hops"},
		"to an app":           {func(_ secrets, w http.ResponseWriter, _ string) { redirect(w, "intent://x") }, unclear, "out of the web"},
		"no HTTP":             {func(secrets, http.ResponseWriter, string) { panic(http.ErrAbortHandler) }, unclear, "connection"},
		"to nowhere":          {func(_ secrets, w http.ResponseWriter, _ string) { fmt.Fprint(w, "wait") }, hidden, "leads nowhere"},
		"to nowhere, showing": {func(s secrets, w http.ResponseWriter, _ string) { fmt.Fprint(w, s.nonce) }, shown, "leads nowhere"},
		"to a host that tells": {func(s secrets, w http.ResponseWriter, _ string) {
			redirect(w, "http://"+strings.ToLower(s.token)+".0639980001.invalid/")
		}, shown, "(host not printed)"},
	} {
		t.Run(name, func(t *testing.T) {
			got := traced(t, func(s secrets, w http.ResponseWriter, _ *http.Request, _ string) { c.show(s, w, "") })
			got.has(t, c.status, c.want)
		})
	}
}

func TestNothingIsStartedWithoutAWordOrWithAMistake(t *testing.T) {
	sim := simulator.New(simulator.Options{})
	dqe := httptest.NewServer(sim)
	defer dqe.Close()
	file := configuration(t, dqe.URL, "", site)
	const number = "+33 6 39 98 00 42"
	for _, c := range []struct {
		typed, want string
		args        []string
	}{
		{number, "may be billed", []string{"--number", "-", "--config", file}},
		{number + "\nyes", "add --yes", []string{"--number", "-", "--config", file}},
		{"06 39 98 00 42", "calling code", []string{"--number", "-", "--yes", "--config", file}},
		{"+590 639 98 00 42", "for another", []string{"--number", "-", "--yes", "--config", file}},
		{number, "ps shows it", []string{"--number", number, "--yes", "--config", file}},
		{number, "ps shows it", []string{"--yes", "--config", file}},
		{number, "no public_url", []string{"--number", "-", "--yes", "--config", configuration(t, dqe.URL, "", "")}},
		{number, "no gate at that --site, but at https://www.example.com/.number-verify", []string{"--number", "-", "--yes", "--config", file, "--site", "other.example.com"}},
		{number, "server is no address", []string{"--number", "-", "--yes", "--config", configuration(t, "x", "", site)}},
	} {
		got := run(t, c.typed, append([]string{"trace"}, c.args...)...)
		got.has(t, 1, c.want)
		got.hasNot(t, "9980042", "98 00 42")
	}
	got := process(t, stage.Terminal(t, number+"\nno\n"), "trace", "--number", "-", "--config", file)
	got.has(t, 1, "This starts one real verification of +33 6 •• •• •• 42 for https://www.example.com/.number-verify", "not confirmed")
	if calls := sim.Calls(); calls.Token+calls.Start > 0 {
		t.Errorf("DQE was called: %+v", calls)
	}
	got = process(t, stage.Terminal(t, number+"\nyes\n"), "trace", "--number", "-", "--config", file)
	got.has(t, hidden, "leads to the site")
	if calls := sim.Calls(); calls.Start != 1 {
		t.Errorf("after yes DQE was called: %+v", calls)
	}
}

func TestTraceThatDoesNotStartSaysWhy(t *testing.T) {
	sim := simulator.New(simulator.Options{})
	dqe := httptest.NewServer(sim)
	defer dqe.Close()
	args := []string{"trace", "--number", "-", "--yes", "--config", configuration(t, dqe.URL, "name other", site)}
	run(t, "+33639980001\n", args...).has(t, 1, "did not start: start call: error id")
	sim.SetCredits(false)
	run(t, "+33639980001\n", args...).has(t, 1, "did not start: token call: error id 98: the credits at DQE are exhausted")
}

func TestSiteChoosesOneOfSeveralGates(t *testing.T) {
	sim := simulator.New(simulator.Options{})
	dqe := httptest.NewServer(sim)
	defer dqe.Close()
	text, err := os.ReadFile(configuration(t, dqe.URL, "", "public_url https://www.example.com https://shop.example.com"))
	if err != nil {
		t.Fatal(err)
	}
	_, first, _ := strings.Cut(string(text), "http://localhost:1 ")
	second := strings.Replace(first, "https://www.example.com https://shop.example.com", "https://other.example.com\n\tpath /verify", 1)
	file := write(t, "Caddyfile", append(text, "http://localhost:2 "+second...))
	args := []string{"trace", "--number", "-", "--yes", "--config", file}
	run(t, "+33639980001\n", args...).has(t, 1, "choose one with --site", "https://www.example.com/.number-verify", "https://other.example.com/verify")
	for _, name := range []string{"www.example.com", "SHOP.example.com", "https://other.example.com/verify", "https://other.example.com"} {
		run(t, "+33639980001\n", append(args, "--site", name)...).has(t, hidden)
	}
	run(t, "+33639980001\n", append(args, "--site", "localhost")...).has(t, 1, "no gate at that --site")
}
