// Command demo shows number verification at work, with nothing but Go: a
// simulator of DQE and of a mobile operator, a small site, and Caddy with the
// gate in front of it, all on loopback.
//
//	go run ./examples/demo
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

//go:embed Caddyfile
var caddyfile []byte

func main() {
	port := flag.Int("port", 8080, "the port of the site")
	operatorPort := flag.Int("operator-port", 8081, "the port of the simulated provider and operator")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *port, *operatorPort); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run serves the demonstration until ctx ends.
func run(ctx context.Context, out io.Writer, port, operatorPort int) error {
	operator, err := serve("operator-port", operatorPort, simulator.New(simulator.Options{
		OperatorBaseURL: fmt.Sprintf("http://localhost:%d", operatorPort),
		Interstitial:    time.Second,
	}))
	if err != nil {
		return err
	}
	defer operator.Close()
	site, err := serve("", 0, http.HandlerFunc(showRequest))
	if err != nil {
		return err
	}
	defer site.Close()
	if err := startCaddy(port, operator.Addr, site.Addr); err != nil {
		return err
	}
	fmt.Fprintf(out, welcome, port)
	<-ctx.Done()
	return caddy.Stop()
}

// serve listens on loopback; port 0 is any free one.
func serve(flagName string, port int, handler http.Handler) (*http.Server, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("port %d is not free (%w): choose another one with -%s", port, err, flagName)
	}
	server := &http.Server{Addr: listener.Addr().String(), Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
	}()
	return server, nil
}

func startCaddy(port int, simulatorAddr, siteAddr string) error {
	for name, value := range map[string]string{
		"DEMO_PORT":          strconv.Itoa(port),
		"DEMO_SIMULATOR":     simulatorAddr,
		"DEMO_SITE":          siteAddr,
		"DEMO_CLIENT_SECRET": simulator.DefaultClientSecret,
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(caddyfile, map[string]any{"filename": "examples/demo/Caddyfile"})
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("starting Caddy on port %d (choose another one with -port): %w", port, err)
	}
	return nil
}

const welcome = `
The demonstration runs. Open

    http://localhost:%d/

and confirm one of these fictional numbers. Each shows another outcome:

    06 39 98 00 01   verified
    06 39 98 00 02   the SIM card has another number
    06 39 98 00 03   the operator declines
    06 39 98 00 04   pending for some seconds, then verified
    06 39 98 00 05   a number that cannot be verified
    06 39 98 00 06   the operator cannot be reached
    06 39 98 00 07   an operator that is not supported
    06 39 98 00 08   no data from the operator, as on Wi-Fi
    06 39 98 00 09   pending for ever
    06 39 98 00 10   the operator never sends the visitor back
    06 39 98 00 11   not verified
    06 39 98 00 12   the provider fails
    06 39 98 00 13   the attempt expires at the provider
    06 39 98 00 14   the provider's credits are exhausted

Ctrl-C ends it.
`
