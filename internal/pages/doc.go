// Package pages renders what visitors see: the form, the page that waits for a
// result, and the page that explains a refusal, in French and English, without
// JavaScript and without anything from other hosts.
//
// A site may replace the templates with its own. docs/pages.md says what they have to
// do, and lists the fields that they get: those of Data, and those of view, which are
// derived from them in the language of the page.
package pages
