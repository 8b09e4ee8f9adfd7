// Command trace tells whether an operator's pages show the nonce or the token of
// an attempt to whoever fetches them. If they do, neither is a secret, and a
// verification proves nothing if a stranger can make somebody else open the
// operator's link: see docs/dqe.md.
// It starts one real verification, which may be billed, and follows where its link
// leads, from a machine without the SIM:
//
//	DQE_CLIENT_SECRET=… go run ./examples/trace -yes -server https://… -licence … \
//		-name "Example SAS" -number +33… -callback https://www.example.com/.number-verify/callback
//
// It stops before it would call the callback address, and runs no JavaScript. Its
// exit status is 1 if anything before the last hop shows one of them, 0 if nothing
// does, and 2 if it cannot tell; under go run, 2 becomes 1. It prints no secret and
// no number, and only the hosts of addresses.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/url"
	"os"
	"os/signal"
	"regexp"

	"github.com/caddyserver/caddy/v2"

	"github.com/numberverify/caddy-number-verify/internal/provider"
	"github.com/numberverify/caddy-number-verify/verifier"
	"github.com/numberverify/caddy-number-verify/verifier/dqe"
)

// The exit statuses.
const (
	hidden = iota
	shown
	unclear
)

func main() {
	log.SetOutput(io.Discard) // net/http logs text that servers send
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := run(ctx, os.Args[1:], os.Stdout)
	stop()
	os.Exit(status)
}

// options are the flags of the command line.
type options struct {
	module           dqe.Module
	number, callback string
}

// run traces an attempt as the arguments say, and returns the exit status.
func run(ctx context.Context, args []string, out io.Writer) int {
	o, err := parse(args, out)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(out, "trace:", err)
		}
		return unclear
	}
	t, link, err := begin(ctx, o, out)
	if errors.Is(err, provider.ErrRevealed) {
		fmt.Fprintln(out, "The operator's link itself shows the nonce or the token. The gate refuses such attempts.")
		return shown
	}
	if err != nil {
		fmt.Fprintln(out, "trace: the verification did not start:", err)
		return unclear
	}
	return t.report(t.follow(ctx, link))
}

// e164 matches the flag -number, whatever format -number-format chooses for DQE.
var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

func parse(args []string, out io.Writer) (*options, error) {
	o := &options{module: dqe.Module{ClientSecret: "{env.DQE_CLIENT_SECRET}"}}
	flags := flag.NewFlagSet("trace", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.module.Server, "server", "", "the server, as DQE gave it to you")
	flags.StringVar(&o.module.Licence, "licence", "", "your licence code")
	flags.StringVar(&o.module.Name, "name", "", "your name in DQE's database")
	flags.StringVar(&o.module.Method, "method", "post", "post or get")
	flags.StringVar(&o.module.NumberFormat, "number-format", "national", "national, e164, msisdn or idd: how DQE is sent the number")
	flags.StringVar(&o.number, "number", "", "a mobile number of yours, like +33…; its phone is not needed")
	flags.StringVar(&o.callback, "callback", "", "the gate's callback address, https://…/.number-verify/callback")
	yes := flags.Bool("yes", false, "start one real verification, which may be billed")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	u, err := url.Parse(o.callback)
	switch {
	case flags.NArg() > 0:
		return nil, errors.New("there are flags only; the client secret comes from the environment, DQE_CLIENT_SECRET")
	case !e164.MatchString(o.number):
		return nil, errors.New("-number must begin with + and the calling code, without blanks")
	case err != nil || u.Host == "" || u.RawQuery != "":
		return nil, errors.New("-callback must be a whole address without a query, like https://www.example.com/.number-verify/callback")
	case os.Getenv("DQE_CLIENT_SECRET") == "":
		return nil, errors.New("set DQE_CLIENT_SECRET to the client secret that DQE gave you")
	case !*yes:
		return nil, errors.New("this starts one real verification of the number, which may be billed: add -yes if that is all right")
	}
	return o, nil
}

// begin starts the verification. It returns a tracer and the operator's link; the
// error is provider.ErrRevealed if the link itself shows a secret.
func begin(ctx context.Context, o *options, out io.Writer) (t *tracer, link string, err error) {
	if err := o.module.Provision(caddy.Context{Context: ctx}); err != nil {
		return nil, "", err
	}
	if !o.module.Understands(o.number) {
		return nil, "", errors.New("DQE would take this -number for another: see -number-format")
	}
	nonce := (rand.Text() + rand.Text())[:43] // as long as the gate's
	t = newTracer(out, o.number, o.callback, nonce)
	token, err := o.module.Token(ctx)
	if err != nil {
		return nil, "", err
	}
	t.secrets["token"] = token.Value
	started, err := o.module.Start(ctx, verifier.StartRequest{Number: o.number, CallbackURL: o.callback, State: nonce, Token: token.Value})
	if err != nil {
		return nil, "", err
	}
	link, err = provider.CheckLink(started.URL, provider.LinkRules{Callback: t.callback, Secrets: []string{nonce, token.Value}})
	return t, link, err
}
