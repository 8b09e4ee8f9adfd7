package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

func explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain <reference> [--log <file>]... [--address <interface>] [--config <path> [--adapter <name>]] [--json]",
		Short: "Tells what happened to a visitor",
		Long: `
Tells what happened to a visitor, by the reference of 8 characters that stands on their
page and in the JSON of a refusal: every event in the order of time, what the code
means, and what to do.

The running Caddy remembers what it has logged of late. For what is older, or happened
on another node, name files of Caddy's log with --log, rolled ones (.gz) and the audit's
own file too; - is standard input. They must be in Caddy's JSON format.

A plain 401 (verification_required) and most of the starts that a limit refuses are not
logged, so nothing is known of their references. Where an attempt has no end, the visitor
is still at the operator, has left, or has signed out.

The reference may be written as people copy it: in lower case, with blanks and dashes,
O for 0, I or L for 1.

Exit status: 4 if there is nothing with that reference.`,
		Example: `  $ caddy number-verify explain K7Q2M9PX
  $ caddy number-verify explain "k7q2 m9px" --log /var/log/caddy/caddy.log --log /var/log/caddy/number-verify-audit.log
  $ journalctl -u caddy -o cat | caddy number-verify explain K7Q2M9PX --log -`,
		RunE: withArgument("<reference>", explain),
	}
	cmd.Flags().StringArray("log", nil, "file of Caddy's log to search, in place of the running Caddy; - for standard input; may be repeated")
	addAdminFlags(cmd)
	return cmd
}

// readReference returns a reference as it is logged.
func readReference(typed string) (string, error) {
	reference := ledger.ReadReference(typed)
	if !ledger.IsReference(reference) {
		return "", errors.New("a reference has 8 letters and digits, like K7Q2M9PX, as the visitor's page shows it")
	}
	return reference, nil
}

func explain(cmd *cobra.Command, argument string) error {
	reference, err := readReference(argument)
	if err != nil {
		return err
	}
	set := flags{cmd.Flags()}
	files, _ := set.GetStringArray("log")
	var events []event
	if len(files) > 0 {
		events, err = searchLogs(cmd, files, reference)
	} else {
		events, err = recall(cmd, reference)
	}
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if set.isSet("json") {
		err = printEvents(out, reference, events)
	} else {
		tell(out, reference, events)
	}
	if err == nil && len(events) == 0 {
		return errNothing
	}
	return err
}

// recall asks the running Caddy. It returns no events if that does not remember any.
func recall(cmd *cobra.Command, reference string) ([]event, error) {
	var remembered struct {
		Reference string  `json:"reference"`
		Events    []event `json:"events"`
	}
	_, err := ask(cmd, pathExplain, map[string]string{"reference": reference}, &remembered)
	if p, ok := errors.AsType[*problem](err); ok && p.isNotFound() {
		fmt.Fprintln(cmd.ErrOrStderr(), "The running Caddy does not remember it. If it is older, or another node answered the visitor, search the log: --log <file>")
		return nil, nil
	}
	return remembered.Events, err
}

// printEvents prints JSON of the form in which the admin API answers.
func printEvents(out io.Writer, reference string, events []event) error {
	text, err := json.Marshal(map[string]any{"reference": reference, "events": events})
	if err != nil {
		return err
	}
	return printJSON(out, text)
}

// tell prints what happened, and what each code means.
func tell(out io.Writer, reference string, events []event) {
	if len(events) == 0 {
		fmt.Fprintf(out, "Nothing is known of %s.\n", reference)
		return
	}
	fmt.Fprintf(out, "%s: %s\n", reference, quantity(int64(len(events)), "event", "events"))
	var codes []refusal.Code
	for _, e := range events {
		fmt.Fprintf(out, "\n%s  %s\n", e.when(), printable(e.text("message")))
		for _, detail := range e.details() {
			fmt.Fprintf(out, "    %s\n", printable(detail))
		}
		if code := refusal.Code(e.text("code")); code.IsKnown() && !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
	}
	for _, code := range codes {
		fmt.Fprintf(out, "\n%s: %s.\n    What to do: %s.\n", code, code.Cause(), code.Remedy())
	}
}

// event is a line of the log as the admin API remembers it: its fields, with time and
// message in place of the names that the log has for them.
type event map[string]any

func (e event) text(field string) string {
	text, _ := e[field].(string)
	return text
}

// layouts are those of times in Caddy's logs, and of the admin API.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.000Z0700", "2006/01/02 15:04:05", "2006/01/02 15:04:05.000", "02/Jan/2006:15:04:05 -0700",
}

// at returns when it happened, or the zero time if that cannot be read.
func (e event) at() time.Time {
	switch value := e["time"].(type) {
	case string:
		for _, layout := range layouts {
			if t, err := time.ParseInLocation(layout, value, time.Local); err == nil {
				return t
			}
		}
	case float64: // since 1970, in a unit that the size tells
		switch {
		case value > 1e17:
			return time.Unix(0, int64(value))
		case value > 1e11:
			return time.UnixMicro(int64(value * 1e3))
		default:
			return time.UnixMicro(int64(value * 1e6))
		}
	}
	return time.Time{}
}

func (e event) when() string {
	if at := e.at(); !at.IsZero() {
		return moment(at)
	}
	return printable(fmt.Sprint(e["time"]))
}

// first are the fields that tell most.
var first = []string{"code", "error_id", "why", "error", "hint", "operator", "number", "client"}

// untold are the fields that tell a person nothing, or that are told elsewhere.
var untold = []string{"time", "message", "reference", "level", "logger", "stack", "caller", "stacktrace"}

// details returns the other fields, one or more on a line.
func (e event) details() []string {
	var short, long []string
	names := slices.Sorted(maps.Keys(e))
	for _, name := range append(slices.Clone(first), slices.DeleteFunc(names, func(name string) bool { return slices.Contains(first, name) })...) {
		value, ok := e[name]
		if !ok || value == "" || slices.Contains(untold, name) {
			continue
		}
		text, isText := value.(string)
		if !isText {
			encoded, _ := json.Marshal(value) // it was JSON
			text = string(encoded)
		}
		if detail := name + ": " + text; len(detail) > 60 {
			long = append(long, detail)
		} else {
			short = append(short, detail)
		}
	}
	if len(short) > 0 {
		return append([]string{strings.Join(short, ", ")}, long...)
	}
	return long
}
