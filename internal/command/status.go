package command

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// status is the answer of the admin API. A count that is nil is not known.
type status struct {
	Sessions *int64 `json:"sessions"`
	InFlight *int64 `json:"attempts_in_flight"`
	Accounts []struct {
		Verifier string   `json:"verifier"`
		Cache    string   `json:"cache"`
		Realms   []string `json:"realms"`
		Sessions *int64   `json:"sessions"`
		InFlight *int64   `json:"attempts_in_flight"`
		Calls    string   `json:"calls"`
	} `json:"accounts"`
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--address <interface>] [--config <path> [--adapter <name>]] [--json]",
		Short: "Tells how many sessions and attempts there are",
		Long: `
Tells how many sessions there are and how many verifications are under way, for each
account at the provider, and whether the provider is called.

A count of a shared cache is that of all its nodes. A ? stands for one that is not
known, because the cache does not answer or does not count.`,
		Example: `  $ caddy number-verify status
  $ caddy number-verify status --config /etc/caddy/Caddyfile --json`,
		RunE: runs(func(cmd *cobra.Command) error {
			var s status
			answer, err := ask(cmd, pathStatus, nil, &s)
			switch {
			case err != nil:
				return err
			case flags{cmd.Flags()}.isSet("json"):
				return printJSON(cmd.OutOrStdout(), answer)
			default:
				return s.print(cmd.OutOrStdout())
			}
		}),
	}
	addAdminFlags(cmd)
	return cmd
}

func (s *status) print(out io.Writer) error {
	fmt.Fprintf(out, "Sessions: %s. Attempts under way: %s.\n\n", count(s.Sessions), count(s.InFlight))
	rows := [][]string{{"VERIFIER", "CACHE", "SITES", "SESSIONS", "UNDER WAY", "PROVIDER"}}
	areSuspended := false
	for _, a := range s.Accounts {
		calls := a.Calls
		switch calls {
		case "made":
			calls = "called"
		case "suspended", "tried":
			areSuspended = true
		}
		rows = append(rows, []string{a.Verifier, a.Cache, strings.Join(a.Realms, " "), count(a.Sessions), count(a.InFlight), calls})
	}
	if err := table(out, rows); err != nil {
		return err
	}
	if areSuspended {
		fmt.Fprintln(out, "\nCalls to the provider are suspended, since it failed: nobody can start a verification, and sessions\ngo on. The log says why. caddy number-verify check looks what is wrong.")
	}
	return nil
}

func count(n *int64) string {
	if n == nil {
		return "?"
	}
	return strconv.FormatInt(*n, 10)
}
