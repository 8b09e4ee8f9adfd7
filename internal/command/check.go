package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// checkTime bounds each part of a check.
const checkTime = 30 * time.Second

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [--config <path> [--adapter <name>]] [--json]",
		Short: "Looks whether a configuration works, provider included",
		Long: `
Looks whether a configuration works: whether it loads, whether the provider is reached
and accepts licence and secret, whether the cache can be used, and whether visitors
would come back to the gate. Nothing is billed: the provider is asked for a token, and
no verification is started.

Each line says what is right (ok), cannot be told from here (note), or is WRONG, and
what to do about it. Run it as the user that runs Caddy and with its environment, on its
machine, while Caddy runs.

Exit status: 1 if anything is wrong.`,
		Example: `  $ caddy number-verify check --config /etc/caddy/Caddyfile`,
		RunE:    runs(check),
	}
	addConfigFlags(cmd)
	cmd.Flags().Bool("json", false, "print JSON")
	return cmd
}

// line is a finding, with what was checked.
type line struct {
	About   string `json:"about"`
	Subject string `json:"subject"`
	Grade   string `json:"grade"`
	Text    string `json:"text"`
	Remedy  string `json:"remedy,omitempty"`
}

// report is what a check has found so far.
type report struct {
	lines []line
	wrong int64
}

func (r *report) add(about string, found ...verifier.Finding) {
	for _, f := range found {
		grade := f.Grade.String()
		if grade == verifier.Wrong.String() {
			r.wrong++
		}
		r.lines = append(r.lines, line{about, f.Subject, grade, f.Text, f.Remedy})
	}
}

func check(cmd *cobra.Command) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	set := flags{cmd.Flags()}
	r := new(report)
	if app, err := set.load(); err != nil {
		r.add("configuration", verifier.Finding{Subject: "loading", Text: err.Error(), Remedy: "correct it: caddy adapt and caddy validate say the same"})
	} else {
		r.checkAll(ctx, app)
	}
	var err error
	if out := cmd.OutOrStdout(); set.isSet("json") {
		err = r.printJSON(out)
	} else {
		r.print(out)
	}
	if err == nil && r.wrong > 0 {
		return errSaid
	}
	return err
}

// checkAll checks what the gates of a configuration use, each thing once.
func (r *report) checkAll(ctx context.Context, app App) {
	gates := app.Gates()
	const about = "configuration"
	r.add(about, verifier.Finding{Subject: "loading", Grade: verifier.Right, Text: "it loads, with " + quantity(int64(len(gates)), "gate", "gates")})
	if err := app.CheckReach(); err != nil {
		r.add(about, verifier.Finding{Subject: "endpoints", Text: err.Error(), Remedy: "visitors could not be verified, and Caddy does not start"})
	}
	once := make(map[string]bool)
	isNew := func(key string) bool {
		isNew := !once[key]
		once[key] = true
		return isNew
	}
	for _, g := range gates {
		account := g.VerifierName + ", account " + g.Verifier.Account()
		if isNew(account + "\x00" + g.Verifier.Secret()) {
			r.add(account, checkVerifier(ctx, g.Verifier)...)
		}
		if isNew("cache " + g.CacheName) {
			r.add("cache "+g.CacheName, checkCache(ctx, g.Cache)...)
		}
		if isNew(g.name()) {
			r.add("gate "+g.name(), checkOrigins(ctx, &g)...)
		}
	}
}

func checkVerifier(ctx context.Context, v verifier.Verifier) []verifier.Finding {
	checker, ok := v.(verifier.Checker)
	if !ok {
		return []verifier.Finding{{Subject: "provider", Grade: verifier.Noted, Text: "this verifier has no check of its own"}}
	}
	return guarded(ctx, "provider", "verifier", checker.Check)
}

func checkCache(ctx context.Context, opener cache.Opener) []verifier.Finding {
	const subject = "use"
	checker, ok := opener.(cache.Checker)
	if !ok {
		return []verifier.Finding{{Subject: subject, Grade: verifier.Right, Text: "there is nothing to check"}}
	}
	return guarded(ctx, subject, "cache", func(ctx context.Context) []verifier.Finding {
		if err := checker.Check(ctx); err != nil {
			return []verifier.Finding{{Subject: subject, Text: err.Error(), Remedy: "until then visitors see cache_unavailable, or Caddy does not start"}}
		}
		return []verifier.Finding{{Subject: subject, Grade: verifier.Right, Text: "it can be used"}}
	})
}

// guarded calls the check of a guest module, which may take too long, or panic.
func guarded(ctx context.Context, subject, module string, check func(context.Context) []verifier.Finding) (found []verifier.Finding) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	defer func() {
		if recover() != nil {
			found = []verifier.Finding{{Subject: subject, Text: "the check of this " + module + " panicked", Remedy: "tell its makers"}}
		}
	}()
	return check(ctx)
}

func (r *report) print(out io.Writer) {
	about := ""
	for _, l := range r.lines {
		if l.About != about {
			about = l.About
			fmt.Fprintln(out, printable(about))
		}
		mark := map[string]string{verifier.Right.String(): "ok   ", verifier.Noted.String(): "note "}[l.Grade]
		if mark == "" {
			mark = "WRONG"
		}
		fmt.Fprintf(out, "  %s  %s: %s.\n", mark, printable(l.Subject), printable(l.Text))
		if l.Remedy != "" {
			fmt.Fprintf(out, "         %s.\n", printable(l.Remedy))
		}
	}
	switch r.wrong {
	case 0:
		fmt.Fprintln(out, "\nNothing is wrong.")
	case 1:
		fmt.Fprintln(out, "\n1 thing is wrong.")
	default:
		fmt.Fprintf(out, "\n%d things are wrong.\n", r.wrong)
	}
}

func (r *report) printJSON(out io.Writer) error {
	text, err := json.Marshal(map[string][]line{"findings": r.lines})
	if err != nil {
		return err
	}
	return printJSON(out, text)
}
