package gate

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/verifier"
)

const testBase = "/.number-verify"

func TestReturnPathKeepsPathsOfThisSite(t *testing.T) {
	for raw, want := range map[string]string{
		"/":                                "/",
		"/account/?tab=1":                  "/account/?tab=1",
		"/a%20b?q=%C3%A9&x=1":              "/a%20b?q=%C3%A9&x=1",
		"/a//b":                            "/a//b",
		"/a?next=https://evil.example":     "/a?next=https://evil.example",
		"/.number-verify-other":            "/.number-verify-other",
		"/a/../b":                          "/a/../b",
		"/" + strings.Repeat("a", 2047):    "/" + strings.Repeat("a", 2047),
		"/x?a=%0d%0aSet-Cookie:%20a=b":     "/x?a=%0d%0aSet-Cookie:%20a=b",
		"/@evil.example":                   "/@evil.example",
		"/a:b@c":                           "/a:b@c",
		"/.well-known/change-password?x=.": "/.well-known/change-password?x=.",
	} {
		if got := returnPath(raw, testBase); got != want {
			t.Errorf("returnPath(%q) = %q, want %q", raw, got, want)
		}
	}
}

func TestReturnPathRefusesOpenRedirects(t *testing.T) {
	for name, raw := range map[string]string{
		"empty":                       "",
		"absolute":                    "https://evil.example/",
		"scheme relative":             "//evil.example/",
		"three slashes":               "///evil.example",
		"backslash":                   `/\evil.example`,
		"backslashes":                 `\\evil.example`,
		"slash, backslash":            `/\/evil.example`,
		"dot segment, then slashes":   "/.//evil.example",
		"dot segment, then backslash": `/./\evil.example`,
		"encoded dot, then slashes":   "/%2e//evil.example",
		"dots, then slashes":          "/..//evil.example",
		"several dots":                "/././/evil.example",
		"dots within, then slashes":   "/a/..//evil.example",
		"deeper dots, then slashes":   "/a/b/../..//evil.example",
		"encoded dots within":         "/a/%2e%2E//evil.example",
		"dots and slashes, encoded":   "/a/..%2f%2fevil.example",
		"parameters of dots within":   "/a/..;x//evil.example",
		"encoded slash at the start":  "/%2fevil.example",
		"encoded twice":               "/%252fevil.example",
		"the gate, decoded later":     "/x/..%2f.number-verify/start",
		"tab between slashes":         "/\t/evil.example",
		"line feed between slashes":   "/\n/evil.example",
		"carriage return":             "/\r/evil.example",
		"leading blank":               " //evil.example",
		"nul":                         "/\x00",
		"delete":                      "/\x7f",
		"javascript":                  "javascript:alert(1)",
		"data":                        "data:text/html,x",
		"opaque":                      "https:evil.example",
		"no slash":                    "account",
		"only a query":                "?x=1",
		"fragment":                    "/#//evil.example",
		"broken escape":               "/%zz",
		"header injection":            "/a\r\nSet-Cookie: a=b",
		"too long":                    "/" + strings.Repeat("a", 2048),
		"userinfo":                    "//user@evil.example",
		"the gate itself":             testBase,
		"the gate's sign-out":         testBase + "/sign-out",
		"the gate behind dots":        "/x/.." + testBase + "/start",
		"the gate, encoded":           "/%2enumber-verify/start",
		"the gate behind two slashes": "/x/..//" + testBase[1:] + "/start",
		"encoded backslash":           "/%5Cevil.example",
	} {
		t.Run(name, func(t *testing.T) {
			if got := returnPath(raw, testBase); got != "/" {
				t.Errorf("returnPath(%q) = %q, want /", raw, got)
			}
		})
	}
}

// FuzzReturnPath checks that every result stays on the site, as Go reads it, and that a
// second pass does not change it.
func FuzzReturnPath(f *testing.F) {
	for _, seed := range []string{"/account/?tab=1", "//evil.example", `/\evil`, "/.//evil", "/%2e%2e//x", "/é", "/a?x=\xff", "/a#b", testBase + "/start"} {
		f.Add(seed)
	}
	site, err := url.Parse("https://www.example.com/.number-verify/callback")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got := returnPath(raw, testBase)
		if again := returnPath(got, testBase); again != got {
			t.Errorf("%q becomes %q, then %q", raw, got, again)
		}
		target, err := site.Parse(got)
		if err != nil {
			t.Fatalf("%q becomes %q: %v", raw, got, err)
		}
		if target.Host != site.Host || target.Scheme != site.Scheme || under(target.Path, testBase) {
			t.Errorf("%q becomes %q, which leads to %s", raw, got, target)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q becomes %q, which is no text", raw, got)
		}
		if strings.HasPrefix(target.EscapedPath(), "//") || strings.ContainsAny(got, "\\\r\n\t\x00") {
			t.Errorf("%q becomes %q", raw, got)
		}
	})
}

func TestReturnPathOfRequestIsItsOwnAddress(t *testing.T) {
	for target, want := range map[string]string{
		"/account/?tab=1":              "/account/?tab=1",
		"/a%2Fb":                       "/a%2Fb",
		"//evil.example/x":             "/",
		"http://evil.example/x?y=1":    "/x?y=1", // absolute form: only its path counts
		"/x?return=//evil.example":     "/x?return=//evil.example",
		"/" + strings.Repeat("a/", 64): "/" + strings.Repeat("a/", 64),
	} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		if strings.HasPrefix(target, "//") {
			r.URL = &url.URL{Path: target} // as a server parses it
		}
		if got := requestReturn(r.URL, testBase); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}

// Another gate, or an earlier version, may have stored what this one would not.
func TestReturnPathThatLeadsElsewhereIsNeitherStoredNorUsed(t *testing.T) {
	onStage(t, func(t *testing.T, s *stage) {
		g, browser := s.gate(defaultLimits), ledger.NewID()
		stored := func() ledger.Entry[ledger.Attempt] {
			l := g.desk.Ledger
			entry, err := ledger.Get(t.Context(), l, l.AttemptKey(g.origins[0].realm, ledger.AttemptID(s.nonce.Load().(string))))
			if err != nil {
				t.Fatal(err)
			}
			return entry
		}
		for i, elsewhere := range []string{"//evil.example/", "https://evil.example/", "/.number-verify/sign-out"} {
			visit(g, startRequest("192.0.2.1", anyNumber(i), elsewhere), browser)
			if back := stored().Value.Return; back != "/" {
				t.Errorf("%s is stored as %s", elsewhere, back)
			}
			for want, lost := range map[string]error{"/": nil, "/.number-verify/?return=%2F": &verifier.Error{Class: verifier.Mismatch, Call: "result"}} {
				s.lost = lost
				press(g, "192.0.2.1", ledger.NewID(), anyNumber(i)) // the press before is remembered
				entry := stored()
				planted := *entry.Value
				planted.Return, planted.Browser = elsewhere, ledger.Hash(browser)
				if _, err := ledger.Swap(t.Context(), g.desk.Ledger, entry, &planted, g.desk.Ledger.AttemptLife(&planted)); err != nil {
					t.Fatal(err)
				}
				if to := visit(g, s.back(), browser).Header().Get("Location"); to != want {
					t.Errorf("%s is used: the callback leads to %s, not %s", elsewhere, to, want)
				}
			}
		}
	})
}
