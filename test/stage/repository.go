package stage

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/manual"
)

// Caddyfiles returns all Caddyfiles of the repository by name: a file by its path from
// the root, and a block of the documentation by its page and first line, such as
// "README.md: www.example.com {".
func Caddyfiles(t testing.TB) map[string]string {
	t.Helper()
	root, err := manual.Root()
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
	for _, page := range manual.Pages(t) {
		for _, block := range manual.Blocks(manual.Page(t, page), "caddyfile") {
			first, _, _ := strings.Cut(block, "\n")
			name := page + ": " + first
			if _, twice := found[name]; twice {
				t.Fatalf("%s stands there twice: give one another first line", name)
			}
			found[name] = block
		}
	}
	return found
}
