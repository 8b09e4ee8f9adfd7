package pages

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

//go:embed templates
var builtin embed.FS

// Name is a page.
type Name string

// The pages.
const (
	Form    Name = "form"
	Wait    Name = "wait"
	Problem Name = "problem"
)

// frame is the template that all pages share.
const frame = "base.html"

// Options say what the pages show of the site, and which templates they use.
type Options struct {
	// Dir holds templates that replace the built-in ones; empty: none.
	Dir string
	// Brand is the site's name, or empty.
	Brand string
	// Recipient is the name of the company that gets the number, see
	// verifier.Verifier; if empty, pages speak of a verification service.
	Recipient string
	// Logo is a local image file, which becomes part of every page, or an https
	// URL; empty: none.
	Logo string
	// SupportURL, PrivacyURL and FallbackURL are links: http, https, mailto, tel
	// or a path of the site; empty: none.
	SupportURL, PrivacyURL, FallbackURL string
}

// Data is what one page shows. Templates get these fields and those of view;
// docs/pages.md lists both.
type Data struct {
	// Lang is the page's language, as Language returns it.
	Lang string
	// Texts is the version of the form's text, see Versions; "" where it is not known.
	Texts string
	// Nonce admits the page's style element: 128 random bits or more, new for
	// every page.
	Nonce string
	// Base is the path of the gate's endpoints, without a final slash.
	Base string
	// Return is the path and query to go to afterwards, checked.
	Return string
	// Code is the code of a refusal, or empty.
	Code string
	// Reference is what the visitor can name to support, or empty.
	Reference string
	// Status is the HTTP status of the answer.
	Status int
	// TurnedDown says that the visitor was verified, but the site turns that down: the
	// page then says so in place of what Code means.
	TurnedDown bool
	// Known says that the site knows the number: the form then shows Masked and
	// has no field.
	Known bool
	// Masked is the known number with its middle digits hidden.
	Masked string
	// ContinueURL is the link for a visitor who is still verified to go on, or empty.
	ContinueURL string
	// SessionTTL is how long the outcome is kept; if 0, the page does not say.
	SessionTTL time.Duration
	// RetryAfter is how long to wait before another attempt; if 0, the page does
	// not say.
	RetryAfter time.Duration
	// RefreshURL is the address that the wait page opens by itself after
	// RefreshAfter, rounded up to seconds: at least one second, unless Done.
	RefreshURL   string
	RefreshAfter time.Duration
	// Done says that the visitor is verified and about to go on.
	Done bool
}

// view is what templates get.
type view struct {
	Data
	Title                               string
	Problem                             problem
	Words                               words
	Intro, Kept, TryAgainIn, Quote      string
	Seconds                             int
	Retry                               string
	OfferFallback, NumberWrong          bool
	NetworkAdvised                      bool
	Brand, Recipient                    string
	LogoSource                          template.URL
	SupportURL, PrivacyURL, FallbackURL template.URL
}

// Pages renders pages. It is safe for concurrent use.
type Pages struct {
	site      view // the fields that are the same on every page
	logo      logo
	templates map[Name]*template.Template
}

// New checks the options, and reads the logo and the templates. If Options.Dir is set,
// it tries out every page. An error says which file or option is wrong, and what to
// write instead.
func New(o Options) (*Pages, error) {
	p := &Pages{site: view{Brand: o.Brand, Recipient: o.Recipient}, templates: make(map[Name]*template.Template)}
	for _, l := range []struct {
		option, raw string
		checked     *template.URL
	}{
		{"support_url", o.SupportURL, &p.site.SupportURL},
		{"privacy_url", o.PrivacyURL, &p.site.PrivacyURL},
		{"fallback_url", o.FallbackURL, &p.site.FallbackURL},
	} {
		var err error
		if *l.checked, err = checkLink(l.raw); err != nil {
			return nil, fmt.Errorf("%s: %w", l.option, err)
		}
	}
	var err error
	if p.logo, err = loadLogo(o.Logo); err != nil {
		return nil, fmt.Errorf("brand: %w", err)
	}
	p.site.LogoSource = p.logo.source
	for _, name := range []Name{Form, Wait, Problem} {
		if p.templates[name], err = load(o.Dir, name); err == nil && o.Dir != "" {
			err = p.tryOut(name) // this package's tests do that for the built-in ones
		}
		if err != nil {
			return nil, fmt.Errorf("pages: %w", err)
		}
	}
	return p, nil
}

// load parses a page and its frame. Each comes from dir if dir has the file. A page
// from dir may include the built-in content, as the template "builtin".
func load(dir string, name Name) (*template.Template, error) {
	t := template.New(frame)
	page := string(name) + ".html"
	if err := addBuiltin(t, page); err != nil {
		return nil, err
	}
	for _, file := range []string{frame, page} {
		text, err := read(dir, file)
		if err != nil {
			return nil, err
		}
		if file == page {
			_, err = t.New(page).Parse(text)
		} else {
			_, err = t.Parse(text)
		}
		if err != nil {
			return nil, fmt.Errorf("%w; correct the file in %s, or remove it to have the built-in page", err, dir)
		}
	}
	if t.Lookup("content") == nil {
		return nil, fmt.Errorf(`%s defines no block "content"; write {{define "content"}}<main>...</main>{{end}} into it`, filepath.Join(dir, page))
	}
	return t, nil
}

// addBuiltin adds the content of a built-in page to t, as the template "builtin". It
// is not named "content", so that a page that defines no "content" is still an error.
func addBuiltin(t *template.Template, page string) error {
	text, err := read("", page)
	if err != nil {
		return err
	}
	original, err := template.New(page).Parse(text)
	if err != nil {
		return err
	}
	_, err = t.AddParseTree("builtin", original.Lookup("content").Tree)
	return err
}

func read(dir, file string) (string, error) {
	if dir == "" {
		text, err := builtin.ReadFile("templates/" + file)
		return string(text), err
	}
	text, err := os.ReadFile(filepath.Join(dir, file))
	if !errors.Is(err, fs.ErrNotExist) {
		return string(text), err
	}
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%w; write the absolute path of a directory with templates", err)
	}
	return read("", file)
}

// Policy returns the Content-Security-Policy of a page with that nonce; without one, of
// any other answer. Browsers apply form-action to redirects after a post too, so it
// allows operators' pages, some of which are on plain http.
func (p *Pages) Policy(nonce string) string {
	style, images := "'none'", "'self'"
	if nonce != "" {
		style = "'nonce-" + nonce + "'"
	}
	if p.logo.policy != "" {
		images += " " + p.logo.policy
	}
	return "default-src 'none'; style-src " + style + "; img-src " + images +
		"; form-action 'self' https: http:; frame-ancestors 'none'; base-uri 'none'"
}

// Render renders a page into memory, so that an error never leaves half a page. An
// unknown language gets English, an unknown code a general text. It fails for an
// unknown name, and if a template fails.
func (p *Pages) Render(name Name, data Data) ([]byte, error) {
	t, ok := p.templates[name]
	if !ok {
		return nil, fmt.Errorf("no page %q", name)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p.view(name, data)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Versions returns the version of the form's text in each language: the language and a
// short hash of the whole page, with all that the site has configured of it. SessionTTL
// is how long the outcome is kept.
func (p *Pages) Versions(sessionTTL time.Duration) map[string]string {
	versions := make(map[string]string)
	for lang := range languages {
		data, sum := sample, sha256.New()
		data.Lang, data.SessionTTL = lang, sessionTTL
		for _, data.Known = range []bool{false, true} {
			page, _ := p.Render(Form, data) // tried out when it was loaded
			sum.Write(page)
		}
		versions[lang] = lang + "-" + hex.EncodeToString(sum.Sum(nil)[:6])
	}
	return versions
}

// view returns all fields of a page.
func (p *Pages) view(name Name, data Data) view {
	in, ok := languages[data.Lang]
	if !ok {
		data.Lang = tags[0].String()
		in = languages[data.Lang]
	}
	v := p.site
	v.Data = data
	v.Words = in.wordsFor(v.Recipient)
	v.Problem = in.problem(name, data)
	v.Title = in.title(name, data)
	v.Intro = in.intro(v.Brand)
	v.Kept = in.kept(v.Brand, data.SessionTTL)
	v.TryAgainIn = in.tryAgainIn(data.RetryAfter)
	v.Quote = in.quote(data.Reference)
	v.Seconds = int((data.RefreshAfter + time.Second - 1) / time.Second)
	if !data.Done {
		v.Seconds = max(1, v.Seconds) // never a tight loop
	}
	v.Retry = data.Base + "/"
	if data.Return != "" {
		v.Retry += "?" + url.Values{"return": {data.Return}}.Encode()
	}
	code := refusal.Code(data.Code)
	v.OfferFallback = v.FallbackURL != "" && code.OffersFallback()
	v.NumberWrong = code.ConcernsNumber()
	v.NetworkAdvised = code.ConcernsNetwork()
	return v
}
