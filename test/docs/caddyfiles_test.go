package docs_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/test/manual"
	"github.com/numberverify/caddy-number-verify/test/stage"
	_ "github.com/numberverify/caddy-number-verify/test/stage/guest" // handlers of events
)

// aSite is what stands around the lines of a site that a page shows alone.
const aSite = `{
	number_verify {
		public_url https://www.example.com
		verifier dqe {
			server {env.DQE_SERVER}
			licence {env.DQE_LICENCE}
			client_secret {env.DQE_CLIENT_SECRET}
			name "Example SAS"
		}
	}
}

www.example.com {
%s}
`

// setEnvironment sets what Caddyfiles take from there.
func setEnvironment(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"DQE_SERVER": "https://dqe.example.com", "DQE_LICENCE": "licence", "DQE_CLIENT_SECRET": "secret", "VALKEY_PASSWORD": "secret",
		"DEMO_PORT": "8080", "DEMO_SIMULATOR": "localhost:8081", "DEMO_SITE": "localhost:8082", "DEMO_CLIENT_SECRET": "secret",
		"DEMO_PAGES": "internal/pages/templates",
	} {
		t.Setenv(name, value)
	}
}

func TestEveryCaddyfileIsFormattedAdaptsAndValidates(t *testing.T) {
	setEnvironment(t)
	all := stage.Caddyfiles(t)
	for _, page := range manual.Pages(t) {
		for i, lines := range manual.Blocks(manual.Page(t, page), "caddyfile site") {
			indented := "\t" + strings.TrimSuffix(strings.ReplaceAll(lines, "\n", "\n\t"), "\t")
			all[fmt.Sprintf("%s: part %d", page, i+1)] = fmt.Sprintf(aSite, indented)
		}
	}
	if len(all) < 20 {
		t.Errorf("only %d Caddyfiles were found", len(all))
	}
	elsewhere := strings.NewReplacer("/var/log/caddy", t.TempDir(), "/etc/caddy/number-verify", t.TempDir())
	for name, text := range all {
		t.Run(name, func(t *testing.T) {
			if formatted := string(caddyfile.Format([]byte(text))); formatted != text {
				t.Errorf("not formatted; it should be:\n%s", formatted)
			}
			config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(elsewhere.Replace(text)), map[string]any{"filename": name})
			if err != nil || len(warnings) > 0 {
				t.Fatalf("adapting: %v %v", err, warnings)
			}
			validate(t, config)
		})
	}
}

func validate(t *testing.T, config []byte) {
	t.Helper()
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&parsed); err != nil {
		t.Fatalf("validating: %v", err)
	}
}

func TestJSONOfTheDocumentationIsReadAndLoads(t *testing.T) {
	setEnvironment(t)
	handlers := 0
	for _, page := range manual.Pages(t) {
		for _, block := range manual.Blocks(manual.Page(t, page), "json") {
			var object map[string]any
			if err := json.Unmarshal([]byte(block), &object); err != nil {
				t.Errorf("%s: %v in %s", page, err, block)
			}
			if object["handler"] != nil {
				handlers++
				validate(t, fmt.Appendf(nil, `{"admin":{"disabled":true},"apps":{"http":{"servers":{"a":{"routes":[{"handle":[%s]}]}}}}}`, block))
			}
		}
	}
	if handlers == 0 {
		t.Error("no handler is shown")
	}
}
