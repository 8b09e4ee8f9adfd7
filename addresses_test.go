package numberverify

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// If Caddy changes what is read by reflection, that must neither panic nor make a site
// look as if it were on loopback.
func TestAddressesAreUnknownWhereCaddyRenamesOrReshapesTheirField(t *testing.T) {
	type key struct{ Text string }
	type block struct{ Keys []key }
	if got := addressesIn(reflect.ValueOf(struct{ parentBlock block }{block{[]key{{"localhost"}, {":80"}}}})); !slices.Equal(got, addresses{"localhost", ":80"}) {
		t.Errorf("as in today's Caddy: %q", got)
	}
	for name, helper := range map[string]any{
		"no block":           struct{ serverBlock block }{block{[]key{{"localhost"}}}},
		"a pointer to it":    struct{ parentBlock *block }{&block{[]key{{"localhost"}}}},
		"no keys":            struct{ parentBlock struct{ Addresses []key } }{},
		"one key":            struct{ parentBlock struct{ Keys key } }{},
		"keys that are text": struct{ parentBlock struct{ Keys []string } }{struct{ Keys []string }{[]string{"localhost"}}},
		"a key without text": struct {
			parentBlock struct{ Keys []struct{ Name string } }
		}{struct{ Keys []struct{ Name string } }{make([]struct{ Name string }, 1)}},
		"none": struct{ parentBlock block }{},
	} {
		if got := addressesIn(reflect.ValueOf(helper)); got != nil || got.onLoopback() {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Then every directive needs a public_url, and directives are compared as if all were in
// one site: more is refused, and nothing less.
func TestDirectiveOfASiteWithUnknownAddressesFailsClosed(t *testing.T) {
	state := make(map[string]any)
	read := func(options string) error {
		d := caddyfile.NewTestDispenser("number_verify {\nverifier test_panicky\n" + options + "\n}")
		_, err := parseDirective(httpcaddyfile.Helper{Dispenser: d, State: state}) // made by hand, it has no site
		return err
	}
	wants := func(options, want string) {
		t.Helper()
		if err := read(options); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", options, err, want)
		}
	}
	wants("", "public_url: is required, also on loopback, since this version of Caddy does not tell the addresses of a site: add 'public_url https://www.example.com'")
	wants("public_url https://www.example.com", "")
	wants("public_url https://www.example.com\nmax_age 5m", "")
	wants("public_url https://www.example.org", "(in whatever site they stand: this version of Caddy does not tell)")
	wants("public_url https://www.example.org\npath /.number-verify/b", "(in whatever site they stand: this version of Caddy does not tell)")
	wants("public_url https://www.example.org\npath /.other", "")
}
