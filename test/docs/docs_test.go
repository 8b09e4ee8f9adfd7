// Package docs_test holds the documentation, the examples and the code to each other.
package docs_test

import (
	"fmt"
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
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	numberverify "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/cache/redis"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/verifier/dqe"
)

// TestMain runs the tests at the root of the repository, so that files have the
// names that they have there.
func TestMain(m *testing.M) {
	root, err := stage.Root()
	if err == nil {
		err = os.Chdir(root)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestEveryCaddyfileIsFormattedAdaptsAndValidates(t *testing.T) {
	t.Setenv("DQE_SERVER", "https://dqe.example.com")
	t.Setenv("DQE_LICENCE", "licence")
	t.Setenv("DQE_CLIENT_SECRET", "secret")
	t.Setenv("VALKEY_PASSWORD", "secret")
	t.Setenv("DEMO_PORT", "8080")
	t.Setenv("DEMO_SIMULATOR", "localhost:8081")
	t.Setenv("DEMO_SITE", "localhost:8082")
	t.Setenv("DEMO_PAGES", t.TempDir())
	t.Setenv("DEMO_CLIENT_SECRET", "secret")
	logs := t.TempDir()
	all := stage.Caddyfiles(t)
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
	for _, module := range []any{numberverify.Handler{}, numberverify.Options{}, dqe.Module{}, redis.Module{}} {
		for field := range reflect.TypeOf(module).Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name != "" && name != "match" && name != "logo" && name != "addresses" {
				options = append(options, name)
			}
		}
	}
	if len(options) < 30 {
		t.Fatalf("only %d options were found: %v", len(options), options)
	}
	for _, option := range options {
		if !regexp.MustCompile(`(?m)^\s*(#\s+)?` + option + `\b`).Match(example) {
			t.Errorf("Caddyfile.example does not show %s", option)
		}
		if !regexp.MustCompile("(?m)^\\| (`.+`, )?`" + option + `\b`).Match(readme) {
			t.Errorf("README.md has no row for %s", option)
		}
	}
}

// TestReadmeTellsEveryCode holds the table of codes to the code.
func TestReadmeTellsEveryCode(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range refusal.Codes() {
		if row := fmt.Sprintf("\n| `%s` | %d |", code, code.Status()); !strings.Contains(string(readme), row) {
			t.Errorf("README.md has no row that begins %q", row[1:])
		}
	}
}

// TestDocsNameTestsThatExist keeps a test that moves from leaving its threat alone.
func TestDocsNameTestsThatExist(t *testing.T) {
	var code strings.Builder
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		code.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range []string{"docs/security.md", "docs/reliability.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllStringSubmatch(string(text), -1)
		if len(named) < 10 {
			t.Errorf("%s names %d tests", doc, len(named))
		}
		for _, m := range named {
			if !strings.Contains(code.String(), "func "+m[1]+"(") {
				t.Errorf("%s: there is no %s", doc, m[1])
			}
		}
	}
}

func TestDocumentationLinksToWhatExists(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no documentation: %v", err)
	}
	for _, page := range append(pages, "README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(string(m[1]), "#")
			if strings.HasPrefix(target, "https://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", page, err)
			} else if anchor != "" && !anchors(t, file)[anchor] {
				t.Errorf("%s: %s has no heading #%s", page, file, anchor)
			}
		}
	}
}

// anchors are the names of a page's headings in links.
func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllSubmatch(text, -1) {
		name := regexp.MustCompile("[^a-z0-9_ -]").ReplaceAllString(strings.ToLower(string(m[1])), "")
		names[strings.ReplaceAll(name, " ", "-")] = true
	}
	return names
}
