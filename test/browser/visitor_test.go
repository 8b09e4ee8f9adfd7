package browser

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const field, button = `input[name="number"]`, `form[action$="/start"] button`

// confirm fills in the form that is open and sends it.
func confirm(number string) chromedp.Action {
	return chromedp.Tasks{
		chromedp.WaitVisible(field, chromedp.ByQuery),
		chromedp.SendKeys(field, number, chromedp.ByQuery),
		chromedp.Click(button, chromedp.ByQuery),
	}
}

// endsWithCode waits for a page that tells a code.
func endsWithCode(code string) chromedp.Action {
	return chromedp.WaitVisible(fmt.Sprintf(`main[data-code=%q]`, code), chromedp.ByQuery)
}

const onSite = `#site`

func location(t *testing.T, ctx context.Context) string {
	t.Helper()
	var where string
	run(t, ctx, chromedp.Location(&where))
	return where
}

func TestVisitorComesBackVerified(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			w, site := newStage(t, scheme, "")
			ctx := profile(t)
			run(t, ctx,
				chromedp.Navigate(site+"/account/?tab=1"),
				confirm("06 39 98 00 01"),
				chromedp.WaitVisible(onSite, chromedp.ByQuery),
			)
			if got := location(t, ctx); got != site+"/account/?tab=1" {
				t.Errorf("arrives at %s", got)
			}
			got := w.Upstream.Take()
			if len(got) != 1 || len(got[0].Header["X-Verified-Number"]) != 1 || got[0].Header.Get("X-Verified-Number") != "+33639980001" {
				t.Errorf("the site received %v", got)
			}
			cookies := cookieNames(t, ctx)
			prefix := map[string]string{"https": "__Host-"}[scheme]
			if !cookies[prefix+"number-verify"] || !cookies[prefix+"number-verify-browser"] || len(cookies) != 2 {
				t.Errorf("cookies: %v", cookies)
			}
		})
	}
}

func cookieNames(t *testing.T, ctx context.Context) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	run(t, ctx, chromedp.ActionFunc(func(ctx context.Context) error {
		cookies, err := network.GetCookies().Do(ctx)
		for _, c := range cookies {
			names[c.Name] = true
			if !c.HTTPOnly || c.SameSite != network.CookieSameSiteLax {
				t.Errorf("%s is not HttpOnly and SameSite=Lax", c.Name)
			}
		}
		return err
	}))
	return names
}

func TestEachNumberEndsOnItsPage(t *testing.T) {
	w, site := newStage(t, "http", "")
	ctx := profile(t)
	for number, code := range map[string]string{
		"06 39 98 00 02": "number_mismatch",
		"06 39 98 00 03": "access_denied",
		"06 39 98 00 05": "number_unsupported",
		"06 39 98 00 06": "operator_unavailable",
		"06 39 98 00 07": "number_unsupported",
		"06 39 98 00 08": "operator_unavailable",
		"06 39 98 00 09": "result_timeout",
		"06 39 98 00 11": "number_mismatch",
		"06 39 98 00 12": "provider_unavailable",
		"06 39 98 00 13": "attempt_expired",
		"06 39 98 00 14": "provider_misconfigured",
		"01 23":          "number_invalid",
	} {
		t.Run(number, func(t *testing.T) {
			run(t, ctx, network.ClearBrowserCookies(), chromedp.Navigate(site+"/account/"), confirm(number), endsWithCode(code))
		})
	}
	if got := w.Upstream.Take(); len(got) != 0 {
		t.Errorf("%d requests reached the site", len(got))
	}
}

func TestPendingNumberArrivesAfterTheWaitPage(t *testing.T) {
	_, site := newStage(t, "http", "")
	run(t, profile(t), chromedp.Navigate(site+"/account/"), confirm("06 39 98 00 04"), chromedp.WaitVisible(onSite, chromedp.ByQuery))
}

func TestVisitorWhomTheOperatorKeepsCanStartAgain(t *testing.T) {
	_, site := newStage(t, "http", "")
	ctx := profile(t)
	run(t, ctx, chromedp.Navigate(site+"/account/"), confirm("06 39 98 00 10"))
	run(t, ctx, chromedp.WaitNotPresent(field, chromedp.ByQuery))
	run(t, ctx, chromedp.Navigate(site+"/account/"), confirm("06 39 98 00 01"), chromedp.WaitVisible(onSite, chromedp.ByQuery))
}

// Five attempts of one browser may be in flight at once.
func TestTenTabsOfOneBrowserAllArriveFiveAtATime(t *testing.T) {
	_, site := newStage(t, "http", "")
	first := profile(t)
	run(t, first, chromedp.Navigate(site+"/account/?tab=0"), chromedp.WaitVisible(field, chromedp.ByQuery))
	tabs := []context.Context{first}
	for i := range 9 {
		ctx := tab(t, first)
		run(t, ctx, chromedp.Navigate(fmt.Sprintf("%s/account/?tab=%d", site, i+1)), chromedp.WaitVisible(field, chromedp.ByQuery))
		tabs = append(tabs, ctx)
	}
	var group sync.WaitGroup
	for i, ctx := range tabs {
		if i == 5 {
			group.Wait()
		}
		group.Go(func() {
			err := chromedp.Run(ctx,
				chromedp.SendKeys(field, "06 39 98 00 01", chromedp.ByQuery),
				chromedp.Evaluate(`document.querySelector('form[action$="/start"]').requestSubmit()`, nil),
				chromedp.WaitVisible(onSite, chromedp.ByQuery),
			)
			if err != nil {
				t.Errorf("tab %d does not arrive: %v", i, err)
			}
		})
	}
	group.Wait()
}

func TestWithoutJavaScript(t *testing.T) {
	_, site := newStage(t, "http", "")
	ctx := profile(t)
	run(t, ctx, emulation.SetScriptExecutionDisabled(true), chromedp.Navigate(site+"/account/"),
		confirm("06 39 98 00 04"), chromedp.WaitVisible(onSite, chromedp.ByQuery))
}

func TestWithTheKeyboardAlone(t *testing.T) {
	_, site := newStage(t, "http", "")
	ctx := profile(t)
	run(t, ctx, chromedp.Navigate(site+"/account/"), chromedp.WaitVisible(field, chromedp.ByQuery))
	for range 10 {
		var name string
		run(t, ctx, chromedp.KeyEvent(kb.Tab), chromedp.Evaluate(`document.activeElement.name || ""`, &name))
		if name == "number" {
			run(t, ctx, chromedp.KeyEvent("0639980001"), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(onSite, chromedp.ByQuery))
			return
		}
	}
	t.Error("the field cannot be reached with Tab")
}

func TestStepUpAsksAgain(t *testing.T) {
	_, site := newStage(t, "http", "")
	ctx := profile(t)
	run(t, ctx, chromedp.Navigate(site+"/account/"), confirm("06 39 98 00 01"), chromedp.WaitVisible(onSite, chromedp.ByQuery))
	run(t, ctx, chromedp.PollFunction(`async () => (await fetch("/transfer")).status == 401`, nil))
	run(t, ctx, chromedp.Navigate(site+"/transfer"), confirm("06 39 98 00 01"), chromedp.WaitVisible(onSite, chromedp.ByQuery))
	if got := location(t, ctx); got != site+"/transfer" {
		t.Errorf("arrives at %s", got)
	}
}

func TestBackAndReloadAfterSuccessStayOnTheSite(t *testing.T) {
	_, site := newStage(t, "http", "")
	ctx := profile(t)
	run(t, ctx, chromedp.Navigate(site+"/account/"), confirm("06 39 98 00 01"), chromedp.WaitVisible(onSite, chromedp.ByQuery),
		chromedp.Reload(), chromedp.WaitVisible(onSite, chromedp.ByQuery))
	if got := location(t, ctx); strings.Contains(got, "token") || strings.Contains(got, "state") {
		t.Errorf("the address bar shows %s", got)
	}
	run(t, ctx, chromedp.NavigateBack(), chromedp.Click(`main a.button`, chromedp.ByQuery), chromedp.WaitVisible(onSite, chromedp.ByQuery))
}

func TestSignOutAsksAgain(t *testing.T) {
	_, site := newStage(t, "http", "")
	ctx := profile(t)
	run(t, ctx, chromedp.Navigate(site+"/account/"), confirm("06 39 98 00 01"), chromedp.WaitVisible(onSite, chromedp.ByQuery))
	if _, err := chromedp.RunResponse(ctx, chromedp.Click("#out", chromedp.ByQuery)); err != nil {
		t.Fatal(err)
	}
	run(t, ctx, chromedp.Navigate(site+"/account/"), chromedp.WaitVisible(field, chromedp.ByQuery))
}

func TestPagesFitASmallScreenInBothLanguagesAndColourSchemes(t *testing.T) {
	_, site := newStage(t, "http", "brand \"Example SAS\"\nfallback_url https://www.example.com/other")
	ctx := profile(t)
	for _, lang := range []string{"fr", "en"} {
		for _, scheme := range []string{"light", "dark"} {
			for _, path := range []string{"/", "/problem/operator_unavailable", "/problem/browser_mismatch"} {
				t.Run(lang+" "+scheme+" "+path, func(t *testing.T) {
					var width int
					var language string
					run(t, ctx,
						emulation.SetDeviceMetricsOverride(320, 640, 2, true),
						emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
						network.SetExtraHTTPHeaders(network.Headers{"Accept-Language": lang}),
						chromedp.Navigate(site+"/.number-verify"+path),
						chromedp.Evaluate(`document.scrollingElement.scrollWidth`, &width),
						chromedp.Evaluate(`document.documentElement.lang`, &language),
					)
					if width > 320 || language != lang {
						t.Errorf("%d px wide, in %s", width, language)
					}
				})
			}
		}
	}
}

// The first loss is made good, as far as a browser lets it.
func TestBrowserThatDropsTheSessionCookieIsToldWhyAndNotAskedAgain(t *testing.T) {
	w, site := newStage(t, "http", "")
	w.LoadWith("", site+` {
		bind 127.0.0.1
		header >Set-Cookie ^number-verify= dropped=
		number_verify {
			public_url `+site+`
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	ctx := profile(t)
	run(t, ctx, chromedp.Navigate(site+"/account/"), confirm("06 39 98 00 01"), endsWithCode("cookies_required"))
	run(t, ctx, chromedp.Click(`main .button`, chromedp.ByQuery), endsWithCode("cookies_required"))
	if n, arrived := w.Starts(), len(w.Upstream.Take()); n != 1 || arrived != 0 {
		t.Errorf("billed %d times, and %d requests arrived", n, arrived)
	}
}
