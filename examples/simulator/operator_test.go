package simulator

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestASecondVisitRedirectsAgainAndChangesNothing(t *testing.T) {
	p := newPeer(t, Options{})
	token, page := p.begin("0639980002")
	first := p.visit(page)
	p.wantOutcome(token, "20")
	if second := p.visit(page); second.status != first.status || second.location != first.location || first.location == "" {
		t.Errorf("first %+v, second %+v", first, second)
	}
	p.wantOutcome(token, "20")
	if got := p.Attempts()[0].Visits; got != 2 {
		t.Errorf("%d visits", got)
	}
}

func TestTheFirstSIMDecidesWhoeverOpensTheLinkLater(t *testing.T) {
	sim := func(r *http.Request) string { return r.Header.Get("SIM") }
	tests := []struct{ name, first, second, want string }{
		{"the owner, then a stranger", "+33639980001", "+33639980015", "true"},
		{"a stranger, then the owner", "+33639980015", "+33639980001", "20"},
		{"nothing told", "", "", "true"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPeer(t, Options{SIM: sim})
			token, page := p.begin("0639980001")
			for _, number := range []string{test.first, test.second} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("SIM", number)
				if r := p.send(req); r.status != http.StatusFound {
					t.Errorf("visit: %d", r.status)
				}
				p.wantOutcome(token, test.want)
			}
		})
	}
}

func TestTheRedirectKeepsTheQueryAndAddsToIt(t *testing.T) {
	tests := []struct{ redirectURI, want string }{
		{"https://www.example.com", "https://www.example.com?status=success&token=T"},
		{"https://www.example.com/", "https://www.example.com/?status=success&token=T"},
		{"http://localhost:8080/callback?state=a%2Bb&x=&x=1", "http://localhost:8080/callback?state=a%2Bb&x=&x=1&status=success&token=T"},
		{"https://www.example.com/a%2Fb?z=1&a=2#part", "https://www.example.com/a%2Fb?z=1&a=2&status=success&token=T#part"},
	}
	s := New(Options{})
	for _, test := range tests {
		a := attempt{Attempt: Attempt{Token: "T"}, redirectURI: test.redirectURI}
		if got := s.back(a); got != test.want {
			t.Errorf("%s: %s, want %s", test.redirectURI, got, test.want)
		}
	}
}

func TestRedirectMayBeOdd(t *testing.T) {
	for _, odd := range []string{
		redirectURI + "?token=x&status=success", // a second question mark
		redirectURI,                             // nothing added
		"https://www.example.com/a/../b//?state=abc",
	} {
		var gotURI, gotToken, gotStatus string
		p := newPeer(t, Options{Redirect: func(redirectURI, token, status string) string {
			gotURI, gotToken, gotStatus = redirectURI, token, status
			return odd
		}})
		token, page := p.begin("0639980003")
		if r := p.visit(page); r.status != http.StatusFound || r.location != odd {
			t.Errorf("%d to %s, want %s", r.status, r.location, odd)
		}
		if gotURI != redirectURI || gotToken != token || gotStatus != "error" {
			t.Errorf("Redirect got %q %q %q", gotURI, gotToken, gotStatus)
		}
	}
}

func TestOperatorURLMayLeakTheNonce(t *testing.T) {
	p := newPeer(t, Options{OperatorURL: func(operatorURL, redirectURI, token string) string {
		return operatorURL + "?back=" + url.QueryEscape(redirectURI) + "&token=" + token
	}})
	token, page := p.begin("0639980001")
	want := "?back=" + url.QueryEscape(redirectURI) + "&token=" + token
	if !strings.HasSuffix(page, want) {
		t.Errorf("url %s, want the end %s", page, want)
	}
	p.visit(page)
	p.wantOutcome(token, "true")
}

func TestTheOperatorMayHaveAnAddressOfItsOwn(t *testing.T) {
	sim := New(Options{})
	operator := httptest.NewServer(sim)
	defer operator.Close()
	p := newPeer(t, Options{OperatorBaseURL: operator.URL + "/"})
	_, page := p.begin("0639980001")
	if !strings.HasPrefix(page, operator.URL+"/operator/") {
		t.Errorf("url %s, want it at %s", page, operator.URL)
	}
}

func TestTheOperatorIsReachedByHTTPSWhereDQEIs(t *testing.T) {
	server := httptest.NewTLSServer(New(Options{}))
	defer server.Close()
	p := &peer{Simulator: server.Config.Handler.(*Simulator), t: t, url: server.URL, method: http.MethodPost, http: server.Client()}
	if _, page := p.begin("0639980001"); !strings.HasPrefix(page, server.URL+"/operator/") {
		t.Errorf("url %s, want it at %s", page, server.URL)
	}
}

func TestNumber10NeverSendsTheVisitorBack(t *testing.T) {
	p := newPeer(t, Options{Interstitial: time.Second})
	_, page := p.begin("0639980010")
	r := p.visit(page)
	if r.status != http.StatusOK || r.location != "" || strings.Contains(r.body, "href") {
		t.Errorf("%d to %q: %s", r.status, r.location, r.body)
	}
	for _, text := range []string{"jamais", "never", "Bouygues Telecom"} {
		if !strings.Contains(r.body, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
}

func TestTheInterstitialLeadsBack(t *testing.T) {
	sim := New(Options{Interstitial: 1500 * time.Millisecond})
	server := httptest.NewServer(sim)
	defer server.Close()
	p := &peer{Simulator: sim, t: t, url: server.URL, method: http.MethodPost, http: server.Client()}
	token, page := p.begin("0639980001")

	w := httptest.NewRecorder()
	sim.ServeHTTP(w, httptest.NewRequest(http.MethodGet, page, nil))
	back := redirectURI + "&status=success&token=" + token
	if w.Code != http.StatusOK || w.Header().Get("Refresh") != "2; url="+back {
		t.Errorf("%d, Refresh %q", w.Code, w.Header().Get("Refresh"))
	}
	if !strings.Contains(w.Body.String(), `href="`+strings.ReplaceAll(back, "&", "&amp;")+`"`) {
		t.Errorf("no link to %s: %s", back, w.Body)
	}
	p.wantOutcome(token, "true")
}

func TestAPageOfNobodyIsNotFound(t *testing.T) {
	p := newPeer(t, Options{})
	for _, path := range []string{"/operator/", "/operator/UNKNOWN", "/operator/a/b"} {
		if r := p.visit(p.url + path); r.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.status)
		}
	}
}

func TestOnlyGetFixesTheOutcome(t *testing.T) {
	p := newPeer(t, Options{})
	token, page := p.begin("0639980001")
	for _, method := range []string{http.MethodHead, http.MethodPost} {
		if r := p.do(method, page, nil); r.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, r.status)
		}
	}
	p.wantOutcome(token, "pending")
}
