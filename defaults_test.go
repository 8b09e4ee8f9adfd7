package numberverify

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/numberverify/caddy-number-verify/test/manual"
)

// TestCaddyfileExampleShowsTheDefaults compares the example with a handler that sets
// nothing.
func TestCaddyfileExampleShowsTheDefaults(t *testing.T) {
	example, err := os.ReadFile("Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(example, map[string]any{"filename": "Caddyfile.example"})
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(config, &tree); err != nil {
		t.Fatal(err)
	}
	handlers := handlersIn(t, tree)
	if len(handlers) != 1 {
		t.Fatalf("%d handlers of one directive", len(handlers))
	}
	for _, shown := range handlers {
		required := Options{VerifierRaw: shown.VerifierRaw, PublicURL: shown.PublicURL, Brand: shown.Brand}
		if want := required.withDefaults(); !reflect.DeepEqual(shown.Options, want) {
			t.Errorf("Caddyfile.example shows\n%s\nthe defaults are\n%s", encoded(t, shown.Options), encoded(t, want))
		}
	}
}

// TestDefaultsOfTheDocumentationAreThoseOfTheCode sets each option to the default in
// docs/configuration.md, which must change nothing.
func TestDefaultsOfTheDocumentationAreThoseOfTheCode(t *testing.T) {
	with := func(line string) Options {
		t.Helper()
		text := fmt.Sprintf(`http://localhost {
			number_verify {
				verifier dqe {
					server https://dqe.example.com
					licence licence
					client_secret {env.DQE_CLIENT_SECRET}
					name "Example SAS"
				}
				%s
			}
		}`, line)
		config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		var tree any
		if err := json.Unmarshal(config, &tree); err != nil {
			t.Fatal(err)
		}
		return handlersIn(t, tree)[0].Options.withDefaults()
	}
	inLimits := func(option string) Options {
		if option == "" {
			return with("")
		}
		return with("limits {\n" + option + "\n}")
	}
	stated := manual.CheckDefaults(t, "## number_verify", with) + manual.CheckDefaults(t, "## limits", inLimits)
	if stated < 16 {
		t.Errorf("the documentation tells %d defaults", stated)
	}
}

// handlersIn finds the handlers of this module in a configuration.
func handlersIn(t *testing.T, tree any) (found []Handler) {
	switch node := tree.(type) {
	case []any:
		for _, child := range node {
			found = append(found, handlersIn(t, child)...)
		}
	case map[string]any:
		if node["handler"] == appName {
			return []Handler{decoded(t, node)}
		}
		for _, child := range node {
			found = append(found, handlersIn(t, child)...)
		}
	}
	return found
}

func decoded(t *testing.T, node map[string]any) (h Handler) {
	t.Helper()
	if err := json.Unmarshal(encoded(t, node), &h); err != nil {
		t.Fatal(err)
	}
	return h
}

func encoded(t *testing.T, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
