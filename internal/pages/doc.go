// Package pages renders what visitors see: the form, the page that waits for a
// result, and the page that explains a refusal, in French and English, without
// JavaScript and without anything from other hosts.
//
// # Templates of your own
//
// A directory named with the option pages may hold base.html, form.html,
// wait.html and problem.html, in the syntax of Go's html/template. Each replaces
// the built-in one of that name; what is missing stays built in. The folder
// templates beside this file holds the built-in ones, to start from. All pages
// are tried out with every code in every language when the configuration loads,
// so a mistake shows then, with file and line.
//
// base.html is the frame, from doctype to </html>; it has
// {{template "content" .}} where the page goes. form.html, wait.html and
// problem.html each define that block:
//
//	{{define "content"}}
//	<main{{if .Code}} data-code="{{.Code}}"{{end}}>
//		<h1>{{.Title}}</h1>
//	</main>
//	{{end}}
//
// {{template "builtin" .}} within it shows the built-in content of that page, so
// that something can be added to a page without a copy of it.
//
// What the pages have to do:
//
//   - form.html posts to {{.Base}}/start the fields return (a hidden one, with
//     {{.Return}}) and, unless .Known, number.
//   - wait.html leads to {{.RefreshURL}}. The built-in base.html goes there by
//     itself, with a meta refresh; one of your own has to as well.
//   - problem.html should offer a way to start again: {{.Retry}}.
//   - A style element has nonce="{{.Nonce}}". The Content-Security-Policy blocks
//     scripts, style attributes, frames, and images that are neither of this
//     site nor the logo.
//
// # What templates get
//
// About the request:
//
//	.Lang           language of the page, fr or en
//	.Nonce          admits the style element
//	.Base           path of the gate's endpoints, e.g. /.number-verify
//	.Return         path and query to go to after the verification
//	.Code           code of the refusal, e.g. number_mismatch, or empty
//	.Status         HTTP status of the answer
//	.Known          whether the site knows the number: no field is shown then
//	.Masked         the known number, masked: +33 6 •• •• •• 01
//	.ContinueURL    where a visitor goes on who is verified already, or empty
//	.SessionTTL     how long the outcome is kept, a duration; see .Kept
//	.RetryAfter     how long to wait before another attempt, a duration, or 0;
//	                see .TryAgainIn
//	.RefreshURL     where the wait page goes by itself, or empty
//	.RefreshAfter   after how long, a duration; see .Seconds
//	.Done           wait page: whether the number is verified
//
// About the site:
//
//	.Brand          name of the site, or empty
//	.Recipient      name of whoever is sent the number, e.g. DQE; .Words.Data is
//	                the sentence that tells visitors
//	.LogoSource     address of the logo for an img element, or empty
//	.SupportURL     as configured, or empty
//	.PrivacyURL     as configured, or empty
//	.FallbackURL    as configured, or empty
//
// Made of these, in the language of the page:
//
//	.Title          heading of the page
//	.Problem        with a code: .Problem.Title and .Problem.Reason are sentences,
//	                .Problem.Advice is a list of them
//	.Intro          who asks, and why
//	.Kept           how long the outcome is kept, a sentence, or empty
//	.TryAgainIn     when to try again, a sentence, or empty
//	.Seconds        RefreshAfter in whole seconds
//	.Retry          address of the form, with the return path
//	.OfferFallback  whether FallbackURL is there and may help with this code
//	.NumberWrong    whether the code is about the number itself
//	.NetworkAdvised whether .Problem.Advice speaks of Wi-Fi already: then
//	                .Words.Before would say it twice
//	.Words          the fixed words of the built-in pages, by the names in
//	                texts.go: {{.Words.Submit}}
//
// No page gets a full number: a refused form does not repeat what was typed.
package pages
