package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/verifier"
)

func traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace --number - [--yes] [--config <path> [--adapter <name>]] [--site <host>]",
		Short: "Looks whether an operator's pages show a secret of an attempt",
		Long: `
Tells whether an operator's pages show the nonce or the token of an attempt to whoever
fetches them. If they do, neither is a secret, and a verification proves nothing if a
stranger can make somebody else open the operator's link: see docs/dqe.md.

It starts one real verification, as the configuration says, which may be billed. It asks
before it does, unless --yes is given. Then it follows where the link leads, step by
step, and searches each page for the nonce and the token, as they are or encoded. It
stops before it would call the site, and runs no JavaScript. Run it on a machine that is
not on the mobile data of the number's SIM. It prints no secret and no number, and only
the hosts of addresses.

Exit status: 1 if something is shown, or if the command failed; 4 if the pages could not
be followed to their end, and showed nothing until there.`,
		Example: `  $ caddy number-verify trace --number - --config /etc/caddy/Caddyfile
  $ caddy number-verify trace --number - --site www.example.com --yes < number.txt`,
		RunE: runs(trace),
	}
	addNumberFlag(cmd, "a mobile number of yours, with + and the calling code")
	cmd.Flags().Bool("yes", false, "do not ask whether to go on")
	addConfigFlags(cmd)
	addSiteFlag(cmd)
	return cmd
}

// e164 matches a number with its calling code.
var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

func trace(cmd *cobra.Command) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	set, in := flags{cmd.Flags()}, newInput(cmd)
	number, err := in.number(set.text("number"))
	switch {
	case err != nil:
		return err
	case !e164.MatchString(number):
		return errors.New("the number must begin with + and the calling code, like +33 6 39 98 00 01")
	}
	g, err := set.gate()
	switch {
	case err != nil:
		return err
	case len(g.Origins) == 0:
		return errors.New("the gate has no public_url, which the provider is told as the address to come back to")
	case !g.Verifier.Understands(number):
		return errors.New("the provider would take this number for another: see number_format")
	}
	if !set.isSet("yes") {
		if err := in.confirm("This starts one real verification of " + phone.Mask(number) + " for " + g.name() + ", which may be billed."); err != nil {
			return err
		}
	}
	t, link, err := begin(ctx, g, number, cmd.OutOrStdout())
	switch {
	case errors.Is(err, provider.ErrRevealed):
		fmt.Fprintln(cmd.OutOrStdout(), "The operator's link itself shows the nonce or the token. The gate refuses such attempts.")
		return errSaid
	case err != nil:
		return fmt.Errorf("the verification did not start: %w", err)
	default:
		return t.report(t.follow(ctx, link))
	}
}

// begin starts a verification. It returns a tracer and the operator's link. The error is
// provider.ErrRevealed if the link itself shows a secret.
func begin(ctx context.Context, g *Gate, number string, out io.Writer) (t *tracer, link string, err error) {
	callback, err := url.Parse(g.Origins[0] + g.Path + "/callback")
	if err != nil {
		return nil, "", err
	}
	nonce := (rand.Text() + rand.Text())[:43] // as long as the gate's
	t = newTracer(out, number, callback, nonce)
	request := verifier.StartRequest{Number: number, CallbackURL: callback.String(), State: nonce}
	if source, ok := g.Verifier.(verifier.TokenSource); ok {
		token, err := source.Token(ctx)
		if err != nil {
			return nil, "", told(err)
		}
		request.Token, t.secrets["token"] = token.Value, token.Value
	}
	started, err := g.Verifier.Start(ctx, request)
	if err != nil {
		return nil, "", told(err)
	}
	rules := provider.LinkRules{Callback: callback, Hosts: started.Hosts, Secrets: started.Hidden}
	if !started.ShowsState {
		rules.Secrets = append(rules.Secrets, nonce)
	} else {
		delete(t.secrets, "nonce") // it is none
	}
	if request.Token != "" {
		rules.Secrets = append(rules.Secrets, request.Token)
	}
	link, err = provider.CheckLink(started.URL, rules)
	return t, link, err
}

// told returns what may be said of an error of a verifier, and its remedy.
func told(err error) error {
	e, ok := errors.AsType[*verifier.Error](err)
	switch {
	case !ok:
		return errors.New("the verifier failed")
	case e.Hint != "":
		return fmt.Errorf("%w: %s", e, e.Hint)
	default:
		return e
	}
}
