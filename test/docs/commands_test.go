package docs_test

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/numberverify/caddy-number-verify/test/manual"
)

// commands are the commands below caddy number-verify, by their names.
func commands() map[string]*cobra.Command {
	found := make(map[string]*cobra.Command)
	var walk func(name string, cmd *cobra.Command)
	walk = func(name string, cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(strings.TrimSpace(name+" "+sub.Name()), sub)
		}
		if !cmd.HasSubCommands() {
			found[name] = cmd
		}
	}
	top := new(cobra.Command)
	caddycmd.Commands()["number-verify"].CobraFunc(top)
	walk("", top)
	return found
}

var (
	quoted    = regexp.MustCompile("`([^`]+)`")
	shortFlag = regexp.MustCompile("`-([a-z])`")
	invoked   = regexp.MustCompile(`caddy number-verify ([a-z][^|<>#\n]*)`)
)

// TestCommandsAreToldWithTheirFlags compares docs/commands.md with the commands, both
// ways: which there are, and which flags each takes.
func TestCommandsAreToldWithTheirFlags(t *testing.T) {
	page := manual.Page(t, "docs/commands.md")
	var told, want []string
	for _, row := range manual.Rows(manual.Section(t, page, "# Commands")) {
		if m := quoted.FindStringSubmatch(row[0]); len(row) == 2 {
			told = append(told, m[1])
			continue
		}
		flag, _, _ := strings.Cut(quoted.FindStringSubmatch(row[0])[1], " ")
		if m := shortFlag.FindStringSubmatch(row[0]); m != nil {
			flag += " " + m[1]
		}
		for _, m := range quoted.FindAllStringSubmatch(row[1], -1) {
			told = append(told, m[1]+" "+flag)
		}
	}
	for name, cmd := range commands() {
		want = append(want, name)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			want = append(want, strings.TrimSpace(name+" --"+f.Name+" "+f.Shorthand))
			if !strings.Contains(cmd.Use, "--"+f.Name) {
				t.Errorf("the usage of %s does not show --%s", name, f.Name)
			}
		})
		if manual.Section(t, page, "## "+name) == "" {
			t.Errorf("docs/commands.md says nothing of %s", name)
		}
	}
	slices.Sort(told)
	slices.Sort(want)
	if !slices.Equal(told, want) {
		t.Errorf("docs/commands.md has\n%s\nthere are\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

// TestCommandsThatAreNamedExist reads every command in the documentation, the examples
// and the help as the command itself would.
func TestCommandsThatAreNamedExist(t *testing.T) {
	texts := make(map[string]string)
	for _, page := range manual.Pages(t) {
		texts[page] = manual.Page(t, page)
	}
	for name, cmd := range commands() {
		texts["help of "+name] = cmd.Long + "\n" + cmd.Example
	}
	count := 0
	for where, text := range texts {
		for _, m := range invoked.FindAllStringSubmatch(text, -1) {
			line, _, _ := strings.Cut(m[1], "`")
			if err := parses(strings.Fields(line)); err != nil {
				t.Errorf("%s: caddy number-verify %s: %v", where, line, err)
			}
			count++
		}
	}
	if count < 10 {
		t.Errorf("only %d commands are named", count)
	}
}

// parses returns an error if there is no such command, or if it has no such flag.
func parses(words []string) error {
	top := new(cobra.Command)
	caddycmd.Commands()["number-verify"].CobraFunc(top)
	cmd, rest, err := top.Find(words)
	if err != nil {
		return err
	}
	for _, word := range rest {
		name, isFlag := strings.CutPrefix(word, "--")
		if name, _, _ = strings.Cut(strings.TrimRight(name, ".,:;"), "="); isFlag && cmd.Flags().Lookup(name) == nil && name != "help" {
			return errors.New("it has no such flag")
		}
	}
	if cmd == top {
		return errors.New("there is no such command")
	}
	return nil
}
