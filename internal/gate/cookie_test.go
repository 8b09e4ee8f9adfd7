package gate

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
)

func TestSecretCookieTakesOnlyOneWellFormedValue(t *testing.T) {
	id := ledger.NewID()
	other := ledger.NewID()
	for name, c := range map[string]struct {
		lines []string
		ok    bool
	}{
		"alone":                    {[]string{"n=" + id}, true},
		"among others":             {[]string{"a=b; n=" + id + "; c=d"}, true},
		"on a second line":         {[]string{"a=b", "n=" + id}, true},
		"no blanks":                {[]string{"a=b;n=" + id + ";c=d"}, true},
		"none":                     {nil, false},
		"empty":                    {[]string{"n="}, false},
		"no value":                 {[]string{"n"}, false},
		"doubled, equal":           {[]string{"n=" + id + "; n=" + id}, false},
		"doubled, other":           {[]string{"n=" + id + "; n=" + other}, false},
		"doubled over lines":       {[]string{"n=" + id, "n=" + other}, false},
		"doubled, one empty":       {[]string{"n=; n=" + id}, false},
		"doubled, blank before =":  {[]string{"n =" + other + "; n=" + id}, false},
		"doubled, no value":        {[]string{"n; n=" + id}, false},
		"too short":                {[]string{"n=" + id[1:]}, false},
		"too long":                 {[]string{"n=" + id + "A"}, false},
		"quoted":                   {[]string{`n="` + id + `"`}, false},
		"other alphabet":           {[]string{"n=" + strings.Repeat("+", len(ledger.NewID()))}, false},
		"longer name":              {[]string{"nn=" + id}, false},
		"name in the value":        {[]string{"a=n=" + id}, false},
		"other letter case":        {[]string{"N=" + id}, false},
		"comma for semicolon":      {[]string{"a=b, n=" + id}, false},
		"a thousand cookies, once": {[]string{strings.Repeat("a=b; ", 1000) + "n=" + id}, true},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			if c.ok {
				want = id
			}
			if got := visitWith(c.lines, "n").secretCookie("n"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// visitWith is a visit that has taken the cookies of a gate.
func visitWith(lines []string, base string) *Visit {
	v := NewVisit(http.MethodGet, nil)
	v.takeCookies(http.Header{"Cookie": lines}, base)
	return v
}

func TestTakingCookiesAllocatesOnlyTheVisit(t *testing.T) {
	h := http.Header{}
	lines := []string{strings.Repeat("a=b; ", 14) + "n=" + ledger.NewID()}
	n := testing.AllocsPerRun(100, func() {
		h["Cookie"] = lines
		v := NewVisit(http.MethodGet, nil)
		v.takeCookies(h, "n")
		if v.secretCookie("n") == "" {
			t.Error("not taken")
		}
	})
	if n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func TestGatewayCookiesNeverReachTheSite(t *testing.T) {
	for name, c := range map[string]struct{ lines, want []string }{
		"none of ours":      {[]string{"a=b; c=d"}, []string{"a=b; c=d"}},
		"only ours":         {[]string{"number-verify=x"}, nil},
		"all variants":      {[]string{"a=b; __Host-number-verify=1; __Secure-number-verify=2; number-verify-browser=3; __Host-number-verify-browser=4; c=d"}, []string{"a=b; c=d"}},
		"first":             {[]string{"number-verify=x; a=b"}, []string{"a=b"}},
		"several lines":     {[]string{"a=b", "number-verify=x", "c=d"}, []string{"a=b", "c=d"}},
		"blank before =":    {[]string{"number-verify =x; a=b"}, []string{"a=b"}},
		"alike":             {[]string{"number-verify2=x; my-number-verify=y"}, []string{"number-verify2=x; my-number-verify=y"}},
		"malformed is kept": {[]string{";;a;=b; number-verify=x"}, []string{"a;=b"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{"Cookie": slices.Clone(c.lines)}
			NewVisit(http.MethodGet, nil).takeCookies(h, "number-verify")
			if got := h["Cookie"]; !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A page's script, another site's form and plain http must not get hold of a cookie.
func TestCookiesAreForTheSiteAlone(t *testing.T) {
	tell(t, func(m *model) {
		m.do(step{Do: "form"})
		answers := []*http.Response{m.request(0, "GET", "/.number-verify/", nil), m.request(0, "GET", "/.number-verify/status", nil)}
		m.do(step{Do: "start"})
		a := m.attempt(step{})
		m.expect(step{}, a)
		m.do(step{Do: "answer", Answer: "verified"})
		callback := m.request(0, "GET", "/.number-verify/callback?state="+a.nonce, nil)
		answers = append(answers, callback, m.request(0, "GET", "/.number-verify/", nil))
		m.keep(0, callback, m.byAttempt(0, a))
		answers = append(answers, m.request(0, "POST", "/.number-verify/sign-out", url.Values{}))
		set := make(map[string]int)
		for _, answer := range answers {
			for _, c := range answer.Cookies() {
				set[c.Name]++
				if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
					m.fail("%s sets %s", answer.Status, c.Raw[strings.IndexByte(c.Raw, ';'):])
				}
			}
		}
		if set[sessionName] < 2 || set[browserName] < 3 {
			m.fail("set: %v", set)
		}
	})
}

func FuzzCookies(f *testing.F) {
	f.Add("a=b; number-verify=x; c=d")
	f.Add("number-verify=" + strings.Repeat("A", len(ledger.NewID())))
	f.Add(";;=;number-verify;; ")
	f.Fuzz(func(t *testing.T, line string) {
		value := visitWith([]string{line}, "number-verify").secretCookie("number-verify")
		if value != "" && !ledger.IsID(value) {
			t.Errorf("took %q", value)
		}
		kept, _ := takePairs(line, "number-verify", nil)
		if _, own := takePairs(kept, "number-verify", nil); len(own) != 0 {
			t.Errorf("%q keeps ours: %q", line, kept)
		}
	})
}
