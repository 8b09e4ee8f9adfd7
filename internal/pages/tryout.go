package pages

import (
	"bytes"
	"fmt"
	"regexp"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// sample is the data for trying out pages.
var sample = Data{
	Nonce: "sample", Base: "/.number-verify", Return: "/account", Status: 200, Masked: "+33 6 •• •• •• 01",
	SessionTTL: 24 * time.Hour, RefreshURL: "/.number-verify/wait/sample", RefreshAfter: 2 * time.Second,
}

// tryOut renders a page with every code in every language, so that a mistake in a
// template of one's own shows when the configuration loads.
func (p *Pages) tryOut(name Name) error {
	for lang := range languages {
		for _, code := range append(refusal.Codes(), "") {
			bare, full := sample, sample
			bare.Lang, full.Lang = lang, lang
			bare.Code, full.Code = string(code), string(code)
			full.Known, full.Done, full.ContinueURL, full.RetryAfter = true, true, "/account", time.Minute
			full.Reference = "K7Q2M9PX"
			turnedDown := bare
			turnedDown.TurnedDown = true
			for _, data := range []Data{bare, full, turnedDown} {
				page, err := p.Render(name, data)
				if err != nil {
					return fmt.Errorf("%w; docs/pages.md lists what templates get", err)
				}
				if missing := missing(name, data, page); missing != "" {
					return fmt.Errorf(`%s.html is incomplete: with base.html it must give a page with %s`, name, missing)
				}
			}
		}
	}
	return nil
}

var (
	numberField = regexp.MustCompile(`(?i)\sname=["']?number\b`)
	returnField = regexp.MustCompile(`(?i)\sname=["']?return\b`)
)

// missing returns the first element that the page lacks and that visitors need to go
// on, or "".
func missing(name Name, data Data, page []byte) string {
	has := func(s string) bool { return bytes.Contains(page, []byte(s)) }
	switch {
	case name == Wait && !has(data.RefreshURL):
		return "a link to {{.RefreshURL}}"
	case name != Form:
		return ""
	case !has(data.Base + "/start"):
		return `<form method="post" action="{{.Base}}/start">`
	case !returnField.Match(page):
		return `<input type="hidden" name="return" value="{{.Return}}">`
	case !data.Known && !numberField.Match(page):
		return `<input type="tel" name="number"> unless .Known`
	default:
		return ""
	}
}
