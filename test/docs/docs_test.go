// Package docs_test holds the documentation, the examples and the code to each other.
package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/manual"
)

// TestMain runs the tests at the root of the repository, so that files have the
// names that they have there.
func TestMain(m *testing.M) {
	root, err := manual.Root()
	if err == nil {
		err = os.Chdir(root)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// sources are all Go files of the repository that a test wants.
func sources(t *testing.T, wanted func(path string) bool) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || !wanted(filepath.ToSlash(path)) {
			return err
		}
		text, err := os.ReadFile(path)
		found[filepath.ToSlash(path)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func isTest(path string) bool { return strings.HasSuffix(path, "_test.go") }

func TestReadmeIsShortAndLeadsToEveryPage(t *testing.T) {
	readme := manual.Page(t, "README.md")
	if lines := strings.Count(readme, "\n"); lines > 150 {
		t.Errorf("README.md has %d lines, which is more than anybody reads", lines)
	}
	for _, page := range manual.Pages(t) {
		if page != "README.md" && !strings.Contains(readme, "]("+page+")") {
			t.Errorf("README.md does not lead to %s", page)
		}
	}
	size := int64(0)
	for _, m := range image.FindAllStringSubmatch(readme, -1) {
		info, err := os.Stat(m[1])
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size == 0 || size > 150<<10 {
		t.Errorf("the pictures of README.md take %d bytes", size)
	}
}

var (
	link  = regexp.MustCompile(`\]\(([^)]+)\)`)
	image = regexp.MustCompile(`<img src="([^"]+)"`)
	// ownFile is an address of a file of this repository, where only a whole address
	// will do.
	ownFile = regexp.MustCompile(`https://github\.com/numberverify/caddy-number-verify/blob/main/([^\s#)]+)`)
)

func TestDocumentationLinksToWhatExists(t *testing.T) {
	for _, page := range manual.Pages(t) {
		prose := manual.Prose(manual.Page(t, page))
		for _, m := range link.FindAllStringSubmatch(prose, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.HasPrefix(target, "https://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(page), target))
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", page, err)
			} else if anchor != "" && !anchors(manual.Page(t, file))[anchor] {
				t.Errorf("%s: %s has no heading #%s", page, file, anchor)
			}
		}
	}
	forms, err := filepath.Glob(".github/ISSUE_TEMPLATE/*.yml")
	if err != nil || len(forms) == 0 {
		t.Fatalf("no issue forms: %v", err)
	}
	for _, form := range forms {
		text, err := os.ReadFile(form)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ownFile.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(m[1]); err != nil {
				t.Errorf("%s: %v", form, err)
			}
		}
	}
}

var (
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	dropped = regexp.MustCompile("[^a-z0-9_ -]")
)

// anchors are the names of a page's headings in links, as GitHub makes them.
func anchors(page string) map[string]bool {
	names := make(map[string]bool)
	for _, m := range heading.FindAllStringSubmatch(manual.Prose(page), -1) {
		name := dropped.ReplaceAllString(strings.ToLower(m[1]), "")
		names[strings.ReplaceAll(name, " ", "-")] = true
	}
	return names
}

var named = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`")

// TestDocsNameTestsThatExist keeps a test that moves from leaving its threat alone.
func TestDocsNameTestsThatExist(t *testing.T) {
	var code strings.Builder
	for _, text := range sources(t, isTest) {
		code.WriteString(text)
	}
	count := 0
	for _, page := range manual.Pages(t) {
		for _, m := range named.FindAllStringSubmatch(manual.Prose(manual.Page(t, page)), -1) {
			count++
			if !strings.Contains(code.String(), "func "+m[1]+"(") {
				t.Errorf("%s: there is no %s", page, m[1])
			}
		}
	}
	if count < 100 {
		t.Errorf("only %d tests are named", count)
	}
}

var (
	ownPath   = regexp.MustCompile(`(?:^|\s)(\./[^\s.]*(?:\.\.\.)?|\.)(?:\s|$)`)
	benchmark = regexp.MustCompile(`-bench (\w+)`)
)

// TestCommandsOfTheDocumentationNameWhatExists looks for the packages and the
// benchmarks in the commands of the documentation.
func TestCommandsOfTheDocumentationNameWhatExists(t *testing.T) {
	for _, page := range manual.Pages(t) {
		for _, block := range manual.Blocks(manual.Page(t, page), "sh") {
			for line := range strings.Lines(block) {
				if strings.HasPrefix(line, "go ") {
					checkCommand(t, page, strings.TrimSpace(line))
				}
			}
		}
	}
}

func checkCommand(t *testing.T, page, command string) {
	t.Helper()
	wanted, found := benchmark.FindStringSubmatch(command), false
	for _, m := range ownPath.FindAllStringSubmatch(command, -1) {
		folder := filepath.ToSlash(filepath.Clean(strings.TrimSuffix(m[1], "/...")))
		if folder != "caddy" {
			if _, err := os.Stat(folder); err != nil {
				t.Errorf("%s: %s: %v", page, command, err)
			}
		}
		if wanted == nil {
			continue
		}
		declared := regexp.MustCompile(`func Benchmark\w*` + wanted[1])
		for _, text := range sources(t, func(path string) bool { return filepath.ToSlash(filepath.Dir(path)) == folder && isTest(path) }) {
			found = found || declared.MatchString(text)
		}
	}
	if wanted != nil && !found {
		t.Errorf("%s: %s: there is no such benchmark", page, command)
	}
}
