package bolt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func unmarshal(input string) (*Module, error) {
	d := caddyfile.NewTestDispenser("cache " + input + "\nnext line")
	d.Next()
	d.NextArg()
	module, err := caddyfile.UnmarshalModule(d, "http.number_verify.caches."+d.Val())
	if err != nil {
		return nil, err
	}
	return module.(*Module), nil
}

func TestMistakesInTheCaddyfile(t *testing.T) {
	for name, input := range map[string]string{
		"no file":    "bolt",
		"empty file": `bolt ""`,
		"two files":  "bolt /a /b",
	} {
		if _, err := unmarshal(input); err == nil || !strings.Contains(err.Error(), "cache bolt /var/lib/caddy/number-verify.db") || !strings.Contains(err.Error(), "Testfile:1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, block := range map[string]string{
		`unknown subdirective "sync"; there is just secret`: "sync off",
		"set twice":     "secret aSecret890abcdef\n\tsecret aSecret890abcdef",
		"one or more":   "secret",
		"at least 16":   "secret aSecret890abcde",
		"at least 16 c": "secret aSecret890abcdef aSecret890abcde",
	} {
		_, err := unmarshal("bolt /a {\n\t" + block + "\n}")
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "aSecret") || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%q: %v", block, err)
		}
	}
}

func TestSecretsAreResolvedAndNeverEmpty(t *testing.T) {
	t.Setenv("BOLT_SECRET", "0123456789abcdef")
	m, err := unmarshal("bolt /a {\n\tsecret {env.BOLT_SECRET} the-previous-secret\n}")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Provision(caddy.Context{}); err != nil || !slices.Equal(m.Secrets(), []string{"0123456789abcdef", "the-previous-secret"}) {
		t.Errorf("the secrets are %q, %v", m.Secrets(), err)
	}
	if !slices.Equal(m.IndexSecrets, []string{"{env.BOLT_SECRET}", "the-previous-secret"}) {
		t.Errorf("the configuration itself holds %q", m.IndexSecrets)
	}
	for _, missing := range [][]string{{"{env.BOLT_MISSING}"}, {"{env.BOLT_SECRET}", "{env.BOLT_MISSING}"}, {""}} {
		m.IndexSecrets = missing
		if err := m.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", missing, err)
		}
	}
}

// The records are the same whatever the secret, so a reload goes on with the open file.
func TestAnotherSecretIsTheSameStore(t *testing.T) {
	for _, block := range []string{"", " {\n\tsecret the-current-secret\n}", " {\n\tsecret the-next-secret-of-all the-current-secret\n}"} {
		m, err := unmarshal("bolt /a" + block)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Provision(caddy.Context{}); err != nil || m.StoreName() != "bolt /a" {
			t.Errorf("%s: %q, %v", block, m.StoreName(), err)
		}
	}
}

func TestFileIsNamedWhenTheConfigurationLoadsAndNotOpened(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("BOLT_DIR", dir)
	m, err := unmarshal("bolt {env.BOLT_DIR}/x/../nv.db")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if want := "bolt " + filepath.Join(dir, "nv.db"); m.StoreName() != want {
		t.Errorf("the store is %q, want %q", m.StoreName(), want)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
	missing := &Module{File: "{env.BOLT_MISSING}"}
	if err := missing.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), "file") {
		t.Errorf("an empty placeholder: %v", err)
	}
}
