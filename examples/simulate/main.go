// Command simulate plays DQE and a mobile operator on this machine, so that a
// gate can be tried without a contract. It prints the credentials that DQE would
// give, and the numbers to try:
//
//	go run ./examples/simulate
package main

import (
	"context"
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

	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

func main() {
	port := flag.Int("port", 8081, "the port of the simulated provider and operator")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *port)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

// run serves the simulator on loopback until ctx ends.
func run(ctx context.Context, out io.Writer, port int) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("port %d is not free (%w): choose another one with -port", port, err)
	}
	server := &http.Server{
		Handler:           simulator.New(simulator.Options{Interstitial: time.Second}),
		ReadHeaderTimeout: 5 * time.Second,
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	fmt.Fprintf(out, welcome, port, simulator.DefaultLicence, simulator.DefaultClientSecret, simulator.DefaultName)
	for _, n := range simulator.Numbers() {
		fmt.Fprintf(out, "    %s   %s\n", n.National, n.English)
	}
	fmt.Fprintln(out, ending)
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const welcome = `
DQE and a mobile operator are simulated, for this machine alone. Where Caddy will
run, set

    export DQE_SERVER=http://localhost:%d
    export DQE_LICENCE=%s
    export DQE_CLIENT_SECRET='%s'

and name "%s" in the Caddyfile, as examples/localhost.Caddyfile does. Numbers:

`

const ending = `
Any other number from 06 39 98 00 00 to 06 39 98 99 99 is verified too. Ctrl-C
ends it.`
