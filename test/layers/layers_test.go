// Package layers holds the packages of the module to their order: imports go
// downward only, so that each can be read with what is below it in mind and
// nothing else.
package layers

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/numberverify/caddy-number-verify"

// floors are the packages of the module from the top to the bottom, each in its
// place from the module's root.
var floors = [][]string{
	{""}, // Caddy's face: the directive and the app
	{"internal/gate"},
	{"internal/attempt"},
	{"internal/quota", "internal/provider"},
	{"internal/ledger", "internal/journal", "internal/pages"},
	{"internal/refusal"},
	guests,
	{"verifier", "cache", "internal/phone", "internal/option"},
	{"internal/address", "internal/percent", "internal/remote"},
}

// guests are verifiers and caches. Caddy's face alone knows them, by name only:
// others may add theirs.
var guests = []string{"verifier/dqe", "cache/memory", "cache/bolt", "cache/redis", "cache/sealed"}

// outside are folders whose packages may import everything.
var outside = []string{
	"examples/", "test/", "verifier/verifiertest", "cache/cachetest",
}

// floor returns the floor that a package is on, counted from the top, or -1.
func floor(path string) int {
	return slices.IndexFunc(floors, func(packages []string) bool { return slices.Contains(packages, path) })
}

// imports are those of each package, tests apart, by its place in the module.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	command.Dir = "../.."
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	of := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		path := within(fields[0])
		if !slices.ContainsFunc(outside, func(folder string) bool { return strings.HasPrefix(path, folder) }) {
			of[path] = fields[1:]
		}
	}
	return of
}

// within returns the place of a package in the module.
func within(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, module), "/") }

func TestImportsGoDownward(t *testing.T) {
	for path, imported := range imports(t) {
		if floor(path) < 0 {
			t.Errorf("%s has no floor: give it one in this test, and in ARCHITECTURE.md", path)
		}
		for _, other := range imported {
			if strings.HasPrefix(other, module) && floor(within(other)) < floor(path) {
				t.Errorf("%s imports %s, which is above it", path, within(other))
			}
		}
	}
}

func TestCoreKnowsNeitherCaddyNorGuests(t *testing.T) {
	ofCaddy := append([]string{"", "internal/option"}, guests...)
	for path, imported := range imports(t) {
		if slices.Contains(ofCaddy, path) {
			continue
		}
		for _, other := range imported {
			if strings.HasPrefix(other, "github.com/caddyserver/") || strings.HasPrefix(other, module) && slices.Contains(ofCaddy, within(other)) {
				t.Errorf("%s imports %s", path, other)
			}
		}
	}
}
