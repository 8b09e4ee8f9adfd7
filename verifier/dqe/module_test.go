package dqe

import (
	"context"
	"fmt"
	"reflect"
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
	defaults, checked := with(""), 0
	for _, option := range manual.Options(t, "## verifier dqe") {
		if option.Default == "" {
			continue
		}
		checked++
		if told := with(option.Name + " " + option.Default); !reflect.DeepEqual(told, defaults) {
			t.Errorf("%s %s is not the default: it gives %+v in place of %+v", option.Name, option.Default, told, defaults)
		}
	}
	if checked < 4 {
		t.Errorf("the documentation tells %d defaults", checked)
	}
}
