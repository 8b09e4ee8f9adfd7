// Package command is the command caddy number-verify, with which a site's operator looks
// after the gate from a terminal.
//
//   - Of the running Caddy, by its admin API: status.go, find.go, revoke.go, explain.go
//     (also from the log: logs.go). admin.go speaks with it.
//   - Of a configuration, which gates.go loads: check.go, with callback.go; trace.go,
//     with chain.go; pages.go, with preview.go. site.go chooses one of several gates.
//   - What all of them share: flags.go, input.go (what is typed), output.go (what is
//     shown).
//
// docs/commands.md describes the commands, and a test compares it with them.
package command

import (
	"errors"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "number-verify",
		Usage: "<command>",
		Short: "Looks after number verification",
		Long: `
Tells how number verification fares and what happened to a visitor, and ends
verifications, of the running Caddy, by its admin API. Looks whether a configuration
works, and whether a mobile operator's pages keep the secrets of an attempt. Helps to
change the gate's own pages.

docs/commands.md in the module's repository describes each command and flag.

A phone number is never written on the command line, where everybody on the machine
could read it: the commands read it from standard input.

Exit status: 0 if all went well, 4 if there was nothing to find, 1 for everything else.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Example = `  $ caddy number-verify status
  $ caddy number-verify find --number -
  $ caddy number-verify explain K7Q2M9PX
  $ caddy number-verify check --config /etc/caddy/Caddyfile`
			cmd.RunE = helps
			cmd.AddCommand(statusCommand(), findCommand(), revokeCommand(), explainCommand(), checkCommand(), traceCommand(), pagesCommand())
		},
	})
}

// helps is the RunE of a command that has commands below it.
func helps(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errors.New("there is no such command: see --help") // it may be a number
	}
	return cmd.Help()
}

// exitNothing is the exit status of a command that has found nothing. Caddy's own
// commands use 0 to 3.
const exitNothing = 4

var (
	// errNothing ends a command with exitNothing. What was not found has been said.
	errNothing = errors.New("nothing found")
	// errSaid ends a command with exit status 1. What is wrong has been said.
	errSaid = errors.New("something is wrong")
)

// runs makes a command's RunE of what it does. The command takes no arguments.
func runs(do func(cmd *cobra.Command) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return errors.New("takes flags only: see --help. A number is typed after the command has started, with --number -")
		}
		return ended(cmd, do(cmd))
	}
}

// withArgument is runs for a command that takes one argument, which name describes.
func withArgument(name string, do func(cmd *cobra.Command, argument string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return errors.New("takes one " + name + ": see --help")
		}
		return ended(cmd, do(cmd, args[0]))
	}
}

// ended gives an error its exit status.
func ended(cmd *cobra.Command, err error) error {
	cmd.SilenceErrors = errors.Is(err, errNothing) || errors.Is(err, errSaid)
	if !errors.Is(err, errNothing) {
		return err
	}
	// only Caddy can make the error that carries an exit status
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return exitNothing, nil })(cmd, nil)
}
