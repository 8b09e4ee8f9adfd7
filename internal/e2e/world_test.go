package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	_ "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

func TestMain(m *testing.M) {
	if _, err := exec.LookPath("chromium"); err != nil {
		fmt.Fprintln(os.Stderr, "these tests need Chromium: apt-get install chromium")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// world is a Caddy with a site behind the gate, over http or https.
type world struct {
	sim      *simulator.Simulator
	simURL   string
	site     string // the site's origin
	mu       sync.Mutex
	received []http.Header
}

func newWorld(t *testing.T, scheme, options string) *world {
	t.Helper()
	w := &world{sim: simulator.New(simulator.Options{PendingFor: time.Second})}
	provider := httptest.NewServer(w.sim)
	t.Cleanup(provider.Close)
	w.simURL = provider.URL
	upstream := httptest.NewServer(http.HandlerFunc(w.show))
	t.Cleanup(upstream.Close)
	port := freePort(t)
	w.site = fmt.Sprintf("%s://localhost:%d", scheme, port)
	t.Setenv("E2E_CLIENT_SECRET", simulator.DefaultClientSecret)
	text := fmt.Sprintf(`{
		admin off
		persist_config off
		skip_install_trust
		auto_https disable_redirects
		grace_period 1s
		storage file_system %s
		log {
			level ERROR
		}
		number_verify {
			public_url %s
			result_wait 3s
			verifier dqe {
				server %s
				licence %s
				client_secret {env.E2E_CLIENT_SECRET}
				name "%s"
			}
			%s
		}
	}
	%s {
		bind 127.0.0.1
		%s
		number_verify /account*
		number_verify /transfer* {
			max_age 1s
		}
		vars phone +33639980001
		number_verify /known* {
			path /.number-verify-known
			number {vars.phone}
		}
		reverse_proxy %s
	}
	`, t.TempDir(), w.site, provider.URL, simulator.DefaultLicence, simulator.DefaultName, options,
		w.site, map[string]string{"https": "tls internal"}[scheme], strings.TrimPrefix(upstream.URL, "http://"))
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		for _, violation := range w.sim.Violations() {
			t.Error("protocol violation:", violation)
		}
	})
	return w
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// show is the site behind the gate.
func (w *world) show(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/favicon.ico" { // is open to all
		http.NotFound(rw, r)
		return
	}
	w.mu.Lock()
	w.received = append(w.received, r.Header.Clone())
	w.mu.Unlock()
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(rw, `<!doctype html><html lang="en"><title>site</title><link rel="icon" href="data:,"><main id="site">%s</main>
		<form method="post" action="/.number-verify/sign-out"><button id="out">Sign out</button></form>`, r.URL.Path)
}

// take returns what has reached the site and forgets it.
func (w *world) take() []http.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.received
	w.received = nil
	return got
}

// profile starts a Chromium with a fresh profile and one tab. What the browser
// complains of, such as a violation of the Content-Security-Policy, fails the
// test.
func profile(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("ignore-certificate-errors", true),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	allocator, end := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(end)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	run(t, ctx) // starts the browser, without the time limit of what follows
	return watched(t, ctx)
}

// tab is another tab of the same profile.
func tab(t *testing.T, parent context.Context) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent)
	t.Cleanup(cancel)
	return watched(t, ctx)
}

func watched(t *testing.T, ctx context.Context) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError && !strings.Contains(e.Entry.Text, "Failed to load resource") {
				t.Errorf("the browser complains: %s", e.Entry.Text)
			}
		case *runtime.EventExceptionThrown:
			t.Errorf("a script fails: %s", e.ExceptionDetails.Text)
		}
	})
	run(t, ctx, log.Enable())
	return ctx
}

func run(t *testing.T, ctx context.Context, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		var where string
		_ = chromedp.Run(ctx, chromedp.Location(&where))
		t.Fatalf("at %s: %v", where, err)
	}
}
