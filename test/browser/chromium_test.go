package browser

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	_ "github.com/numberverify/caddy-number-verify"
	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

func TestMain(m *testing.M) {
	if _, err := exec.LookPath("chromium"); err != nil {
		fmt.Fprintln(os.Stderr, "these tests need Chromium: apt-get install chromium")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// newStage is a site behind the gate, over http or https, with more options of the
// gate. It returns the site's origin.
func newStage(t *testing.T, scheme, options string) (s *stage.Stage, site string) {
	t.Helper()
	s = stage.New(t, simulator.Options{PendingFor: time.Second})
	s.Upstream.Page = showPath
	t.Setenv("TEST_PHONE", stage.VisitorsNumber) // a number in the configuration would be in the log
	site, tls := s.Origin(stage.HTTP11), ""
	if scheme == "https" {
		site, tls = s.Origin(stage.HTTP11S), "tls internal"
	}
	s.LoadWith(`number_verify {
		public_url `+site+`
		result_wait 3s
		VERIFIER
		`+options+`
	}`, site+` {
		bind 127.0.0.1
		`+tls+`
		number_verify /account*
		number_verify /transfer* {
			max_age 1s
		}
		vars phone {env.TEST_PHONE}
		number_verify /known* {
			path /.number-verify-known
			number {vars.phone}
		}
		respond /favicon.ico 404
		reverse_proxy UPSTREAM
	}`)
	return s, site
}

// showPath is the site behind the gate.
func showPath(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><html lang="en"><title>site</title><link rel="icon" href="data:,"><main id="site">%s</main>
		<form method="post" action="/.number-verify/sign-out"><button id="out">Sign out</button></form>`, r.URL.Path)
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
