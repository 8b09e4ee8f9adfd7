// Package pages renders what visitors see: the form, the page that waits for a
// result, and the page that explains a refusal. They are in French and English,
// need no JavaScript, and load nothing from other hosts.
//
// # Templates of your own
//
// The option pages names a directory that may hold base.html, form.html, wait.html
// and problem.html, in the syntax of Go's html/template. Each file replaces the
// built-in one of the same name; if one is missing, the built-in one is used. To
// start from the built-in ones, copy them from the folder templates beside this
// file. When the configuration loads, all pages are rendered with every code in
// every language, and a mistake is reported with file and line.
//
// base.html is the frame, from doctype to </html>, with {{template "content" .}}
// where the page goes. form.html, wait.html and problem.html each define that
// block:
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
// The pages must do the following:
//
//   - form.html posts a form to {{.Base}}/start, with a hidden field return that
//     holds {{.Return}} and, unless .Known, a field number.
//   - wait.html links to {{.RefreshURL}}. The built-in base.html goes there by
//     itself, by a meta refresh; a base.html of your own must do so too.
//   - problem.html should link to {{.Retry}}, to start again.
//   - Every style element needs nonce="{{.Nonce}}". The Content-Security-Policy
//     blocks scripts, style attributes, frames, and all images except those of
//     this site and the logo.
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
//	.Known          whether the site knows the number: then show no field
//	.Masked         the known number, masked: +33 6 •• •• •• 01
//	.ContinueURL    the way on for a visitor who is verified already, or empty
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
// Made from these, in the language of the page:
//
//	.Title          heading of the page
//	.Problem        if there is a code: .Problem.Title and .Problem.Reason are
//	                sentences, .Problem.Advice is a list of sentences
//	.Intro          who asks, and why
//	.Kept           how long the outcome is kept, a sentence, or empty
//	.TryAgainIn     when to try again, a sentence, or empty
//	.Seconds        RefreshAfter in whole seconds
//	.Retry          address of the form, with the return path
//	.OfferFallback  whether FallbackURL is set and may help with this code
//	.NumberWrong    whether the code is about the number itself
//	.NetworkAdvised whether .Problem.Advice already mentions Wi-Fi, so that
//	                .Words.Before would repeat it
//	.Words          the fixed texts of the built-in pages, such as
//	                {{.Words.Submit}}; texts.go lists their names
//
// No page gets a full number: after a refusal, the form does not repeat it.
package pages
