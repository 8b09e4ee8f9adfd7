package pages

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/manual"
)

func TestLinks(t *testing.T) {
	for _, good := range []string{
		"https://www.example.com/help?a=1&b=2#c", "http://localhost:8080", "/help", "/", "mailto:help@example.com", "tel:+33639980001",
	} {
		p := newPages(t, Options{PrivacyURL: good, SupportURL: good, FallbackURL: good})
		page := render(t, p, Problem, Data{Lang: "en", Code: "number_unsupported"})
		for _, label := range []string{"Privacy", "Help", "Use another way"} {
			if got := attr(page.link(label), "href"); got != good {
				t.Errorf("%s of %s leads to %s", label, good, got)
			}
		}
	}
}

func TestLinksThatLeadNowhereOrRunAreRefused(t *testing.T) {
	for _, bad := range []string{
		"javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "java\tscript:alert(1)", "data:text/html,x",
		"vbscript:x", "file:///etc/passwd", "//evil.example", "///evil.example", `/\evil.example`, "https://", "https:/a", "https:a",
		"https://user@example.com", "www.example.com", "help", "mailto:", "tel:", "/a b", "/a\nb", `/"onclick="x`, "https://a'b", ":",
	} {
		for option, o := range map[string]Options{
			"support_url": {SupportURL: bad}, "privacy_url": {PrivacyURL: bad}, "fallback_url": {FallbackURL: bad},
		} {
			_, err := New(o)
			if err == nil || !strings.HasPrefix(err.Error(), option+": ") || !strings.Contains(err.Error(), "write it like") {
				t.Errorf("%s %q: %v", option, bad, err)
			}
		}
	}
}

// The first bytes of image files, by which browsers recognise them.
var images = map[string]string{
	"logo.svg": `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>`, "logo.png": "\x89PNG\r\n\x1a\n",
	"logo.jpg": "\xff\xd8\xff", "logo.JPEG": "\xff\xd8\xff", "logo.gif": "GIF89a", "logo.webp": "RIFF\x00\x00\x00\x00WEBPVP8 ",
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLocalLogoIsInlined(t *testing.T) {
	dir := t.TempDir()
	for name, content := range images {
		p := newPages(t, Options{Brand: "Exemple SAS", Logo: write(t, dir, name, content)})
		if p.logo.policy != "data:" {
			t.Errorf("%s: the source is %q", name, p.logo.policy)
		}
		src := attr(render(t, p, Form, Data{}).one("img"), "src")
		kind, encoded, _ := strings.Cut(src, ";base64,")
		if got, err := base64.StdEncoding.DecodeString(encoded); err != nil || string(got) != content {
			t.Errorf("%s: the image is %q", name, src)
		}
		if want := "data:" + imageTypes[strings.ToLower(filepath.Ext(name))]; kind != want {
			t.Errorf("%s: the kind is %s", name, kind)
		}
	}
}

func TestRemoteLogoIsNamedForThePolicy(t *testing.T) {
	p := newPages(t, Options{Logo: "https://cdn.example.com:8443/a/logo.svg?v=1&w=2"})
	if p.logo.policy != "https://cdn.example.com:8443" {
		t.Errorf("the source is %q", p.logo.policy)
	}
	if got := attr(render(t, p, Form, Data{}).one("img"), "src"); got != "https://cdn.example.com:8443/a/logo.svg?v=1&w=2" {
		t.Errorf("the image is %q", got)
	}
}

func TestNoLogoNoSource(t *testing.T) {
	p := newPages(t, Options{Brand: "Exemple SAS"})
	if p.logo.policy != "" || len(render(t, p, Form, Data{}).all("img")) != 0 {
		t.Error("there is one")
	}
}

func TestLogosThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dir.png"), 0o700); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, logo, want string }{
		{"plain http", "http://cdn.example.com/logo.svg", "https URL"},
		{"data URI", "data:image/png;base64,AAAA", "local file"},
		{"javascript", "javascript:alert(1)", ".svg, .png"},
		{"https without a host", "https:///logo.svg", "write it like"},
		{"https with a password", "https://a:b@cdn.example.com/logo.svg", "write it like"},
		{"a host that adds to the policy", "https://cdn.example.com;script-src *", "write it like"},
		{"a host with a wildcard", "https://*/logo.svg", "write it like"},
		{"a host that is no ASCII", "https://exämple.com/logo.svg", "write it like"},
		{"another kind", write(t, dir, "logo.txt", "x"), ".svg, .png"},
		{"no file", filepath.Join(dir, "none.png"), "absolute path"},
		{"a directory", filepath.Join(dir, "dir.png"), "at most 64 KiB"},
		{"too large", write(t, dir, "large.png", images["logo.png"]+strings.Repeat("x", maxLogo)), "at most 64 KiB"},
		{"a page that says it is an image", write(t, dir, "page.png", "<html><script>"), "holds no image/png"},
		{"an empty file", write(t, dir, "empty.svg", ""), "holds no image/svg+xml"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(Options{Logo: test.logo})
			if err == nil || !strings.HasPrefix(err.Error(), "brand: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func TestLogoOfTheLargestSize(t *testing.T) {
	content := images["logo.png"] + strings.Repeat("x", maxLogo-len(images["logo.png"]))
	newPages(t, Options{Logo: write(t, t.TempDir(), "logo.png", content)})
}

const ownForm = `{{define "content"}}<main>Own form of {{.Brand}}
<form method=post action='{{.Base}}/start'><input name=return value="{{.Return}}">{{if not .Known}}<input name=number>{{end}}</form></main>{{end}}`

func TestOwnTemplatesReplaceOneByOne(t *testing.T) {
	builtinPages := newPages(t, Options{Brand: "Exemple SAS"})
	own := map[string]string{
		"form.html":    ownForm,
		"wait.html":    `{{define "content"}}<main>Own wait <a href="{{.RefreshURL}}">go</a></main>{{end}}`,
		"problem.html": `{{define "content"}}<main>Own problem <a href="{{.Retry}}">go</a></main>{{end}}`,
	}
	for file, content := range own {
		dir := t.TempDir()
		write(t, dir, file, content)
		write(t, dir, "README", "not a template {{")
		p := newPages(t, Options{Dir: dir, Brand: "Exemple SAS"})
		for _, name := range []Name{Form, Wait, Problem} {
			page := render(t, p, name, sample)
			if isOwn := strings.Contains(text(page.one("main")), "Own "+string(name)); isOwn != (file == string(name)+".html") {
				t.Errorf("with %s, %s is own: %v", file, name, isOwn)
			}
			if want := render(t, builtinPages, name, sample).body; file != string(name)+".html" && page.body != want {
				t.Errorf("with %s, %s is not the built-in one", file, name)
			}
		}
	}
}

func TestOwnPageMayShowTheBuiltInOneWithinItsOwn(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "form.html", `{{define "content"}}<p>Before.</p>{{template "builtin" .}}<p>After.</p>{{end}}`)
	builtinPage := render(t, newPages(t, Options{}), Form, sample).body
	_, main, _ := strings.Cut(builtinPage, "<main")
	main, _, _ = strings.Cut(main, "</main>")
	page := render(t, newPages(t, Options{Dir: dir}), Form, sample).body
	if want := "<p>Before.</p><main" + main + "</main><p>After.</p>"; !strings.Contains(page, want) {
		t.Errorf("the page lacks %s:\n%s", want, page)
	}
}

func TestOwnTemplatesNameWhoIsSentTheNumber(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "form.html", strings.Replace(ownForm, "{{.Brand}}", "{{.Recipient}}: {{.Words.Data}}", 1))
	page := render(t, newPages(t, Options{Dir: dir, Recipient: "Example"}), Form, Data{Lang: "en"})
	if got := text(page.one("main")); !strings.Contains(got, "Own form of Example: The number is sent to Example, which") {
		t.Errorf("the form says %q", got)
	}
}

func TestTemplateInTheDocumentationWorks(t *testing.T) {
	blocks := manual.Blocks(manual.Page(t, "docs/pages.md"), "html")
	if len(blocks) != 1 {
		t.Fatalf("docs/pages.md shows %d templates", len(blocks))
	}
	dir := t.TempDir()
	write(t, dir, "problem.html", blocks[0])
	p := newPages(t, Options{Dir: dir})
	main := render(t, p, Problem, Data{Lang: "en", Code: "busy"}).one("main")
	if attr(main, "data-code") != "busy" || !strings.Contains(text(main), english.problems["busy"].Title) {
		t.Error("it gives another page")
	}
}

func TestOwnFrameGoesAroundAllPages(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "base.html", `<!doctype html><html lang="{{.Lang}}"><title>{{.Title}}</title><p>Own frame</p>{{template "content" .}}</html>`)
	p := newPages(t, Options{Dir: dir})
	for _, name := range []Name{Form, Wait, Problem} {
		page := render(t, p, name, sample)
		if !strings.Contains(page.body, "Own frame") || len(page.all("main")) != 1 {
			t.Errorf("%s: %s", name, page.body)
		}
	}
}

func TestOwnTemplatesEscapeToo(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "form.html", ownForm)
	p := newPages(t, Options{Dir: dir})
	for _, v := range vectors {
		data := sample
		data.Return = v
		verifyTame(t, render(t, p, Form, data))
	}
}

func TestBrokenTemplatesAreExplained(t *testing.T) {
	tests := []struct {
		name, file, content string
		want                []string
	}{
		{"does not parse", "form.html", "{{define \"content\"}}\n{{if}}{{end}}", []string{"form.html:2", "remove it"}},
		{"an unknown field", "problem.html", "{{define \"content\"}}\n{{.Number}}{{end}}", []string{"problem.html:2", "Number", "docs/pages.md"}},
		{"an unknown word", "wait.html", `{{define "content"}}{{.Words.Nothing}}{{end}}`, []string{"wait.html:1", "Nothing"}},
		{"an unknown field for one code only", "form.html", `{{define "content"}}{{if eq .Code "busy"}}{{.Nothing}}{{end}}` + ownForm[len(`{{define "content"}}`):], []string{"form.html:1", "Nothing"}},
		{"an unknown field once done only", "wait.html", `{{define "content"}}{{.RefreshURL}}{{if .Done}}{{.Nothing}}{{end}}{{end}}`, []string{"wait.html:1", "Nothing"}},
		{"an unknown block", "base.html", `{{template "header" .}}`, []string{"base.html", "header"}},
		{"an unknown function", "base.html", `{{now}}`, []string{"base.html:1", "now", "remove it"}},
		{"an ambiguous context", "base.html", `<a href={{if .Code}}"x"{{else}}'{{end}}>`, []string{"base.html"}},
		{"no block", "form.html", `<main></main>`, []string{"form.html", `{{define "content"}}`}},
		{"a frame without the block", "base.html", `<html></html>`, []string{"form.html", "base.html", "{{.Base}}/start"}},
		{"a wait page that ends nowhere", "base.html", `<form action="{{.Base}}/start"><input name="return"><input name="number"></form>`, []string{"wait.html", "{{.RefreshURL}}"}},
		{"a form that posts elsewhere", "form.html", strings.Replace(ownForm, "/start", "/send", 1), []string{"form.html", "{{.Base}}/start"}},
		{"a form without a number", "form.html", strings.Replace(ownForm, "name=number", "name=phone", 1), []string{"form.html", `name="number"`}},
		{"a form without a return path", "form.html", strings.Replace(ownForm, "name=return", "name=back", 1), []string{"form.html", `name="return"`}},
		{"a problem in words of one's own", "problem.html", `{{define "content"}}<main></main>{{end}}`, nil},
		{"a wait page without a link, since the built-in frame goes on by itself", "wait.html", `{{define "content"}}<main></main>{{end}}`, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, test.file, test.content)
			_, err := New(Options{Dir: dir})
			if test.want == nil {
				if err != nil {
					t.Errorf("refused, though nobody is stuck: %v", err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), "pages: ") {
				t.Fatalf("err = %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not name %s", err, want)
				}
			}
		})
	}
}

func TestDirectoriesThatAreRefused(t *testing.T) {
	file := write(t, t.TempDir(), "file", "")
	odd := t.TempDir()
	if err := os.Mkdir(filepath.Join(odd, "form.html"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"missing": filepath.Join(t.TempDir(), "none"), "a file": file, "a directory for a template": odd} {
		if _, err := New(Options{Dir: dir}); err == nil || !strings.HasPrefix(err.Error(), "pages: ") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPageThatFailsHalfwayGivesNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "problem.html", `{{define "content"}}<a href="{{.Retry}}">{{if eq .Masked "fails"}}{{index .Problem.Advice 99}}{{end}}</a>{{end}}`)
	p := newPages(t, Options{Dir: dir})
	page, err := p.Render(Problem, Data{Code: "busy", Masked: "fails"})
	if err == nil || len(page) != 0 {
		t.Errorf("Render = %d bytes, %v", len(page), err)
	}
	if page, err := p.Render(Problem, Data{Code: "busy"}); err != nil || !bytes.Contains(page, []byte("</html>")) {
		t.Errorf("the next page fails too: %v", err)
	}
}
