package configuration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/guest"
)

func init() {
	caddy.RegisterModule(wordlessVerifier{})
	caddy.RegisterModule(strangeCache{})
}

// wordlessVerifier is registered as a verifier, but is none and has no syntax.
type wordlessVerifier struct{}

func (wordlessVerifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.verifiers.test_wordless", New: func() caddy.Module { return new(wordlessVerifier) }}
}

// strangeCache is registered as a cache, but is none.
type strangeCache struct{}

func (strangeCache) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.number_verify.caches.test_strange", New: func() caddy.Module { return new(strangeCache) }}
}

func (*strangeCache) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.Err("strange takes nothing")
	}
	return nil
}

// dqeJSON is a valid verifier in JSON.
const dqeJSON = `"verifier":{"provider":"dqe","server":"https://dqe.example.com","licence":"code","client_secret":"phrase","name":"Example SAS"}`

// validateOptions is what caddy validate says of a handler with these members.
func validateOptions(t *testing.T, members string) error {
	t.Helper()
	return stage.Validate(fmt.Appendf(nil, `{"admin":{"disabled":true},"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[{"handler":"number_verify",%s}]}]}}}}}`, members))
}

func TestMistakesInJSONAreToldAtLoadWithTheirOption(t *testing.T) {
	for name, c := range map[string]struct{ members, want string }{
		"no verifier":               {`"path":"/x"`, "verifier: is required"},
		"null for a verifier":       {`"verifier":null`, "verifier"},
		"unknown provider":          {`"verifier":{"provider":"other"}`, "http.number_verify.verifiers.other"},
		"unknown store":             {dqeJSON + `,"cache":{"store":"other"}`, "http.number_verify.caches.other"},
		"verifier that is none":     {`"verifier":{"provider":"test_wordless"}`, "is not a verifier.Verifier"},
		"cache that is none":        {dqeJSON + `,"cache":{"store":"test_strange"}`, "is not a cache.Opener"},
		"unknown matcher":           {dqeJSON + `,"match":[{"half":["/"]}]`, "http.matchers.half"},
		"unknown member":            {dqeJSON + `,"colour":"red"`, "colour"},
		"negative max_age":          {dqeJSON + `,"max_age":"-5m"`, "max_age: must be a duration longer than 0"},
		"negative session_ttl":      {dqeJSON + `,"session_ttl":-1`, "session_ttl: must be a duration longer than 0"},
		"negative session_idle":     {dqeJSON + `,"session_idle":-1`, "session_idle: must be a duration longer than 0"},
		"negative attempt_ttl":      {dqeJSON + `,"attempt_ttl":-1`, "attempt_ttl: must be a duration longer than 0"},
		"negative refused_ttl":      {dqeJSON + `,"refused_ttl":-1`, "refused_ttl: must be a duration longer than 0"},
		"negative result_wait":      {dqeJSON + `,"result_wait":-1`, "result_wait: must be a duration longer than 0"},
		"country":                   {dqeJSON + `,"countries":["FR","fr"]`, `countries: "fr" is no country`},
		"country taken for another": {dqeJSON + `,"countries":["FR","MF"]`, "add GP, or write it instead"},
		"country of another plan":   {dqeJSON + `,"countries":["FR","MA"]`, "countries: the number_format of verifier dqe is national"},
		"national, written out":     {strings.Replace(dqeJSON, `"licence"`, `"number_format":"national","licence"`, 1) + `,"countries":["MA"]`, "has no numbers of MA"},
		"region":                    {dqeJSON + `,"region":"FRA"`, "region: "},
		"path":                      {dqeJSON + `,"path":"x"`, "path: "},
		"public_url":                {dqeJSON + `,"public_url":["https://www.example.com","ftp://www.example.com"]`, "public_url: "},
		"empty public_url":          {dqeJSON + `,"public_url":[""]`, "public_url: "},
		"constant number":           {dqeJSON + `,"number":"0639980001"`, "number: must be a placeholder"},
		"placeholder of requests":   {dqeJSON + `,"public_url":["https://{http.request.host}"]`, "public_url: "},
	} {
		t.Run(name, func(t *testing.T) {
			if err := validateOptions(t, c.members); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q in: %v", c.want, err)
			}
		})
	}
}

func TestEveryStringIsResolvedAtLoad(t *testing.T) {
	t.Setenv("TEST_EMPTY", "")
	for option, format := range map[string]string{
		"public_url": `["%s"]`, "countries": `["FR","%s"]`, "path": `"%s"`, "region": `"%s"`, "headers": `"%s"`,
		"cookie_name": `"%s"`, "cookie_domain": `"%s"`, "pages": `"%s"`, "brand": `"%s"`, "logo": `"%s"`,
		"support_url": `"%s"`, "privacy_url": `"%s"`, "fallback_url": `"%s"`,
	} {
		for name, placeholder := range map[string]string{"empty": "{env.TEST_EMPTY}", "missing": "{env.TEST_MISSING}", "unknown": "{nothing.such}"} {
			want := option + ": "
			if option == "logo" {
				want = "brand: " // as a Caddyfile calls it
			}
			err := validateOptions(t, dqeJSON+`,"`+option+`":`+fmt.Sprintf(format, placeholder))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %s: %v", option, name, err)
			}
		}
	}
	t.Setenv("TEST_FORMAT", "national")
	if err := validateOptions(t, strings.Replace(dqeJSON, `"licence"`, `"number_format":"{env.TEST_FORMAT}","licence"`, 1)+`,"countries":["MA"]`); err == nil || !strings.Contains(err.Error(), "has no numbers of MA") {
		t.Errorf("number_format: %v", err)
	}
	t.Setenv("TEST_COUNTRY", "MA")
	if err := validateOptions(t, dqeJSON+`,"countries":["FR","{env.TEST_COUNTRY}"]`); err == nil || !strings.Contains(err.Error(), "has no numbers of MA") {
		t.Errorf("countries: %v", err)
	}
	t.Setenv("TEST_FORMAT", "e164")
	if err := validateOptions(t, strings.Replace(dqeJSON, `"licence"`, `"number_format":"{env.TEST_FORMAT}","licence"`, 1)+`,"countries":["FR","{env.TEST_COUNTRY}"]`); err != nil {
		t.Error(err)
	}
	t.Setenv("TEST_PATH", "/.elsewhere")
	t.Setenv("TEST_HOST", "www.example.com")
	t.Setenv("TEST_COUNTRY", "GP")
	if err := validateOptions(t, dqeJSON+`,"path":"{env.TEST_PATH}","public_url":["https://{env.TEST_HOST}"],"countries":["FR","{env.TEST_COUNTRY}"]`); err != nil {
		t.Error(err)
	}
}

// TestValueFromAPlaceholderIsCheckedAndNeverToldInAnError holds that a secret
// that was put in the wrong place does not end up in a log.
func TestValueFromAPlaceholderIsCheckedAndNeverToldInAnError(t *testing.T) {
	for option, format := range map[string]string{
		"public_url": `["%s"]`, "countries": `["FR","%s"]`, "path": `"%s"`, "region": `"%s"`, "headers": `"%s"`,
		"cookie_name": `"%s"`, "cookie_domain": `"%s"`, "support_url": `"%s"`, "privacy_url": `"%s"`, "fallback_url": `"%s"`,
	} {
		for _, value := range []string{"topsecret phrase", "{topsecret}", "a{topsecret"} {
			t.Setenv("TEST_VALUE", value)
			err := validateOptions(t, dqeJSON+`,"`+option+`":`+fmt.Sprintf(format, "{env.TEST_VALUE}"))
			if err == nil || !strings.Contains(err.Error(), option+": ") || strings.Contains(err.Error(), "topsecret") {
				t.Errorf("%s of %q: %v", option, value, err)
			}
		}
	}
	t.Setenv("TEST_VALUE", "https://topsecret.example.net")
	err := validateOptions(t, dqeJSON+`,"cookie_domain":"example.com","public_url":["{env.TEST_VALUE}"]`)
	if err == nil || !strings.Contains(err.Error(), "cookie_domain: ") || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("cookie_domain that does not cover it: %v", err)
	}
}

// handlersOf returns the handlers that the directives of a Caddyfile adapt to, in
// their order.
func handlersOf(t *testing.T, text string) []map[string]any {
	t.Helper()
	config, err := stage.Adapt(text)
	if err != nil {
		t.Fatal(err)
	}
	var root any
	if err := json.Unmarshal(config, &root); err != nil {
		t.Fatal(err)
	}
	var found []map[string]any
	var walk func(any)
	walk = func(node any) {
		switch node := node.(type) {
		case []any:
			for _, child := range node {
				walk(child)
			}
		case map[string]any:
			if node["handler"] == "number_verify" {
				found = append(found, node)
			}
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(root)
	return found
}

func TestEveryDurationIsLongerThanZero(t *testing.T) {
	for _, option := range []string{"max_age", "session_ttl", "session_idle", "attempt_ttl", "refused_ttl", "result_wait"} {
		for _, value := range []string{"0", "0s", "-1m", "5", "soon", "1y", `""`, "off5m", "300000d"} {
			_, err := stage.Adapt("http://localhost {\nnumber_verify {\n" + dqeBlock + "\n" + option + " " + value + "\n}\n}")
			if err == nil || !strings.Contains(err.Error(), option) || !strings.HasSuffix(err.Error(), "at Caddyfile:9") {
				t.Errorf("%s %s: %v", option, value, err)
			}
		}
		gate := handlersOf(t, "http://localhost {\nnumber_verify {\n"+dqeBlock+"\n"+option+" 1d\n}\n}")[0]
		if want := float64(24 * time.Hour); gate[option] != want {
			t.Errorf("%s 1d is %v", option, gate[option])
		}
	}
	if gate := handlersOf(t, "http://localhost {\nnumber_verify {\n"+dqeBlock+"\nsession_idle off\n}\n}")[0]; gate["session_idle"] != nil {
		t.Errorf("session_idle off is %v", gate["session_idle"])
	}
}

func TestDirectiveNamesOnlyWhatDiffersFromTheGlobalOption(t *testing.T) {
	gates := handlersOf(t, `{
		number_verify {
			`+dqeBlock+`
			cache memory
			public_url https://www.example.com https://example.com
			countries FR GP
			brand "Example SAS" https://www.example.com/logo.svg
			headers X-Phone-
			session_ttl 2h
			session_idle 10m
		}
	}
	www.example.com, example.com {
		number_verify /a*
		number_verify /b* {
			max_age 5m
			headers off
			session_idle off
		}
		number_verify /c* {
			path /.other
			verifier dqe {
				server https://other.example.com
				licence other
				token {file./run/dqe-token}
				name Other
			}
			cache test_flaky
			public_url https://example.com
			countries FR
			brand Other
			session_ttl 1h
			optional
			pass_errors
			number {http.auth.user.phone}
		}
	}`)
	const common = `"handler":"number_verify"`
	const dqe = `"verifier":{"provider":"dqe","server":"https://dqe.example.com","licence":"code","client_secret":"{env.X_SECRET}","name":"Example SAS"}`
	const defaults = dqe + `,"cache":{"store":"memory"},"public_url":["https://www.example.com","https://example.com"],"countries":["FR","GP"],
		"brand":"Example SAS","logo":"https://www.example.com/logo.svg","session_ttl":7200000000000`
	wants := []string{
		`{` + common + `,"match":[{"path":["/a*"]}],` + defaults + `,"headers":"X-Phone-","session_idle":600000000000}`,
		`{` + common + `,"match":[{"path":["/b*"]}],` + defaults + `,"headers":"off","max_age":300000000000}`,
		`{` + common + `,"match":[{"path":["/c*"]}],"path":"/.other","verifier":{"provider":"dqe","server":"https://other.example.com","licence":"other","token":"{file./run/dqe-token}","name":"Other"},
			"cache":{"store":"test_flaky"},"public_url":["https://example.com"],"countries":["FR"],"brand":"Other","headers":"X-Phone-","session_ttl":3600000000000,
			"session_idle":600000000000,"optional":true,"pass_errors":true,"number":"{http.auth.user.phone}"}`,
	}
	if len(gates) != len(wants) {
		t.Fatalf("%d gates", len(gates))
	}
	for i, text := range wants {
		var want map[string]any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(gates[i], want) {
			t.Errorf("directive %d:\n got %v\nwant %v", i, gates[i], want)
		}
	}
}

// TestShortestConfigurationAdaptsToThisJSON pins what users of JSON copy from.
func TestShortestConfigurationAdaptsToThisJSON(t *testing.T) {
	got, err := stage.Adapt(`www.example.com {
	@account path /account /account/*
	number_verify @account {
		public_url https://www.example.com
		verifier dqe {
			server        {env.DQE_SERVER}
			licence       {env.DQE_LICENCE}
			client_secret {env.DQE_CLIENT_SECRET}
			name          "Example SAS"
		}
	}
	reverse_proxy localhost:9000
}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"apps":{"http":{"servers":{"srv0":{"listen":[":443"],"routes":[{
		"match":[{"host":["www.example.com"]}],
		"handle":[{"handler":"subroute","routes":[{"handle":[
			{"handler":"number_verify","match":[{"path":["/account","/account/*"]}],"public_url":["https://www.example.com"],"verifier":
				{"provider":"dqe","server":"{env.DQE_SERVER}","licence":"{env.DQE_LICENCE}","client_secret":"{env.DQE_CLIENT_SECRET}","name":"Example SAS"}},
			{"handler":"reverse_proxy","upstreams":[{"dial":"localhost:9000"}]}]}]}],
		"terminal":true}]}}}}}`
	var gotTree, wantTree any
	if err := errors.Join(json.Unmarshal(got, &gotTree), json.Unmarshal([]byte(want), &wantTree)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(gotTree, wantTree) {
		t.Errorf("got %s", got)
	}
}

// TestLoginComesFirstWhateverTheOrderInTheFile holds that a stranger to the
// site's login starts nothing that is billed.
func TestLoginComesFirstWhateverTheOrderInTheFile(t *testing.T) {
	config, err := stage.Adapt(`http://localhost {
	reverse_proxy localhost:9000
	number_verify {
		` + dqeBlock + `
	}
	forward_auth localhost:9001 {
		uri /whoami
	}
	basic_auth {
		visitor $2a$04$q8EVw5eyQnUsPu4HHCwXbOVrcnbs4jjvVWvFHJKRrXK9ePC8x1PDO
	}
	header X-Test 1
	rewrite /old /new
}`)
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, part := range []string{`"X-Test"`, `"/new"`, `"http_basic"`, `"localhost:9001"`, `"number_verify"`, `"localhost:9000"`} {
		at := strings.Index(string(config), part)
		if at <= last {
			t.Errorf("%s stands in the wrong place: %s", part, config)
		}
		last = at
	}
}

// TestCaddyStillTellsTheAddressesOfASite fails where a new Caddy moves what the
// directive reads by reflection: Caddy exports no way to them, and without them
// every site would need a public_url.
func TestCaddyStillTellsTheAddressesOfASite(t *testing.T) {
	t.Setenv("TEST_SITE", "localhost:8080")
	const inner = " {\nnumber_verify {\n" + dqeBlock + "\n}\n}\n"
	for _, site := range []string{
		"localhost", "localhost:8080", "LOCALHOST:8080", "http://127.0.0.1:8080", "127.0.0.2", "[::1]:80", "http://[::1]", "app.localhost",
		"localhost, http://app.localhost:8080", "{$TEST_SITE}", "localhost/path/*",
	} {
		if _, err := stage.Adapt(site + inner); err != nil {
			t.Errorf("%s: %v", site, err)
		}
	}
	for _, site := range []string{
		"www.example.com", ":8080", "http://", "https://", "localhost, :8080", "localhost, www.example.com", "192.0.2.1", "http://0.0.0.0:8080", "[::]:80",
		"localhost.example.com", "*.example.com", "notlocalhost", "{env.TEST_SITE}", "{$TEST_NOTHING}:80", "www.example.com/localhost",
	} {
		if _, err := stage.Adapt(site + inner); err == nil || !strings.Contains(err.Error(), "public_url: is required: add 'public_url https://www.example.com'") || !strings.HasSuffix(err.Error(), "at Caddyfile:2") {
			t.Errorf("%s: %v", site, err)
		}
	}
	for name, text := range map[string]string{
		"within handle and route": "localhost {\nhandle /a* {\nroute {\nnumber_verify {\n" + dqeBlock + "\n}\n}\n}\n}",
		"from a snippet":          "(gate) {\nnumber_verify {\n" + dqeBlock + "\n}\n}\nlocalhost:1 {\nimport gate\n}\nlocalhost:2 {\nimport gate\n}",
	} {
		if _, err := stage.Adapt(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNamedRouteNeedsAPublicURL holds that a route that any site may invoke
// does not pass for one on loopback.
func TestNamedRouteNeedsAPublicURL(t *testing.T) {
	for _, name := range []string{"gate", "localhost"} {
		_, err := stage.Adapt("&(" + name + ") {\nnumber_verify {\n" + dqeBlock + "\n}\n}\nwww.example.com {\ninvoke " + name + "\n}\n")
		if err == nil || !strings.Contains(err.Error(), "public_url: is required") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := stage.Adapt("&(gate) {\nnumber_verify {\npublic_url https://www.example.com\n" + dqeBlock + "\n}\n}\nwww.example.com {\ninvoke gate\n}\n"); err != nil {
		t.Error(err)
	}
}

func TestMistakesOfGuestModulesAreToldWithTheirLine(t *testing.T) {
	for name, c := range map[string]struct{ options, want string }{
		"no Caddyfile syntax": {"verifier test_wordless", "at Caddyfile:3"},
		"its own mistake":     {dqeBlock + "\ncache test_strange much", "strange takes nothing, at Caddyfile:9"},
		"its own argument":    {"verifier test_oidc", "at Caddyfile:3"},
	} {
		_, err := stage.Adapt("http://localhost {\nnumber_verify {\n" + c.options + "\n}\n}")
		if err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAdaptAndValidateCallAndOpenNothing(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	opens := guest.CachesOpened.Load()
	config, err := stage.Adapt(w.Expand(`{
		admin off
		persist_config off
	}
	http://SITE {
		number_verify /a* {
			cache test_flaky
			VERIFIER
		}
		number_verify /b* {
			path /.token
			cache test_flaky its-own-long-secret
			verifier dqe {
				server PROVIDER
				licence code
				name "Example SAS"
				token {file./nowhere/dqe-token}
			}
		}
		number_verify /c* {
			path /.oidc
			cache test_flaky
			verifier test_oidc PROVIDER
		}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := stage.Validate(config); err != nil {
			t.Fatal(err)
		}
	}
	if calls := w.Provider.Calls(); calls != (simulator.Calls{}) {
		t.Errorf("the provider was called: %+v", calls)
	}
	if n := guest.CachesOpened.Load() - opens; n != 0 {
		t.Errorf("the cache was opened %d times", n)
	}
}

// TestSecretsNeverGoOutOverPlainHTTPThroughAPlaceholder: an address with braces
// in it was taken for one that is still to be resolved, and passed.
func TestSecretsNeverGoOutOverPlainHTTPThroughAPlaceholder(t *testing.T) {
	t.Setenv("X_SECRET", "topsecret")
	for value, remedy := range map[string]string{
		"http://dqe.example.com/{x}": "must begin with https://",
		"topsecret{x}":               "is no address",
	} {
		t.Setenv("X_SERVER", value)
		config, err := stage.Adapt("http://localhost:0 {\nnumber_verify {\n" + strings.Replace(dqeBlock, "https://dqe.example.com", "{env.X_SERVER}", 1) + "\n}\n}")
		if err != nil {
			t.Fatal(err)
		}
		err = stage.Validate(config)
		if err == nil || !strings.Contains(err.Error(), remedy) || strings.Contains(err.Error(), value) {
			t.Errorf("%s: %v", value, err)
		}
	}
}
