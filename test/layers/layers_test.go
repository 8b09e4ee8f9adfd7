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
// place from the module's root. What is under examples and test may import
// everything.
var floors = [][]string{
	{""}, // Caddy's face
	{"internal/gate"},
	{"internal/attempt"},
	{"internal/quota", "internal/provider"},
	{"internal/ledger", "internal/journal", "internal/pages"},
	{"internal/refusal"},
	guests,
	{"verifier", "cache", "internal/phone"},
	{"internal/address", "internal/percent", "internal/remote"},
}

// guests are verifiers and caches, and what helps to write them. Caddy's face
// alone knows them, by name only: others may add theirs.
var guests = []string{
	"verifier/dqe", "verifier/verifiertest",
	"cache/memory", "cache/bolt", "cache/redis", "cache/sealed", "cache/cachetest",
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
		if !free(path) {
			of[path] = fields[1:]
		}
	}
	return of
}

// free says whether a package may import everything.
func free(path string) bool {
	return slices.ContainsFunc([]string{"examples/", "test/", "internal/adversary", "internal/redistest"}, func(root string) bool {
		return strings.HasPrefix(path, root)
	})
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
	for path, imported := range imports(t) {
		if path == "" || slices.Contains(guests, path) {
			continue
		}
		for _, other := range imported {
			if strings.HasPrefix(other, "github.com/caddyserver/") || slices.Contains(guests, within(other)) {
				t.Errorf("%s imports %s", path, other)
			}
		}
	}
}
