// Package command_test drives caddy number-verify, in the process of the test or in one
// of its own.
package command_test

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

func TestMain(m *testing.M) {
	stage.Main()
	time.Local = time.UTC // times are shown in the machine's zone
	os.Exit(m.Run())
}

// said is what a command has said.
type said struct {
	status   int
	out, err string
}

// tree returns the command as Caddy builds it.
func tree() *cobra.Command {
	registered := caddycmd.Commands()["number-verify"]
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	cmd := &cobra.Command{Use: registered.Name + " " + registered.Usage, Short: registered.Short, Long: registered.Long}
	registered.CobraFunc(cmd)
	root.AddCommand(cmd)
	return root
}

// run runs a command with typed as its standard input.
func run(t *testing.T, typed string, args ...string) said {
	t.Helper()
	root := tree()
	var out, errs strings.Builder
	root.SetIn(strings.NewReader(typed))
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(append([]string{"number-verify"}, args...))
	err := root.ExecuteContext(t.Context())
	return said{statusOf(err), out.String(), errs.String()}
}

// statusOf returns the exit status that Caddy gives an error. It does not export the
// error that carries one.
func statusOf(err error) int {
	if err == nil {
		return 0
	}
	if text, ok := strings.CutPrefix(err.Error(), "exiting with status "); ok {
		status, _ := strconv.Atoi(text)
		return status
	}
	return 1
}

// process runs a command in a Caddy of its own.
func process(t *testing.T, stdin *os.File, args ...string) said {
	t.Helper()
	cmd := stage.Command(append([]string{"number-verify"}, args...)...)
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err := cmd.Run()
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		t.Fatal(err)
	}
	return said{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (s said) all() string { return s.out + s.err }

// has checks the exit status, and that everything wanted was said.
func (s said) has(t *testing.T, status int, wanted ...string) {
	t.Helper()
	if s.status != status {
		t.Errorf("exit status %d, want %d:\n%s", s.status, status, s.all())
	}
	for _, text := range wanted {
		if !strings.Contains(s.all(), text) {
			t.Errorf("it does not say %q:\n%s", text, s.all())
		}
	}
}

// hasNot checks that something was not said.
func (s said) hasNot(t *testing.T, unwanted ...string) {
	t.Helper()
	for _, text := range unwanted {
		if strings.Contains(s.all(), text) {
			t.Errorf("it says %q:\n%s", text, s.all())
		}
	}
}

func TestEveryCommandHelps(t *testing.T) {
	run(t, "").has(t, 0, "Usage:", "status", "Examples:")
	run(t, "", "06 39 98 00 01").has(t, 1, "no such command")
	run(t, "", "06 39 98 00 01").hasNot(t, "98 00 01")
	var walk func(path []string, cmd *cobra.Command)
	walk = func(path []string, cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(append(path[:len(path):len(path)], sub.Name()), sub)
		}
		if cmd.Short == "" || cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%v: a short text, a long one or an example is missing", path)
		}
		run(t, "", append(path, "--help")...).has(t, 0, "caddy number-verify "+strings.Join(path, " "), "Examples:")
		if _, arguments, _ := strings.Cut(cmd.Use, " "); !strings.HasPrefix(arguments, "<") {
			got := run(t, "", append(path, "+33639980001")...)
			got.has(t, 1)
			got.hasNot(t, "9980001")
		}
	}
	number, _, err := tree().Find([]string{"number-verify"})
	if err != nil {
		t.Fatal(err)
	}
	walk(nil, number)
}
