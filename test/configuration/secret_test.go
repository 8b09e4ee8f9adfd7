package configuration_test

import (
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// withToken is a verifier whose account's licence, which is public, is all that it
// has beside its tokens.
const withToken = "verifier dqe {\nserver https://dqe.example.com\nlicence PUBLIC-LICENCE-CODE\nname x\ntoken {env.TEST_TOKEN}\n}\n"

func TestNumbersOutsideTheProcessAreNotIndexedByThePublicLicence(t *testing.T) {
	t.Setenv("TEST_TOKEN", "a-token")
	t.Setenv("TEST_SHORT", "short-and-sweet") // 15 bytes
	for name, c := range map[string]struct{ global, site, line, want string }{
		"bolt":              {"", "cache bolt /nv.db\n" + withToken, ":3", "'secret {env.NUMBER_VERIFY_SECRET}'"},
		"redis":             {"", "cache redis localhost\n" + withToken, ":3", "'secret {env.NUMBER_VERIFY_SECRET}'"},
		"a global bolt":     {"{\nnumber_verify {\ncache bolt /nv.db\n}\n}\n", withToken, ":7", "'secret {env.NUMBER_VERIFY_SECRET}'"},
		"a global verifier": {"{\nnumber_verify {\n" + withToken + "}\n}\n", "cache bolt /nv.db\n", ":13", "'secret {env.NUMBER_VERIFY_SECRET}'"},
		"a short one, bolt": {"", "cache bolt /nv.db {\nsecret short-and-sweet\n}\n" + withToken, ":4", "at least 16 characters"},
		"a short second":    {"", "cache bolt /nv.db {\nsecret long-enough-for-a-secret short-and-sweet\n}\n" + dqeBlock, ":4", "at least 16 characters"},
		"a short one":       {"", "cache redis localhost {\nsecret short-and-sweet\n}\n" + withToken, ":4", "at least 16 characters"},
		"beside another":    {"", "cache redis localhost {\nsecret short-and-sweet\n}\n" + dqeBlock, ":4", "at least 16 characters"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := stage.Adapt(c.global + "http://localhost {\nnumber_verify {\n" + c.site + "\n}\n}")
			if err == nil || !strings.Contains(err.Error()+",", "at Caddyfile"+c.line+",") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "sweet") {
				t.Errorf("want Caddyfile%s and %q in: %v", c.line, c.want, err)
			}
		})
	}
	for name, site := range map[string]string{
		"memory":        withToken,
		"bolt":          "cache bolt /nv.db {\nsecret long-enough-for-a-secret\n}\n" + withToken,
		"a placeholder": "cache redis localhost {\nsecret {env.X}\n}\n" + withToken,
		"another's":     "cache bolt /nv.db\n" + dqeBlock,
		"a guest's":     "cache test_flaky\n" + withToken, // says nothing before it is loaded
	} {
		if _, err := stage.Adapt("http://localhost {\nnumber_verify {\n" + site + "\n}\n}"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigurationsWithoutASecretDoNotLoad(t *testing.T) {
	t.Setenv("TEST_TOKEN", "a-token")
	t.Setenv("TEST_SHORT", "short-and-sweet")
	t.Setenv("TEST_LONG", "short-and-sweet!")
	for cache, want := range map[string]string{
		`{"store":"bolt","file":"/nv.db"}`:                                                            "needs a secret",
		`{"store":"redis","addresses":["localhost"]}`:                                                 "needs a secret",
		`{"store":"test_flaky"}`:                                                                      "needs a secret",
		`{"store":"test_flaky","secret":["short-and-sweet"]}`:                                         "at least 16 characters",
		`{"store":"bolt","file":"/nv.db","secret":["short-and-sweet"]}`:                               "at least 16 characters",
		`{"store":"bolt","file":"/nv.db","secret":["{env.TEST_SHORT}"]}`:                              "at least 16 characters",
		`{"store":"redis","addresses":["localhost"],"secret":["short-and-sweet"]}`:                    "at least 16 characters",
		`{"store":"redis","addresses":["localhost"],"secret":["{env.TEST_SHORT}"]}`:                   "at least 16 characters",
		`{"store":"redis","addresses":["localhost"],"secret":["{env.TEST_LONG}"]}`:                    "",
		`{"store":"bolt","file":"/nv.db","secret":["{env.TEST_LONG}"]}`:                               "",
		`{"store":"test_flaky","secret":["short-and-sweet!","short-and-sweet"]}`:                      "at least 16 characters",
		`{"store":"bolt","file":"/nv.db","secret":["{env.TEST_LONG}","short-and-sweet"]}`:             "at least 16 characters",
		`{"store":"bolt","file":"/nv.db","secret":["{env.TEST_LONG}","{env.TEST_LONG}"]}`:             "",
		`{"store":"bolt","file":"/nv.db","secret":"short-and-sweet!"}`:                                "cannot unmarshal",
		`{"store":"redis","addresses":["localhost"],"secret":["{env.TEST_LONG}","{env.TEST_SHORT}"]}`: "at least 16 characters",
		`{"store":"memory"}`: "",
	} {
		config := `{"admin":{"disabled":true},"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[
			{"handler":"number_verify","public_url":["http://localhost"],"cache":` + cache + `,
			"verifier":{"provider":"dqe","server":"https://dqe.example.com","licence":"PUBLIC-LICENCE-CODE","name":"x","token":"{env.TEST_TOKEN}"}}]}]}}}}}`
		err := stage.Validate([]byte(config))
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sweet")) {
			t.Errorf("%s: %v, want %q", cache, err, want)
		}
	}
}

// TestTokenServesOneAttemptAlsoWhereTwoCachesWouldEachClaimIt: the SIM of the second
// attempt would be taken for that of the first.
func TestTokenServesOneAttemptAlsoWhereTwoCachesWouldEachClaimIt(t *testing.T) {
	t.Setenv("TEST_TOKEN", "a-token")
	handler := func(path, cache string) string {
		return `{"handler":"number_verify","public_url":["http://localhost"],"path":"` + path + `","cache":` + cache + `,
			"verifier":{"provider":"dqe","server":"https://dqe.example.com","licence":"x","name":"x","token":"{env.TEST_TOKEN}"}}`
	}
	for second, want := range map[string]string{
		`{"store":"memory"}`: "",
		`{"store":"bolt","file":"/nv.db","secret":["long-enough-for-a-secret"]}`: "need one cache, but there are memory and bolt /nv.db",
	} {
		config := `{"admin":{"disabled":true},"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[` +
			handler("/.a", `{"store":"memory"}`) + "," + handler("/.b", second) + `]}]}}}}}`
		if err := stage.Validate([]byte(config)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", second, err, want)
		}
	}
}

// Braces make a placeholder of a part of a secret, and Caddy's error repeats it.
func TestSecretWithBracesIsNotRepeatedByTheErrorOfItsPlaceholder(t *testing.T) {
	for _, secret := range []string{"{hunter2}", "a{hunter2}b", "{env.X}{hunter2}"} {
		config := `{"admin":{"disabled":true},"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[
			{"handler":"number_verify","public_url":["http://localhost"],
			"verifier":{"provider":"dqe","server":"https://dqe.example.com","licence":"x","name":"x","client_secret":"` + secret + `"}}]}]}}}}}`
		if err := stage.Validate([]byte(config)); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "client_secret") {
			t.Errorf("%s: %v", secret, err)
		}
	}
}
