// Command demo shows number verification at work, with nothing but Go: a
// simulator of DQE and of a mobile operator, a small site, and Caddy with the
// gate in front of it, all on loopback.
//
//	go run ./examples/demo
//
// Of Caddy it links only what its Caddyfile uses, so that it builds sooner.
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
	"path/filepath"
	"strconv"
	"syscall"
	"text/template"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	_ "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

//go:embed Caddyfile
var caddyfile []byte

// form is the gate's form with a list of numbers to try, which writeForm fills in
// between [[ and ]].
//
//go:embed form.html
var form string

// options are the flags of the command line.
type options struct {
	port, operatorPort int
	verbose            bool
}

func main() {
	var o options
	flag.IntVar(&o.port, "port", 8080, "the port of the site")
	flag.IntVar(&o.operatorPort, "operator-port", 8081, "the port of the simulated provider and operator")
	flag.BoolVar(&o.verbose, "verbose", false, "show the log of Caddy and of the gate")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run serves the demonstration until ctx ends.
func run(ctx context.Context, out io.Writer, o options) error {
	operator, err := serve(ctx, "operator-port", o.operatorPort, simulator.New(simulator.Options{
		OperatorBaseURL: fmt.Sprintf("http://localhost:%d", o.operatorPort),
		Interstitial:    time.Second,
	}))
	if err != nil {
		return err
	}
	defer operator.Close()
	site, err := serve(ctx, "", 0, http.HandlerFunc(showRequest))
	if err != nil {
		return err
	}
	defer site.Close()
	if err := startCaddy(o, operator.Addr, site.Addr); err != nil {
		return err
	}
	fmt.Fprintf(out, welcome, o.port)
	<-ctx.Done()
	return caddy.Stop()
}

// serve starts a server on a port of loopback; 0 means any free port. flagName is
// the flag that an error advises to change.
func serve(ctx context.Context, flagName string, port int, handler http.Handler) (*http.Server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
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

func startCaddy(o options, simulatorAddr, siteAddr string) error {
	pages, err := os.MkdirTemp("", "demo-pages-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(pages) // they are read while Caddy starts
	if err := writeForm(filepath.Join(pages, "form.html")); err != nil {
		return err
	}
	level := "FATAL" // nothing
	if o.verbose {
		level = "INFO"
	}
	for name, value := range map[string]string{
		"DEMO_PORT":          strconv.Itoa(o.port),
		"DEMO_SIMULATOR":     simulatorAddr,
		"DEMO_SITE":          siteAddr,
		"DEMO_PAGES":         pages,
		"DEMO_LOG_LEVEL":     level,
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
		return fmt.Errorf("starting Caddy on port %d (choose another one with -port): %w", o.port, err)
	}
	return nil
}

// writeForm writes form to path, with the numbers filled in, as a template for the
// gate's option pages.
func writeForm(path string) error {
	t, err := template.New("form.html").Delims("[[", "]]").Parse(form)
	if err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(file, simulator.Numbers()), file.Close())
}

const welcome = `
The demonstration runs. Open

    http://localhost:%d/

and choose one of the numbers that the gate's form shows there. Ctrl-C ends it;
-verbose shows its log.
`
