// Package pages renders what visitors see: the form, the page that waits for a
// result, and the page that explains a refusal, in French and English, without
// JavaScript and without anything from elsewhere.
//
// # Templates of your own
//
// A directory named with the option pages may hold form.html, wait.html,
// problem.html and base.html, in the syntax of Go's html/template. Each replaces
// the built-in one of that name; what is missing stays built in. They are tried
// out with every code in every language when the configuration loads.
//
// base.html is the frame. It puts {{template "content" .}} where the page goes.
// form.html, wait.html and problem.html each define the block "content":
//
//	{{define "content"}}<main{{if .Code}} data-code="{{.Code}}"{{end}}>…</main>{{end}}
//
// The form must post the fields number (unless .Known) and return to
// {{.Base}}/start. A style element needs nonce="{{.Nonce}}"; scripts, frames and
// resources of other hosts are blocked by the page's Content-Security-Policy.
//
// Templates get the fields of Data and these besides:
//
//	.Text.Title         the heading, by page and code
//	.Text.Reason        what has happened, one sentence; empty on a fresh form
//	.Text.Advice        what to do, a list of sentences
//	.UI                 the fixed words of the pages by name: {{index .UI "submit"}}
//	.Brand              the site's name, or empty
//	.Logo               the logo's address for an img element, or empty
//	.SupportURL .PrivacyURL .FallbackURL  as configured, or empty
//	.OfferFallback      whether another way should be offered
//	.Retry              the address of the form, with the return path
//	.Kept .Wait         SessionTTL and RetryAfter in words
//	.Seconds            RefreshAfter in whole seconds
package pages
