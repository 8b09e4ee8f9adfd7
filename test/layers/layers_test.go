// Package layers holds the packages of the module to their order: imports go
// downward only, so that each can be read with what is below it in mind and
// nothing else.
package layers

import (
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/manual"
)

const module = "github.com/numberverify/caddy-number-verify"

// floors are the packages of the module from the top to the bottom, each in its
// place from the module's root.
var floors = [][]string{
	{""}, // Caddy's face: the directive and the app
	{"internal/gate", "internal/command"},
	{"internal/attempt"},
	{"internal/quota", "internal/provider"},
	{"internal/journal", "internal/pages"},
	{"internal/ledger", "internal/metrics"},
	{"internal/events", "internal/tracing"},
	{"internal/refusal"},
	{"verifier/dqe", "cache/bolt", "cache/redis"},
	{"cache/memory", "cache/sealed"},
	{"verifier", "cache", "internal/phone", "internal/option"},
	{"internal/address", "internal/percent", "internal/remote"},
}

// guests are verifiers and caches. Only Caddy's face knows them, and only by name:
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
			if strings.HasPrefix(other, module) && floor(within(other)) <= floor(path) {
				t.Errorf("%s imports %s, which is not below it", path, within(other))
			}
		}
	}
}

func TestCoreKnowsNeitherCaddyNorGuests(t *testing.T) {
	ofCaddy := append([]string{"", "internal/command", "internal/option"}, guests...)
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

// arrow is a line of the drawing in ARCHITECTURE.md: a package and those that it
// imports.
var arrow = regexp.MustCompile(`(?m)^\s+(\w+) --> (.+)$`)

// drawn are the arrows of the drawing, by the last element of each package's path.
func drawn(t *testing.T) map[string][]string {
	t.Helper()
	arrows := make(map[string][]string)
	for _, line := range arrow.FindAllStringSubmatch(manual.Page(t, "ARCHITECTURE.md"), -1) {
		arrows[line[1]] = append(arrows[line[1]], strings.Split(line[2], " & ")...)
	}
	return arrows
}

// leads tells whether arrows lead from a package to another.
func leads(arrows map[string][]string, from, to string) bool {
	return slices.ContainsFunc(arrows[from], func(next string) bool { return next == to || leads(arrows, next, to) })
}

func TestArchitectureDrawsTheImports(t *testing.T) {
	arrows := drawn(t)
	name := func(path string) string {
		if path == "" {
			return "root"
		}
		return path[strings.LastIndexByte(path, '/')+1:]
	}
	imported := make(map[string][]string)
	for path, others := range imports(t) {
		for _, other := range others {
			if strings.HasPrefix(other, module) {
				imported[name(path)] = append(imported[name(path)], name(within(other)))
			}
		}
	}
	for from, all := range imported {
		for _, to := range all {
			if !leads(arrows, from, to) {
				t.Errorf("%s imports %s: ARCHITECTURE.md draws no way from the one to the other", from, to)
			}
		}
	}
	for _, from := range slices.Sorted(maps.Keys(arrows)) {
		for _, to := range arrows[from] {
			if !slices.Contains(imported[from], to) {
				t.Errorf("ARCHITECTURE.md draws %s --> %s: there is no such import", from, to)
			}
		}
	}
}
