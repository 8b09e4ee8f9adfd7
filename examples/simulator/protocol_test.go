package simulator

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// change is a change to the parameters of a correct call, and the expected answer.
type change struct {
	name       string
	change     func(url.Values)
	status     int
	errorID    string
	violations []string
}

func set(name, value string) func(url.Values) {
	return func(form url.Values) { form.Set(name, value) }
}

func remove(name string) func(url.Values) {
	return func(form url.Values) { form.Del(name) }
}

func double(name string) func(url.Values) {
	return func(form url.Values) { form.Add(name, form.Get(name)) }
}

func rename(name, to string) func(url.Values) {
	return func(form url.Values) {
		form[to] = form[name]
		form.Del(name)
	}
}

const unlisted = "a parameter that is not listed"

func missing(name string) string { return "parameter " + name + " missing" }

func doubled(name string) string { return "parameter " + name + " more than once" }

// testChanges makes the call with each change, by GET and by POST.
func testChanges(t *testing.T, call, path string, form func(*peer) url.Values, changes []change) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, c := range changes {
			t.Run(method+" "+c.name, func(t *testing.T) {
				p := newPeer(t, Options{})
				p.method = method
				params := form(p)
				c.change(params)
				r := p.call(path, params)
				if r.status != c.status || r.errorID() != c.errorID {
					t.Errorf("%d %s, want %d, id %q", r.status, r.body, c.status, c.errorID)
				}
				if r.json["status"] == "success" || r.json["access_token"] != nil {
					t.Errorf("accepted: %s", r.body)
				}
				var want []string
				for _, text := range c.violations {
					want = append(want, call+": "+text)
				}
				p.wantViolations(want...)
			})
		}
	}
}

func TestTokenParametersAreCheckedToTheLetter(t *testing.T) {
	form := func(*peer) url.Values { return tokenForm() }
	changes := []change{
		{"wrong licence", set("licence", "demo-licence"), 400, "", nil},
		{"wrong client_secret", set("client_secret", "other"), 400, "", nil},
		{"empty client_secret", set("client_secret", ""), 400, "", nil},
		{"wrong grant_type", set("grant_type", "client_credentials"), 400, "", []string{"wrong grant_type"}},
		{"extra parameter", set("scope", "numVerify"), 500, "", []string{unlisted}},
		{"licence in another letter case", rename("licence", "Licence"), 500, "", []string{missing("licence"), unlisted}},
	}
	for name := range tokenForm() {
		changes = append(changes,
			change{name + " missing", remove(name), 500, "", []string{missing(name)}},
			change{name + " misspelt", rename(name, name+"s"), 500, "", []string{missing(name), unlisted}},
			change{name + " twice", double(name), 500, "", []string{doubled(name)}})
	}
	testChanges(t, CallToken, "/ACCESS_TOKEN/", form, changes)
}

func TestStartParametersAreCheckedToTheLetter(t *testing.T) {
	const relative = "redirect_uri is not an absolute http or https URL"
	form := func(p *peer) url.Values { return startForm(p.token(), "0639980001") }
	changes := []change{
		{"wrong licence", set("licence", "other"), 200, "02", nil},
		{"licence missing", remove("licence"), 200, "02", []string{missing("licence")}},
		{"licence in the letter case of the result call", rename("licence", "Licence"), 200, "01", []string{missing("licence"), unlisted}},
		{"wrong scope", set("scope", "numverify"), 200, "04", []string{"wrong scope"}},
		{"scope missing", remove("scope"), 200, "04", []string{missing("scope"), "wrong scope"}},
		{"wrong name", set("name", "Another SAS"), 200, "01", nil},
		{"name missing", remove("name"), 200, "01", []string{missing("name")}},
		{"redirect_uri missing", remove("redirect_uri"), 200, "01", []string{missing("redirect_uri"), relative}},
		{"redirect_uri without scheme", set("redirect_uri", "//www.example.com/"), 200, "01", []string{relative}},
		{"redirect_uri without host", set("redirect_uri", "https:///callback"), 200, "01", []string{relative}},
		{"redirect_uri with a port only", set("redirect_uri", "http://:80/"), 200, "01", []string{relative}},
		{"redirect_uri of an app", set("redirect_uri", "app://callback"), 200, "01", []string{relative}},
		{"redirect_uri that is no URL", set("redirect_uri", "https://a b/"), 200, "01", []string{relative}},
		{"unknown token", set("token", "TKNOBODY"), 200, "30", []string{"unknown token"}},
		{"token missing", remove("token"), 200, "30", []string{missing("token"), "unknown token"}},
		{"number missing", remove("number"), 200, "07", []string{missing("number")}},
		{"number empty", set("number", ""), 200, "11", []string{"empty number"}},
		{"number in another letter case", rename("number", "Number"), 200, "01", []string{missing("number"), unlisted}},
		{"extra parameter", set("grant_type", "client_idmobile"), 200, "01", []string{unlisted}},
	}
	for name := range startForm("", "") {
		changes = append(changes, change{name + " twice", double(name), 200, "01", []string{doubled(name)}})
	}
	testChanges(t, CallStart, "/IDMOBILE/", form, changes)
}

func TestResultParametersAreCheckedToTheLetter(t *testing.T) {
	form := func(p *peer) url.Values {
		token, page := p.begin("0639980001")
		p.visit(page)
		return resultForm(token)
	}
	changes := []change{
		{"wrong Licence", set("Licence", "other"), 200, "02", nil},
		{"Licence missing", remove("Licence"), 200, "02", []string{missing("Licence")}},
		{"Licence in the letter case of the start call", rename("Licence", "licence"), 200, "01", []string{missing("Licence"), unlisted}},
		{"wrong scope", set("scope", "other"), 200, "04", []string{"wrong scope"}},
		{"scope missing", remove("scope"), 200, "04", []string{missing("scope"), "wrong scope"}},
		{"unknown token", set("token", "TKNOBODY"), 200, "30", []string{"unknown token"}},
		{"token missing", remove("token"), 200, "30", []string{missing("token"), "unknown token"}},
		{"extra parameter", set("number", "0639980001"), 200, "01", []string{unlisted}},
	}
	for name := range resultForm("") {
		changes = append(changes, change{name + " twice", double(name), 200, "01", []string{doubled(name)}})
	}
	testChanges(t, CallResult, "/GET/", form, changes)
}

func TestPathsAreUpperCaseAndEndInASlash(t *testing.T) {
	for call, paths := range map[string][]string{
		CallToken:  {"/ACCESS_TOKEN", "/access_token/", "//ACCESS_TOKEN/"},
		CallStart:  {"/IDMOBILE", "/IdMobile/", "/IDMOBILE//"},
		CallResult: {"/GET", "/get/", "/get"},
	} {
		for _, path := range paths {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				p := newPeer(t, Options{})
				if r := p.do(method, p.url+path, tokenForm()); r.status != http.StatusNotFound {
					t.Errorf("%s %s: %d", method, path, r.status)
				}
				p.wantViolations(call + ": letter case or slashes of the path are wrong")
			}
		}
	}
	p := newPeer(t, Options{})
	for _, path := range []string{"/", "/favicon.ico", "/operator", "/GET/x"} {
		if r := p.do(http.MethodGet, p.url+path, nil); r.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	p.wantViolations()
	if got := p.Calls(); got != (Calls{}) {
		t.Errorf("calls %+v", got)
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	p := newPeer(t, Options{})
	for _, method := range []string{http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		if r := p.do(method, p.url+"/ACCESS_TOKEN/", tokenForm()); r.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, r.status)
		}
	}
	if got := len(p.Violations()); got != 4 {
		t.Errorf("%d violations, want 4", got)
	}
}

func TestSecretsInTheQueryOfAPostAreRefused(t *testing.T) {
	p := newPeer(t, Options{})
	if r := p.do(http.MethodPost, p.url+"/ACCESS_TOKEN/?"+tokenForm().Encode(), nil); r.status != 500 {
		t.Errorf("query alone: %d %s", r.status, r.body)
	}
	p = newPeer(t, Options{})
	if r := p.do(http.MethodPost, p.url+"/ACCESS_TOKEN/?x=y", tokenForm()); r.status != 500 {
		t.Errorf("query and body: %d %s", r.status, r.body)
	}
	p.wantViolations("token: a POST with parameters in its query")
}

func TestBodiesThatAreNoFormAreRefused(t *testing.T) {
	tests := []struct{ name, contentType, body string }{
		{"JSON", "application/json", `{"licence":"DEMO-LICENCE"}`},
		{"no content type", "", tokenForm().Encode()},
		{"bad escape", "application/x-www-form-urlencoded", tokenForm().Encode() + "&%zz"},
		{"semicolon", "application/x-www-form-urlencoded", tokenForm().Encode() + ";"},
		{"too large", "application/x-www-form-urlencoded", tokenForm().Encode() + strings.Repeat("x", maxBody)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPeer(t, Options{})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/ACCESS_TOKEN/", strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if test.contentType != "" {
				req.Header.Set("Content-Type", test.contentType)
			}
			if r := p.send(req); r.status != 500 || r.json != nil {
				t.Errorf("%d %s", r.status, r.body)
			}
			if len(p.Violations()) == 0 {
				t.Error("no violation recorded")
			}
		})
	}
}

func TestGetIsAllowedButCounted(t *testing.T) {
	p := newPeer(t, Options{})
	token := p.token()
	p.method = http.MethodGet
	p.start(token, "0639980001")
	p.result(token)
	if got, want := p.Calls(), (Calls{Token: 1, Start: 1, Result: 1, Get: 2}); got != want {
		t.Errorf("calls %+v, want %+v", got, want)
	}
	p.wantViolations()
}

func TestViolationsAreBoundedAndTellNoSecret(t *testing.T) {
	const secret = "TKNOBODY0639980001"
	p := newPeer(t, Options{})
	for range maxViolations {
		p.call("/GET/", url.Values{secret: {secret}, "token": {secret, secret}, "Licence": {secret}, "scope": {secret}})
	}
	got := p.Violations()
	if len(got) != maxViolations {
		t.Errorf("%d violations, want %d", len(got), maxViolations)
	}
	if strings.Contains(strings.Join(got, "\n"), secret) {
		t.Errorf("a violation tells what was sent: %q", got[:4])
	}
}

func TestTheClientsOwnConfigurationIsExpected(t *testing.T) {
	p := newPeer(t, Options{Licence: "L", ClientSecret: "S", Name: "N"})
	if r := p.call("/ACCESS_TOKEN/", tokenForm()); r.status != 400 {
		t.Errorf("defaults accepted: %d", r.status)
	}
	form := tokenForm()
	set("licence", "L")(form)
	set("client_secret", "S")(form)
	token, _ := p.call("/ACCESS_TOKEN/", form).json["access_token"].(string)
	form = startForm(token, "0639980001")
	set("licence", "L")(form)
	set("name", "N")(form)
	if r := p.call("/IDMOBILE/", form); r.json["status"] != "success" {
		t.Errorf("start: %s", r.body)
	}
	form = resultForm(token)
	set("Licence", "L")(form)
	if r := p.call("/GET/", form); r.json["status"] != "pending" {
		t.Errorf("result: %s", r.body)
	}
}
