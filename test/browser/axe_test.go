package browser

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// inspect runs axe-core on the open page; %s are exceptions from the rules.
const inspect = `axe.run({
	runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
	rules: {%s},
}).then(({violations, passes}) => ({
	Found: violations.map(v => v.id + " (" + v.impact + "): " + v.help +
		v.nodes.map(n => "\n\t" + n.html + "\n\t" + n.failureSummary.replaceAll("\n", "\n\t")).join("")),
	Passed: passes.map(p => p.id),
}))`

// looks are the screens and colour schemes in which each page is looked at.
var looks = []struct {
	width, height int64
	scheme        string
}{
	{320, 640, "light"}, {320, 640, "dark"}, {1280, 800, "light"}, {1280, 800, "dark"},
}

func TestPagesAreAccessible(t *testing.T) {
	axe, err := os.ReadFile(os.Getenv("AXE_CORE"))
	if err != nil {
		t.Fatalf("AXE_CORE must name axe.min.js of axe-core; run .ci/test, which fetches it: %v", err)
	}
	_, site := newStage(t, "http", `brand "Example SAS"
		support_url https://www.example.com/help
		privacy_url https://www.example.com/privacy
		fallback_url https://www.example.com/other`)
	form := site + "/.number-verify/?return=/account/"
	cases := []accessible{
		{name: "form", open: chromedp.Navigate(form), shows: field},
		{name: "form for a known number", open: chromedp.Navigate(site + "/known"), shows: `.known`},
		{name: "form for a verified visitor", open: chromedp.Tasks{
			chromedp.Navigate(form), confirm("06 39 98 00 01"), chromedp.WaitVisible(onSite, chromedp.ByQuery), chromedp.Navigate(form),
		}, shows: `.held`},
		{name: "form with a wrong number", open: chromedp.Tasks{chromedp.Navigate(form), confirm("01 23")}, shows: `input[aria-invalid]`},
		{name: "form with a refusal", open: chromedp.Tasks{chromedp.Navigate(form), confirm("06 39 98 00 08")}, shows: `[role="alert"]`},
		{
			name: "wait", open: chromedp.Tasks{keepWaitPage(), chromedp.Navigate(form), confirm("06 39 98 00 09")}, shows: `.turn`,
			// It has to move on without JavaScript, so it renews itself every
			// two seconds, with a link beside for those who want it sooner.
			rules: `"meta-refresh": {enabled: false}`,
		},
	}
	for _, code := range []string{
		"verification_required", "number_mismatch", "number_unknown", "browser_mismatch", "cookies_required",
		"rate_limited", "operator_unavailable", "provider_unavailable",
	} {
		cases = append(cases, accessible{name: code, open: chromedp.Navigate(site + "/.number-verify/problem/" + code), shows: `main[data-code]`})
	}
	for _, lang := range []string{"fr", "en"} {
		for _, c := range cases {
			t.Run(lang+" "+c.name, func(t *testing.T) { c.test(t, lang, string(axe)) })
		}
	}
}

// accessible is a page that axe-core finds nothing wrong with.
type accessible struct {
	name  string
	open  chromedp.Action
	shows string // selects what only this page has
	rules string // exceptions
}

func (c accessible) test(t *testing.T, lang, axe string) {
	ctx := profile(t)
	run(t, ctx,
		page.SetBypassCSP(true), // the policy stops chromedp.Poll as well; other tests visit these pages under it
		network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": lang}),
		c.open,
		chromedp.WaitVisible(c.shows, chromedp.ByQuery),
		chromedp.WaitReady(fmt.Sprintf(`html[lang=%q]`, lang), chromedp.ByQuery),
		chromedp.Evaluate(axe, nil),
	)
	for _, look := range looks {
		var result struct{ Found, Passed []string }
		run(t, ctx,
			emulation.SetDeviceMetricsOverride(look.width, look.height, 1, false),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}}),
			chromedp.Poll(fmt.Sprintf(`innerWidth == %d && matchMedia("(prefers-color-scheme: %s)").matches`, look.width, look.scheme), nil),
			chromedp.Evaluate(fmt.Sprintf(inspect, c.rules), &result, func(p *runtime.EvaluateParams) *runtime.EvaluateParams {
				return p.WithAwaitPromise(true)
			}),
		)
		for _, found := range result.Found {
			t.Errorf("%s, %d px wide: %s", look.scheme, look.width, found)
		}
		if !slices.Contains(result.Passed, "color-contrast") {
			t.Errorf("%s, %d px wide: axe-core did not see the page's text; it passed only %v", look.scheme, look.width, result.Passed)
		}
	}
}

// keepWaitPage lets the first request for a wait page through and leaves the
// later ones, with which the page renews itself, without an answer. So the page
// stays for axe-core to look at, however long that takes.
func keepWaitPage() chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		var once sync.Once
		chromedp.ListenTarget(ctx, func(event any) {
			if e, ok := event.(*fetch.EventRequestPaused); ok {
				// In a goroutine, since a listener must not wait. If it fails, the
				// page does not come, and the test says so.
				once.Do(func() { go fetch.ContinueRequest(e.RequestID).Do(ctx) })
			}
		})
		return fetch.Enable().WithPatterns([]*fetch.RequestPattern{{URLPattern: "*/wait/*"}}).Do(ctx)
	})
}
