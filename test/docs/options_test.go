package docs_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	numberverify "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/cache/bolt"
	"github.com/numberverify/caddy-number-verify/cache/memory"
	"github.com/numberverify/caddy-number-verify/cache/redis"
	"github.com/numberverify/caddy-number-verify/test/manual"
	"github.com/numberverify/caddy-number-verify/verifier/dqe"
)

// optionsOf are the options of each section of docs/configuration.md. What a Caddyfile
// writes beside another value has no line of its own.
var optionsOf = map[string]struct {
	modules []any
	besides string
}{
	"## number_verify": {[]any{numberverify.Handler{}, numberverify.Options{}}, "match logo"},
	"## verifier dqe":  {[]any{dqe.Module{}}, ""},
	"## cache memory":  {[]any{memory.Module{}}, ""},
	"## cache bolt":    {[]any{bolt.Module{}}, "file"},
	"## cache redis":   {[]any{redis.Module{}}, "addresses"},
	"### tls":          {[]any{redis.TLS{}}, "key"},
	"## limits":        {[]any{numberverify.Limits{}}, ""},
}

// TestConfigurationTellsEveryOption keeps a new option from being forgotten, and one
// that is gone from staying.
func TestConfigurationTellsEveryOption(t *testing.T) {
	example, err := os.ReadFile("Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	syntax, err := os.ReadFile("caddyfile.go")
	if err != nil {
		t.Fatal(err)
	}
	for heading, section := range optionsOf {
		var want, told []string
		for _, module := range section.modules {
			for field := range reflect.TypeOf(module).Fields() {
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				if name != "" && !slices.Contains(strings.Fields(section.besides), name) {
					want = append(want, name)
				}
			}
		}
		if len(want) == 0 {
			if rows := manual.Rows(manual.Section(t, manual.Page(t, "docs/configuration.md"), heading)); len(rows) > 0 {
				t.Errorf("%s: there are no options, but the page tells of %v", heading, rows)
			}
			continue
		}
		for _, option := range manual.Options(t, heading) {
			told = append(told, option.Name)
		}
		slices.Sort(want)
		slices.Sort(told)
		if !slices.Equal(told, want) {
			t.Errorf("%s: docs/configuration.md tells of\n%v\nthere are\n%v", heading, told, want)
		}
		for _, option := range want {
			if heading == "## number_verify" && !strings.Contains(string(syntax), "//\t\t"+option) {
				t.Errorf("the syntax in caddyfile.go does not show %s", option)
			}
			if !regexp.MustCompile(`(?m)^\s*(#\s+)?` + option + `\b`).Match(example) {
				t.Errorf("Caddyfile.example does not show %s", option)
			}
		}
	}
}
