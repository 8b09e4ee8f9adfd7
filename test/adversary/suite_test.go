package adversary

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

var caddyFile = flag.String("caddy", "", "the Caddy to attack, an absolute path; without it one of this checkout")

// TestMain is also the Caddy of this checkout, and compares the vectors that were
// tried with what the documentation says of them.
func TestMain(m *testing.M) {
	stage.Main()
	flag.Parse()
	stage.Binary = *caddyFile
	if err := environment(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	stopServers()
	if code == 0 && triesAll() {
		code = compareWithDocs()
	}
	os.Exit(code)
}

// triesAll tells whether no vector was left out, by -run, -skip or -list.
func triesAll() bool {
	return !slices.ContainsFunc([]string{"test.run", "test.skip", "test.list"}, func(name string) bool {
		return flag.Lookup(name).Value.String() != ""
	})
}

// vector is one thing that an adversary tries.
type vector struct {
	// name says what is tried.
	name string
	// like is what it imitates: an advisory, or a kind of mistake that gates of
	// this sort are known for.
	like string
}

func (v vector) self() vector { return v }

// tried counts the vectors of each class.
var tried = struct {
	sync.Mutex
	classes map[string]int
}{classes: make(map[string]int)}

// attack tries all vectors of a class.
func attack[V interface{ self() vector }](t *testing.T, class string, vectors []V, try func(*testing.T, V)) {
	t.Helper()
	names := make(map[string]bool)
	for _, v := range vectors {
		name := v.self().name
		if name == "" || v.self().like == "" || names[name] {
			t.Fatalf("vector %q does not say what it is, or what it imitates, or is there twice", name)
		}
		names[name] = true
		t.Run(name, func(t *testing.T) { try(t, v) })
	}
	count(class, len(vectors))
}

// count notes that so many vectors of a class were tried.
func count(class string, vectors int) {
	tried.Lock()
	defer tried.Unlock()
	tried.classes[class] += vectors
}

const docs = "../../docs/security.md"

var docsRow = regexp.MustCompile(`(?m)^\| ([^|]+) \| ([0-9,]+) \|`)

// compareWithDocs checks the documentation's table of vectors, and prints how it
// should read where it does not.
func compareWithDocs() int {
	text, err := os.ReadFile(docs)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	said := make(map[string]string)
	for _, row := range docsRow.FindAllStringSubmatch(string(text), -1) {
		said[row[1]] = row[2]
	}
	wrong := len(said) != len(tried.classes)
	for class, n := range tried.classes {
		wrong = wrong || strings.ReplaceAll(said[class], ",", "") != fmt.Sprint(n)
	}
	if !wrong {
		return 0
	}
	var table strings.Builder
	for _, class := range slices.Sorted(maps.Keys(tried.classes)) {
		fmt.Fprintf(&table, "| %s | %d | …\n", class, tried.classes[class])
	}
	fmt.Fprintf(os.Stderr, "%s counts other vectors than those that were tried, which were:\n%s", docs, &table)
	return 1
}
