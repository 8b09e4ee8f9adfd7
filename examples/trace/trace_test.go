package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

const callback = "https://www.example.com/.number-verify/callback"

// secrets are those of the attempt that is traced.
type secrets struct{ redirectURI, nonce, token string }

// trace runs the command against a simulated DQE whose operator's link leads to a
// chain of pages; the last of them goes to the simulated operator, who recognises
// the SIM and redirects to the callback.
func trace(t *testing.T, chain func(s secrets, w http.ResponseWriter, r *http.Request, operator string)) (status int, said string) {
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
	t.Setenv("DQE_CLIENT_SECRET", simulator.DefaultClientSecret)
	var out strings.Builder
	status = run(t.Context(), arguments(dqe.URL, "-yes"), &out)
	for _, secret := range []string{s.nonce, s.token, simulator.DefaultClientSecret, "639980001", "/first", "callback?"} {
		if secret == "" || strings.Contains(out.String(), secret) {
			t.Errorf("it prints %q:\n%s", secret, &out)
		}
	}
	for _, violation := range sim.Violations() {
		t.Error(violation)
	}
	return status, out.String()
}

func arguments(server string, more ...string) []string {
	return append([]string{
		"-server", server, "-licence", simulator.DefaultLicence, "-name", simulator.DefaultName,
		"-number", "+33639980001", "-callback", callback,
	}, more...)
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
			status, said := trace(t, func(s secrets, w http.ResponseWriter, r *http.Request, operator string) {
				if r.URL.Path != "/first" {
					if _, err := r.Cookie("id"); name == "a cookie" && err != nil {
						t.Error("the cookie is lost")
					}
					redirect(w, operator)
					return
				}
				show(s, w, "/second?a=1&b=2")
			})
			if status != hidden || strings.Count(said, "shows neither") != 3 || !strings.Contains(said, "3  302") || !strings.Contains(said, "leads to the site") ||
				!strings.Contains(said, "without the SIM, with the nonce") {
				t.Errorf("%d:\n%s", status, said)
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
			status, said := trace(t, func(s secrets, w http.ResponseWriter, r *http.Request, operator string) {
				if r.URL.Path == "/first" {
					c.show(s, w, "/second")
					return
				}
				redirect(w, operator)
			})
			if status != shown || !strings.Contains(said, c.want) || !strings.Contains(said, "leads to the site") {
				t.Errorf("%d, without %q:\n%s", status, c.want, said)
			}
		})
	}
}

func TestChainWhoseLinkShowsIt(t *testing.T) {
	sim := simulator.New(simulator.Options{OperatorURL: func(operatorURL, redirectURI, _ string) string {
		return operatorURL + "?r=" + url.QueryEscape(redirectURI)
	}})
	dqe := httptest.NewServer(sim)
	defer dqe.Close()
	t.Setenv("DQE_CLIENT_SECRET", simulator.DefaultClientSecret)
	var out strings.Builder
	if status := run(t.Context(), arguments(dqe.URL, "-yes"), &out); status != shown {
		t.Errorf("%d: %s", status, &out)
	}
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
			status, said := trace(t, func(s secrets, w http.ResponseWriter, _ *http.Request, _ string) { c.show(s, w, "") })
			if status != c.status || !strings.Contains(said, c.want) {
				t.Errorf("%d, without %q:\n%s", status, c.want, said)
			}
		})
	}
}

func TestNothingIsStartedWithoutAWordOrWithAMistake(t *testing.T) {
	sim := simulator.New(simulator.Options{})
	dqe := httptest.NewServer(sim)
	defer dqe.Close()
	t.Setenv("DQE_CLIENT_SECRET", simulator.DefaultClientSecret)
	for want, args := range map[string][]string{
		"may be billed":        arguments(dqe.URL),
		"calling code":         arguments(dqe.URL, "-yes", "-number", "06 39 98 00 01"),
		"whole address":        arguments(dqe.URL, "-yes", "-callback", "/callback"),
		"flags only":           arguments(dqe.URL, "-yes", "secret"),
		"not defined":          arguments(dqe.URL, "-yes", "-secret", "x"),
		"server is no address": arguments("x", "-yes"),
	} {
		var out strings.Builder
		if status := run(t.Context(), args, &out); status != unclear || !strings.Contains(out.String(), want) {
			t.Errorf("%d, without %q: %s", status, want, &out)
		}
	}
	t.Setenv("DQE_CLIENT_SECRET", "")
	var out strings.Builder
	if status := run(t.Context(), arguments(dqe.URL, "-yes"), &out); status != unclear || !strings.Contains(out.String(), "DQE_CLIENT_SECRET") {
		t.Errorf("%d: %s", status, &out)
	}
	if calls := sim.Calls(); calls.Token+calls.Start > 0 {
		t.Errorf("DQE was called: %+v", calls)
	}
}
