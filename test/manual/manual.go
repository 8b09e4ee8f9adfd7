// Package manual reads the documentation for tests. It imports nothing of the module,
// so that the tests of every package can use it.
package manual

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// Root is the folder of the repository, seen from any package of the module.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "Caddyfile.example")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working folder is outside the repository")
		}
		dir = parent
	}
}

// Page returns a page by its path from the root, such as docs/limits.md.
func Page(t testing.TB, name string) string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Pages are the paths of all pages from the root.
func Pages(t testing.TB) []string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			pages = append(pages, strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(root)+"/"))
		}
	}
	return pages
}

// block is a fenced block, with what stands beside its first fence.
var block = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")

// Blocks are the fenced blocks of a page of that kind, such as "json".
func Blocks(page, kind string) []string {
	var found []string
	for _, m := range block.FindAllStringSubmatch(page, -1) {
		if m[1] == kind {
			found = append(found, m[2])
		}
	}
	return found
}

// Prose is a page without its fenced blocks.
func Prose(page string) string { return block.ReplaceAllString(page, "") }

// Section is what stands under the heading of a page up to the next heading.
func Section(t testing.TB, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut("\n"+Prose(page), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("there is no heading %q", heading)
	}
	section, _, _ := strings.Cut(rest, "\n#")
	return section
}

// Rows are the cells of the tables in text, without their heads.
func Rows(text string) [][]string {
	var rows [][]string
	inTable := false
	for line := range strings.Lines(text) {
		switch line = strings.TrimSpace(line); {
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case strings.HasPrefix(line, "|---"):
			inTable = true
		case inTable:
			rows = append(rows, cells(line))
		}
	}
	return rows
}

// cells splits a row at its bars, but for those that are escaped.
func cells(row string) []string {
	row = strings.ReplaceAll(strings.Trim(row, "|"), `\|`, "\x00")
	all := strings.Split(row, "|")
	for i := range all {
		all[i] = strings.ReplaceAll(strings.TrimSpace(all[i]), "\x00", "|")
	}
	return all
}

// Option is a row of docs/configuration.md.
type Option struct {
	Name string
	// Default is the value that the option has where it is left out; "" where there is
	// none, or one that cannot be written.
	Default string
}

var (
	optionCell  = regexp.MustCompile("^`([a-z_]+)[^`]*`$")
	defaultCell = regexp.MustCompile("^`([^`]+)`$")
)

// Options are those of a section of docs/configuration.md, such as "## limits".
func Options(t testing.TB, heading string) []Option {
	t.Helper()
	var options []Option
	for _, row := range Rows(Section(t, Page(t, "docs/configuration.md"), heading)) {
		name := optionCell.FindStringSubmatch(row[0])
		if name == nil || len(row) != 3 {
			t.Fatalf("docs/configuration.md, %s: %q is no row of an option", heading, row)
		}
		option := Option{Name: name[1]}
		if value := defaultCell.FindStringSubmatch(row[1]); value != nil {
			option.Default = value[1]
		}
		options = append(options, option)
	}
	if len(options) == 0 {
		t.Fatalf("docs/configuration.md has no options under %q", heading)
	}
	return options
}

// CheckDefaults sets each option of a section of docs/configuration.md to the default
// that it states, which must change nothing. With returns what an option, such as
// "timeout 5s", makes of a configuration that sets no other; "" is no option. It returns
// how many defaults the section states.
func CheckDefaults[T any](t testing.TB, heading string, with func(option string) T) (stated int) {
	t.Helper()
	defaults := with("")
	for _, option := range Options(t, heading) {
		if option.Default == "" {
			continue
		}
		stated++
		if told := with(option.Name + " " + option.Default); !reflect.DeepEqual(told, defaults) {
			t.Errorf("%s %s is not the default: it gives %+v in place of %+v", option.Name, option.Default, told, defaults)
		}
	}
	return stated
}
