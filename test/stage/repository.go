package stage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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

// Caddyfiles are all of the repository by name: the files by their path from the
// root, and the blocks of the documentation by page and first line, such as
// "README.md: www.example.com {".
func Caddyfiles(t testing.TB) map[string]string {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	repository := os.DirFS(root)
	err = fs.WalkDir(repository, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.Contains(entry.Name(), "Caddyfile") {
			return err
		}
		text, err := fs.ReadFile(repository, path)
		found[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	pages, err := fs.Glob(repository, "docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "README.md") {
		text, err := fs.ReadFile(repository, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range caddyfileBlock.FindAllStringSubmatch(string(text), -1) {
			name, _, _ := strings.Cut(block[1], "\n")
			found[page+": "+name] = block[1]
		}
	}
	return found
}

var caddyfileBlock = regexp.MustCompile("(?s)```caddyfile\n(.*?)```")
