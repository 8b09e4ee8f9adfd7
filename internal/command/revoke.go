package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func revokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke --number - | --session <id> | --realm <name> | --all [--yes] [--address <interface>] [--config <path> [--adapter <name>]] [--json]",
		Short: "Ends sessions, and attempts under way",
		Long: `
Ends the sessions of a number, one session, those of a realm, or all. Attempts under way
for them end too. On every node that shares the cache it is known within a second.
Whoever had such a session has to verify the number again.

--number    reads a number from standard input
--session   takes the id that find, the log and {http.number_verify.session} show; all
            sessions that the same browser was given end too
--realm     takes a realm as status lists it: the host of a site, or its cookie domain
--all       ends every session

--realm and --all ask first, unless --yes is given.

Exit status: 4 if the number or the id had no session.`,
		Example: `  $ caddy number-verify revoke --number -
  $ caddy number-verify revoke --session a1b2c3d4e5f6
  $ caddy number-verify revoke --realm www.example.com
  $ caddy number-verify revoke --all --yes`,
		RunE: runs(revoke),
	}
	addNumberFlag(cmd, "the number whose sessions to end")
	cmd.Flags().String("session", "", "id of the session to end")
	cmd.Flags().String("realm", "", "realm whose sessions to end")
	cmd.Flags().Bool("all", false, "end all sessions")
	cmd.Flags().Bool("yes", false, "do not ask whether to go on")
	addAdminFlags(cmd)
	return cmd
}

// scope is what to end.
type scope struct {
	Number  string `json:"number,omitempty"`
	Session string `json:"session,omitempty"`
	Realm   string `json:"realm,omitempty"`
	All     bool   `json:"all,omitempty"`
}

var errScope = errors.New("say what to end, and only one thing: --number -, --session, --realm or --all")

// readScope reads the flags. It asks for the number, or whether to go on.
func readScope(cmd *cobra.Command) (scope, error) {
	set := flags{cmd.Flags()}
	given := 0
	for _, name := range []string{"number", "session", "realm", "all"} {
		if set.Changed(name) {
			given++
		}
	}
	s := scope{Session: set.text("session"), Realm: set.text("realm"), All: set.isSet("all")}
	in := newInput(cmd)
	var err error
	if set.Changed("number") { // first, so that a number is never taken for good
		s.Number, err = in.number(set.text("number"))
	}
	switch {
	case err != nil:
		return s, err
	case given != 1 || s == scope{}:
		return s, errScope
	case set.isSet("yes"):
		return s, nil
	case s.All:
		return s, in.confirm("This ends all sessions of all sites. Their visitors have to verify again, which may be billed.")
	case s.Realm != "":
		return s, in.confirm("This ends all sessions of " + printable(s.Realm) + ". Their visitors have to verify again, which may be billed.")
	default:
		return s, nil
	}
}

func revoke(cmd *cobra.Command) error {
	s, err := readScope(cmd)
	if err != nil {
		return err
	}
	var ended struct {
		Sessions    *int64 `json:"sessions"`
		OtherSecret bool   `json:"other_secret"`
	}
	answer, err := ask(cmd, pathRevoke, s, &ended)
	if err != nil {
		return err
	}
	out, isJSON := cmd.OutOrStdout(), flags{cmd.Flags()}.isSet("json")
	isNothing := ended.Sessions != nil && *ended.Sessions == 0 && (s.Number != "" || s.Session != "")
	switch {
	case isJSON:
		err = printJSON(out, answer)
	case ended.Sessions == nil:
		fmt.Fprintln(out, "Done. How many sessions have ended is not known.")
	case isNothing && s.Session != "":
		fmt.Fprintln(out, "There is no session with that id.")
	case isNothing:
		fmt.Fprintln(out, "There was no session to end. Attempts of the number that were under way have ended.")
	default:
		fmt.Fprintln(out, "Ended: "+quantity(*ended.Sessions, "session", "sessions")+", and what was under way.")
	}
	if ended.OtherSecret && !isJSON {
		fmt.Fprintln(out, otherSecret)
	}
	if err == nil && isNothing {
		return errNothing
	}
	return err
}
