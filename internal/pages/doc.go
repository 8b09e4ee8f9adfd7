// Package pages renders what visitors see: the form, the page that waits for a
// result, and the page that explains a refusal, in French and English, without
// JavaScript and without anything from other hosts.
//
// A site may replace the templates by its own. docs/pages.md tells what they have to
// do, and what they get: the fields of Data, and those of view that are made of them
// in the language of the page.
package pages
