package dqe

import (
	"context"
	"fmt"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/numberverify/caddy-number-verify/test/manual"
)

// TestDefaultsOfTheDocumentationAreThoseOfTheCode sets each option to the default that
// docs/configuration.md states. That must change nothing.
func TestDefaultsOfTheDocumentationAreThoseOfTheCode(t *testing.T) {
	with := func(line string) settings {
		d := caddyfile.NewTestDispenser(fmt.Sprintf("dqe {\nserver https://dqe.example.com\nlicence licence\nclient_secret secret\nname name\n%s\n}", line))
		m := new(Module)
		if err := m.UnmarshalCaddyfile(d); err != nil {
			t.Fatal(err)
		}
		if err := m.Provision(caddy.Context{Context: context.Background()}); err != nil {
			t.Fatal(err)
		}
		return m.client.settings
	}
	if stated := manual.CheckDefaults(t, "## verifier dqe", with); stated < 4 {
		t.Errorf("the documentation tells %d defaults", stated)
	}
}
