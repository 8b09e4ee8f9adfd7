package pages

import (
	"bytes"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"mime"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/text/language"
)

//go:embed templates
var builtin embed.FS

// maxLogo bounds a logo that is inlined into every page, in bytes.
const maxLogo = 64 << 10

// Name is a page.
type Name string

// The pages.
const (
	Form    Name = "form"
	Wait    Name = "wait"
	Problem Name = "problem"
)

// Options are what the pages show of the site.
type Options struct {
	// Dir holds templates that replace the built-in ones; empty: none.
	Dir string
	// Brand is the site's name; Logo a local image file or an https URL.
	Brand, Logo string
	// SupportURL, PrivacyURL and FallbackURL are links.
	SupportURL, PrivacyURL, FallbackURL string
}

// Data is what a page is about.
type Data struct {
	// Lang is the page's language: fr or en.
	Lang string
	// Nonce admits the page's style element.
	Nonce string
	// Base is the path of the gate's endpoints, without a final slash.
	Base string
	// Return is the path and query to go to afterwards.
	Return string
	// Code is the code of a refusal, or empty.
	Code string
	// Status is the HTTP status of the answer.
	Status int
	// Known says that the site knows the number: the form has no field then,
	// and shows Masked.
	Known  bool
	Masked string
	// ContinueURL is where a visitor goes on whose verification still holds.
	ContinueURL string
	// SessionTTL is how long an outcome is kept.
	SessionTTL time.Duration
	// RetryAfter is how long to wait before another attempt; 0: not at all.
	RetryAfter time.Duration
	// RefreshURL is where the wait page goes by itself after RefreshAfter.
	RefreshURL   string
	RefreshAfter time.Duration
	// Done says that the visitor is verified and about to go on.
	Done bool
}

// view is what templates get.
type view struct {
	Data
	Text                                texts
	UI                                  map[string]string
	Brand                               string
	Logo                                template.URL
	SupportURL, PrivacyURL, FallbackURL string
	OfferFallback                       bool
	Retry, Kept, Wait                   string
	Seconds                             int
}

// Pages renders pages. It is safe for concurrent use.
type Pages struct {
	options     Options
	logo        template.URL
	imageSource string
	templates   map[Name]*template.Template
}

// New reads and checks templates and logo, and tries every page out.
func New(o Options) (*Pages, error) {
	p := &Pages{options: o, templates: make(map[Name]*template.Template)}
	if err := p.loadLogo(); err != nil {
		return nil, err
	}
	for _, name := range []Name{Form, Wait, Problem} {
		t, err := load(o.Dir, name)
		if err != nil {
			return nil, err
		}
		p.templates[name] = t
	}
	return p, p.tryOut()
}

// load parses a page and its frame, each from the operator's directory where it
// is there.
func load(dir string, name Name) (*template.Template, error) {
	t := template.New("base.html")
	for _, file := range []string{"base.html", string(name) + ".html"} {
		text, err := read(dir, file)
		if err != nil {
			return nil, err
		}
		if file != "base.html" {
			_, err = t.New(file).Parse(text)
		} else {
			_, err = t.Parse(text)
		}
		if err != nil {
			return nil, fmt.Errorf("pages: %w; mend the template or remove it to have the built-in one", err)
		}
	}
	if t.Lookup("content") == nil {
		return nil, fmt.Errorf(`pages: %s.html defines no "content"; write {{define "content"}}...{{end}}`, name)
	}
	return t, nil
}

func read(dir, file string) (string, error) {
	if dir != "" {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err == nil {
			return string(text), nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("pages: %w", err)
		}
		if _, err := os.Stat(dir); err != nil {
			return "", fmt.Errorf("pages: %w; name a directory, by its absolute path", err)
		}
	}
	text, err := builtin.ReadFile("templates/" + file)
	return string(text), err
}

// tryOut renders every page with every code in every language, so that a
// mistake in a template shows when the configuration loads.
func (p *Pages) tryOut() error {
	for lang := range words {
		for _, code := range append([]string{""}, Codes()...) {
			for name := range p.templates {
				data := Data{Lang: lang, Nonce: "n", Base: "/b", Return: "/", Code: code, ContinueURL: "/", RefreshURL: "/", SessionTTL: time.Hour}
				if _, err := p.Render(name, data); err != nil {
					return fmt.Errorf("pages: %w; the fields that templates get are those of package pages", err)
				}
			}
		}
	}
	return nil
}

// ImageSource is the source that a Content-Security-Policy has to admit for the
// logo, or empty.
func (p *Pages) ImageSource() string { return p.imageSource }

// loadLogo inlines a local logo, so that pages need no other request.
func (p *Pages) loadLogo() error {
	logo := p.options.Logo
	if logo == "" {
		return nil
	}
	if u, err := url.Parse(logo); err == nil && u.Scheme != "" {
		if u.Scheme != "https" || u.Host == "" || strings.ContainsAny(u.Host, ";, '\"") {
			return errors.New("brand: the logo must be a local file or an https URL")
		}
		p.logo, p.imageSource = template.URL(u.String()), "https://"+u.Host //nolint:gosec // the operator's own, and https
		return nil
	}
	kind := mime.TypeByExtension(filepath.Ext(logo))
	if !strings.HasPrefix(kind, "image/") {
		return errors.New("brand: the logo must be an image: .svg, .png, .jpg, .webp or .gif")
	}
	info, err := os.Stat(logo)
	if err != nil {
		return fmt.Errorf("brand: %w", err)
	}
	if info.Size() > maxLogo {
		return fmt.Errorf("brand: the logo has %d bytes; it is part of every page, so make it at most %d", info.Size(), maxLogo)
	}
	content, err := os.ReadFile(logo)
	if err != nil {
		return fmt.Errorf("brand: %w", err)
	}
	encoded := base64.StdEncoding.EncodeToString(content)
	p.logo, p.imageSource = template.URL("data:"+kind+";base64,"+encoded), "data:" //nolint:gosec // base64 of the operator's own file
	return nil
}

// Render renders a page. It renders into memory, so that an error never leaves
// half a page.
func (p *Pages) Render(name Name, data Data) ([]byte, error) {
	t, ok := p.templates[name]
	if !ok {
		return nil, fmt.Errorf("no page %q", name)
	}
	if _, ok := words[data.Lang]; !ok {
		data.Lang = "en"
	}
	v := view{
		Data: data, Text: textsOf(name, data), UI: words[data.Lang],
		Brand: p.options.Brand, Logo: p.logo,
		SupportURL: p.options.SupportURL, PrivacyURL: p.options.PrivacyURL, FallbackURL: p.options.FallbackURL,
		OfferFallback: p.options.FallbackURL != "" && offersFallback(data.Code),
		Retry:         data.Base + "/?" + url.Values{"return": {data.Return}}.Encode(),
		Kept:          inWords(data.Lang, data.SessionTTL), Wait: inWords(data.Lang, data.RetryAfter),
		Seconds: int((data.RefreshAfter + time.Second - 1) / time.Second),
	}
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// maxAcceptLanguage bounds what is parsed, in bytes.
const maxAcceptLanguage = 200

var matcher = language.NewMatcher([]language.Tag{language.English, language.French})

// Language picks fr or en by an Accept-Language header; en where neither is
// wanted.
func Language(accept string) string {
	if len(accept) > maxAcceptLanguage {
		accept = accept[:maxAcceptLanguage]
		accept = accept[:max(0, strings.LastIndexByte(accept, ','))]
	}
	tags, _, err := language.ParseAcceptLanguage(accept)
	if err != nil {
		return "en"
	}
	if _, index, _ := matcher.Match(tags...); index == 1 {
		return "fr"
	}
	return "en"
}
