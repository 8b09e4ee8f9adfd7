package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// axeRules are those of WCAG 2.2 AA, and what axe-core recommends beside them.
const axeRules = `["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]`

// axeSource is axe-core, which .ci/test fetches.
func axeSource(t *testing.T) string {
	t.Helper()
	path := os.Getenv("AXE_CORE")
	if path == "" {
		t.Fatal("AXE_CORE does not name axe.min.js: run .ci/test, which fetches it")
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

// accessible holds the page that is open against axe-core.
func accessible(t *testing.T, ctx context.Context, source string, exempt ...string) {
	t.Helper()
	var violations []struct {
		ID, Impact, Help string
		Nodes            []struct{ HTML, FailureSummary string }
	}
	var passed int
	script := fmt.Sprintf(`window.stop(); axe.run(document, {runOnly: {type: "tag", values: %s}}).then(found => window.found = found)`, axeRules)
	await := func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }
	run(t, ctx,
		chromedp.Evaluate(source+";0", nil),
		chromedp.Evaluate(script+`.then(() => 0)`, nil, await),
		chromedp.Evaluate(`found.passes.length`, &passed),
		chromedp.Evaluate(`found.violations.map(v => ({ID: v.id, Impact: v.impact, Help: v.help,
			Nodes: v.nodes.map(n => ({HTML: n.html, FailureSummary: n.failureSummary}))}))`, &violations),
	)
	if passed < 15 {
		t.Errorf("axe-core has looked at %d rules only", passed)
	}
	for _, v := range violations {
		if slices.Contains(exempt, v.ID) {
			continue
		}
		t.Errorf("%s (%s): %s\n%+v", v.ID, v.Impact, v.Help, v.Nodes)
	}
}

func TestPagesAreAccessible(t *testing.T) {
	source := axeSource(t)
	w := newWorld(t, "http", "brand \"Example SAS\"\nfallback_url https://www.example.com/other\nsupport_url https://www.example.com/help\nprivacy_url https://www.example.com/privacy")
	open := func(path string) chromedp.Action { return chromedp.Navigate(w.site + path) }
	pages := []struct {
		name   string
		open   chromedp.Action
		exempt []string
	}{
		{name: "form", open: open("/.number-verify/")},
		{name: "form refused at once", open: chromedp.Tasks{open("/account/"), confirm("06 39 98 00 05"), endsWithCode("number_unsupported")}},
		{name: "form after a refusal", open: chromedp.Tasks{open("/account/"), confirm("06 39 98 00 02"), endsWithCode("number_mismatch")}},
		// renews itself without JavaScript, by design, and says so
		{name: "wait", exempt: []string{"meta-refresh"}, open: chromedp.Tasks{
			open("/account/"), confirm("06 39 98 00 09"), chromedp.WaitReady(`meta[http-equiv="refresh"]`, chromedp.ByQuery),
		}},
		{name: "problem, unknown attempt", open: open("/.number-verify/problem/attempt_unknown")},
		{name: "problem, another browser", open: open("/.number-verify/problem/browser_mismatch")},
		{name: "problem, cookies", open: open("/.number-verify/problem/cookies_required")},
		{name: "problem, operator", open: open("/.number-verify/problem/operator_unavailable")},
	}
	for _, lang := range []string{"fr", "en"} {
		for _, look := range []struct {
			scheme string
			width  int64
		}{{"light", 320}, {"dark", 1280}} {
			ctx := profile(t)
			run(t, ctx,
				emulation.SetDeviceMetricsOverride(look.width, 640, 2, look.width == 320),
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}}),
				network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": lang}),
			)
			for _, page := range pages {
				t.Run(lang+" "+look.scheme+" "+page.name, func(t *testing.T) {
					run(t, ctx, page.open)
					accessible(t, ctx, source, page.exempt...)
				})
			}
		}
	}
}
