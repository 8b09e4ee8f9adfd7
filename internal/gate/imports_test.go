package gate

import (
	"go/build"
	"strings"
	"testing"
)

// TestCoreKnowsNothingOfCaddy keeps the core readable, and testable, without it.
func TestCoreKnowsNothingOfCaddy(t *testing.T) {
	for _, dir := range []string{".", "../pages", "../phone", "../../verifier", "../../cache"} {
		pkg, err := build.ImportDir(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range pkg.Imports {
			if strings.Contains(path, "caddyserver/") {
				t.Errorf("%s imports %s", dir, path)
			}
		}
	}
}
