package command

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// found is the answer of the admin API to a search.
type found struct {
	OtherSecret bool   `json:"other_secret"`
	Number      string `json:"number"` // masked
	Sessions    []struct {
		Session    string    `json:"session"`
		Realm      string    `json:"realm"`
		VerifiedAt time.Time `json:"verified_at"`
		ExpiresAt  time.Time `json:"expires_at"`
		Method     string    `json:"method"`
		Operator   string    `json:"operator"`
	} `json:"sessions"`
}

func findCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "find --number - [--address <interface>] [--config <path> [--adapter <name>]] [--json]",
		Short: "Lists the sessions of a number",
		Long: `
Lists the sessions of a number: where, since when, and until when they hold. The number
is read from standard input, and is shown masked.

Exit status: 4 if nobody is verified with the number.`,
		Example: `  $ caddy number-verify find --number -
  Number, like +33 6 39 98 00 01: +33 6 39 98 00 01

  $ caddy number-verify find --number - --json < number.txt`,
		RunE: runs(find),
	}
	addNumberFlag(cmd, "the number whose sessions to list")
	addAdminFlags(cmd)
	return cmd
}

func find(cmd *cobra.Command) error {
	set := flags{cmd.Flags()}
	number, err := newInput(cmd).number(set.text("number"))
	if err != nil {
		return err
	}
	var f found
	answer, err := ask(cmd, pathFind, map[string]string{"number": number}, &f)
	if err != nil {
		return err
	}
	if set.isSet("json") {
		err = printJSON(cmd.OutOrStdout(), answer)
	} else {
		err = f.print(cmd.OutOrStdout())
	}
	if err == nil && len(f.Sessions) == 0 {
		return errNothing
	}
	return err
}

// otherSecret warns of sessions that a number does not lead to.
const otherSecret = "The cache has also been used with another secret. Sessions that were stored with it are not found by number: set that secret as a previous one, behind the current one, and try again."

func (f *found) print(out io.Writer) error {
	if f.OtherSecret {
		defer fmt.Fprintln(out, otherSecret)
	}
	if len(f.Sessions) == 0 {
		fmt.Fprintf(out, "Nobody is verified with %s.\n", printable(f.Number))
		return nil
	}
	fmt.Fprintf(out, "%s: %s\n\n", printable(f.Number), quantity(int64(len(f.Sessions)), "session", "sessions"))
	rows := [][]string{{"SESSION", "SITE", "VERIFIED", "EXPIRES", "METHOD", "OPERATOR"}}
	for _, s := range f.Sessions {
		rows = append(rows, []string{s.Session, s.Realm, moment(s.VerifiedAt), moment(s.ExpiresAt), s.Method, s.Operator})
	}
	if err := table(out, rows); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nTo end them all: caddy number-verify revoke --number -\nTo end one: caddy number-verify revoke --session, and its id")
	return nil
}
