package numberverify_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	numberverify "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/verifier/dqe"
)

// caddyfiles are all of the repository by name: the files, and the blocks of
// the README.
func caddyfiles(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(entry.Name(), "Caddyfile") {
			return err
		}
		text, err := os.ReadFile(path)
		found[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?s)```caddyfile\n(.*?)```").FindAllStringSubmatch(string(readme), -1) {
		name, _, _ := strings.Cut(block[1], "\n")
		found["README.md: "+name] = block[1]
	}
	return found
}

func TestEveryCaddyfileIsFormattedAdaptsAndValidates(t *testing.T) {
	t.Setenv("DQE_SERVER", "https://dqe.example.com")
	t.Setenv("DQE_LICENCE", "licence")
	t.Setenv("DQE_CLIENT_SECRET", "secret")
	t.Setenv("DEMO_PORT", "8080")
	t.Setenv("DEMO_SIMULATOR", "localhost:8081")
	t.Setenv("DEMO_SITE", "localhost:8082")
	t.Setenv("DEMO_CLIENT_SECRET", "secret")
	logs := t.TempDir()
	all := caddyfiles(t)
	if len(all) < 10 {
		t.Errorf("only %d Caddyfiles were found", len(all))
	}
	for name, text := range all {
		t.Run(name, func(t *testing.T) {
			if formatted := string(caddyfile.Format([]byte(text))); formatted != text {
				t.Errorf("not formatted; it should be:\n%s", formatted)
			}
			text = strings.ReplaceAll(text, "/var/log/caddy", logs)
			config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": name})
			if err != nil || len(warnings) > 0 {
				t.Fatalf("adapting: %v %v", err, warnings)
			}
			var parsed caddy.Config
			if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&parsed); err != nil {
				t.Fatalf("validating: %v", err)
			}
		})
	}
}

// TestEveryOptionIsDocumented keeps a new option from being forgotten.
func TestEveryOptionIsDocumented(t *testing.T) {
	example, err := os.ReadFile("Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var options []string
	for _, module := range []any{numberverify.Handler{}, numberverify.Options{}, dqe.Module{}} {
		for field := range reflect.TypeOf(module).Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name != "" && name != "part" && name != "logo" {
				options = append(options, name)
			}
		}
	}
	if len(options) < 30 {
		t.Fatalf("only %d options were found: %v", len(options), options)
	}
	for _, option := range options {
		if !regexp.MustCompile(`(?m)^\s*(# )?` + option + `\b`).Match(example) {
			t.Errorf("Caddyfile.example does not show %s", option)
		}
		if !strings.Contains(string(readme), "| `"+option) {
			t.Errorf("README.md has no row for %s", option)
		}
	}
}
