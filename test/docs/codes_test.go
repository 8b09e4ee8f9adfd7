package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/test/manual"
)

const troubleshooting = "docs/troubleshooting.md"

// linked is a link, with its text.
var linked = regexp.MustCompile(`\[([^\]]+)\]\([^)]+\)`)

// TestTroubleshootingTellsEveryCode holds the table of codes to the code, and to the
// words of caddy number-verify explain.
func TestTroubleshootingTellsEveryCode(t *testing.T) {
	var told, want []string
	plain := strings.NewReplacer("`", "")
	for _, row := range manual.Rows(manual.Section(t, manual.Page(t, troubleshooting), "## Codes")) {
		told = append(told, plain.Replace(linked.ReplaceAllString(strings.Join(row, " | "), "$1")))
	}
	for _, code := range refusal.Codes() {
		want = append(want, fmt.Sprintf("%s | %d | %s | %s", code, code.Status(), code.Cause(), code.Remedy()))
	}
	slices.Sort(told)
	slices.Sort(want)
	if len(want) < 18 || !slices.Equal(told, want) {
		t.Errorf("%s has the codes\n%s\nthere are\n%s", troubleshooting, strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

// TestTroubleshootingTellsEveryLogMessage holds the tables of messages to the calls of
// the log, with the level where the call says it.
func TestTroubleshootingTellsEveryLogMessage(t *testing.T) {
	logged := logCalls(t)
	told := make(map[string]bool)
	page := manual.Page(t, troubleshooting)
	for _, heading := range []string{"### Attempts", "### What needs you", "### The cache"} {
		for _, row := range manual.Rows(manual.Section(t, page, heading)) {
			message := strings.Trim(row[0], "`")
			told[message] = true
			level, ok := logged[message]
			if !ok {
				t.Errorf("%s tells of the message %q, which nothing logs", troubleshooting, message)
			} else if level != "" && !strings.HasPrefix(row[1], level) {
				t.Errorf("%s: %q is logged as %s, not %s", troubleshooting, message, level, row[1])
			}
		}
	}
	for _, message := range slices.Sorted(maps.Keys(logged)) {
		if !told[message] {
			t.Errorf("%s does not tell of the message %q", troubleshooting, message)
		}
	}
}

// levels are the methods that write a message to a log, and its level where they say
// it. NotDone is the journal's, for messages that
// more than one place writes.
var levels = map[string]string{
	"Debug": "debug", "Info": "info", "Warn": "warn", "Error": "error", "Log": "", "NotDone": "warn",
}

// logCalls are the messages in the code, and their levels.
func logCalls(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	files := sources(t, func(path string) bool {
		return !isTest(path) && !strings.HasPrefix(path, "examples/") && !strings.HasPrefix(path, "test/") && !strings.Contains(path, "test/")
	})
	for path, text := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok {
				if message, level, ok := logged(call); ok {
					found[message] = level
				}
			}
			return true
		})
	}
	return found
}

// logged tells what a call writes to a log: its first argument that is a text.
func logged(call *ast.CallExpr) (message, level string, ok bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", "", false
	}
	if level, ok = levels[method.Sel.Name]; !ok {
		return "", "", false
	}
	for _, arg := range call.Args {
		if literal, ok := arg.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			message, err := strconv.Unquote(literal.Value)
			return message, level, err == nil
		}
	}
	return "", "", false
}
