package pages

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"
)

func newPages(t testing.TB, o Options) *Pages {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// render renders a page and parses it.
func render(t testing.TB, p *Pages, name Name, data Data) *page {
	t.Helper()
	body, err := p.Render(name, data)
	if err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return &page{t: t, body: string(body), root: root}
}

// page is a parsed page.
type page struct {
	t    testing.TB
	body string
	root *html.Node
}

// all returns the elements of a name, in order; "" for all.
func (p *page) all(element string) []*html.Node {
	var found []*html.Node
	for n := range p.root.Descendants() {
		if n.Type == html.ElementNode && (element == "" || n.Data == element) {
			found = append(found, n)
		}
	}
	return found
}

// one returns the only element of a name.
func (p *page) one(element string) *html.Node {
	p.t.Helper()
	found := p.all(element)
	if len(found) != 1 {
		p.t.Fatalf("%d elements %s instead of one", len(found), element)
	}
	return found[0]
}

// input returns the input of a name, or nil.
func (p *page) input(name string) *html.Node {
	for _, n := range p.all("input") {
		if attr(n, "name") == name {
			return n
		}
	}
	return nil
}

// link returns the a element with the text, or nil.
func (p *page) link(label string) *html.Node {
	for _, n := range p.all("a") {
		if text(n) == label {
			return n
		}
	}
	return nil
}

// shape is the page's elements and the names of their attributes.
func (p *page) shape() string {
	var b strings.Builder
	for _, n := range p.all("") {
		b.WriteString(n.Data)
		for _, a := range n.Attr {
			b.WriteString(" " + a.Key)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func has(n *html.Node, key string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == key })
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return strings.Join(strings.FieldsFunc(b.String(), func(r rune) bool { return r == ' ' || r == '\n' }), " ")
}

var fullOptions = Options{
	Brand: "Exemple SAS", Logo: "https://cdn.example.com/logo.svg",
	SupportURL: "/help", PrivacyURL: "https://www.example.com/privacy", FallbackURL: "tel:+33639980001",
}

// eachPage calls f with every page, in every language and with every code, once with
// few fields set and once with all.
func eachPage(t *testing.T, f func(t *testing.T, p *Pages, name Name, data Data)) {
	t.Helper()
	plain, full := newPages(t, Options{}), newPages(t, fullOptions)
	for _, lang := range []string{"fr", "en"} {
		for _, code := range append([]string{""}, codes()...) {
			for _, name := range []Name{Form, Wait, Problem} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, lang, code), func(t *testing.T) {
					f(t, plain, name, Data{Lang: lang, Code: code, Nonce: "bm9uY2U", Base: "/base", Return: "/"})
					data := sample
					data.Lang, data.Code, data.Nonce = lang, code, "bm9uY2U"
					data.RetryAfter, data.ContinueURL = 90*time.Second, "/account"
					f(t, full, name, data)
					data.Known, data.Done = true, true
					f(t, full, name, data)
				})
			}
		}
	}
}

func TestEveryPageIsSound(t *testing.T) {
	eachPage(t, func(t *testing.T, pages *Pages, name Name, data Data) {
		p := render(t, pages, name, data)
		if len(p.body) > 12<<10 {
			t.Errorf("%d bytes are too many", len(p.body))
		}
		if strings.Contains(p.body, "ZgotmplZ") || strings.Contains(p.body, "%!") {
			t.Errorf("a value was not rendered: %s", p.body)
		}
		if got := attr(p.one("html"), "lang"); got != data.Lang {
			t.Errorf("lang is %q", got)
		}
		if got := attr(p.one("style"), "nonce"); got != data.Nonce {
			t.Errorf("the style's nonce is %q", got)
		}
		main := p.one("main")
		if has(main, "data-code") != (data.Code != "") || attr(main, "data-code") != data.Code {
			t.Errorf("data-code is %q", attr(main, "data-code"))
		}
		if text(p.one("h1")) == "" || text(p.one("title")) == "" {
			t.Error("no title")
		}
		metas := make(map[string]string)
		for _, n := range p.all("meta") {
			metas[attr(n, "name")] = attr(n, "content")
		}
		if metas["robots"] != "noindex" || !strings.HasPrefix(metas["viewport"], "width=device-width") {
			t.Errorf("metas are %v", metas)
		}
		verifyNothingActive(t, p)
		verifyReferences(t, p)
	})
}

// verifyNothingActive finds what the Content-Security-Policy would block.
func verifyNothingActive(t *testing.T, p *page) {
	t.Helper()
	for _, n := range p.all("") {
		if slices.Contains([]string{"script", "link", "iframe", "object", "embed", "base"}, n.Data) {
			t.Errorf("there is a %s", n.Data)
		}
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				t.Errorf("%s has %s", n.Data, a.Key)
			}
			if a.Key == "src" && a.Val != fullOptions.Logo {
				t.Errorf("%s loads %s", n.Data, a.Val)
			}
		}
	}
	if css := text(p.one("style")); strings.Contains(css, "url(") || strings.Contains(css, "@import") {
		t.Error("the style loads something")
	}
}

// verifyReferences finds ids that are doubled or lead nowhere.
func verifyReferences(t *testing.T, p *page) {
	t.Helper()
	ids := make(map[string]bool)
	for _, n := range p.all("") {
		if id := attr(n, "id"); id != "" && ids[id] {
			t.Errorf("id %s is doubled", id)
		} else if id != "" {
			ids[id] = true
		}
	}
	for _, n := range p.all("") {
		for _, id := range strings.Fields(attr(n, "for") + " " + attr(n, "aria-describedby")) {
			if !ids[id] {
				t.Errorf("%s names id %s, which is not there", n.Data, id)
			}
		}
	}
}

func TestBuiltinTemplatesPassTheirOwnTrial(t *testing.T) {
	for _, o := range []Options{{}, fullOptions} {
		p := newPages(t, o)
		for _, name := range []Name{Form, Wait, Problem} {
			if err := p.tryOut(name); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestFormPostsNumberAndReturnPath(t *testing.T) {
	p := render(t, newPages(t, Options{}), Form, Data{Lang: "fr", Base: "/.number-verify", Return: "/account?a=1&b=2"})
	form := p.one("form")
	if attr(form, "method") != "post" || attr(form, "action") != "/.number-verify/start" {
		t.Errorf("the form goes to %s %s", attr(form, "method"), attr(form, "action"))
	}
	if got := attr(p.input("return"), "value"); got != "/account?a=1&b=2" {
		t.Errorf("return is %q", got)
	}
	if attr(p.one("button"), "type") != "submit" {
		t.Error("the button does not submit")
	}
	number := p.input("number")
	for key, want := range map[string]string{
		"type": "tel", "autocomplete": "tel", "inputmode": "tel", "maxlength": "32", "value": "", "aria-describedby": "example",
	} {
		if got := attr(number, key); got != want {
			t.Errorf("%s is %q", key, got)
		}
	}
	if !has(number, "required") || has(number, "aria-invalid") {
		t.Error("the field is optional, or invalid at once")
	}
	if attr(p.one("label"), "for") != attr(number, "id") {
		t.Error("the field has no label")
	}
}

func TestFormTellsWhoAsksAndWhatHappens(t *testing.T) {
	for _, brand := range []string{"", "Exemple SAS"} {
		p := newPages(t, Options{Brand: brand, Recipient: "DQE", PrivacyURL: "/privacy"})
		for lang, wants := range map[string][]string{
			"en": {"This site wants", "No SMS", "mobile data", "Wi-Fi", "DQE", "operator", "This site keeps the result for 24\u00a0hours."},
			"fr": {"Ce site veut", "Aucun SMS", "données mobiles", "Wi-Fi", "DQE", "opérateur", "Ce site conserve le résultat pendant 24\u00a0heures."},
		} {
			for _, code := range []string{"", "number_invalid"} {
				page := render(t, p, Form, Data{Lang: lang, Code: code, SessionTTL: 24 * time.Hour})
				for _, want := range wants {
					if brand != "" {
						want = strings.NewReplacer("This site", brand, "Ce site", brand).Replace(want)
					}
					if !strings.Contains(text(page.one("main")), want) {
						t.Errorf("%s, brand %q, code %q: nothing says %q", lang, brand, code, want)
					}
				}
				if page.link(languages[lang].words.Privacy) == nil {
					t.Errorf("%s: no privacy link", lang)
				}
			}
		}
	}
}

func TestFormNamesWhoIsSentTheNumber(t *testing.T) {
	for recipient, wants := range map[string]map[string]string{
		"DQE":             {"en": "The number is sent to DQE, which runs the check", "fr": "Le numéro est transmis à DQE, qui effectue la vérification"},
		"Verify & <Sons>": {"en": "The number is sent to Verify & <Sons>, which", "fr": "Le numéro est transmis à Verify & <Sons>, qui"},
		"100 %s":          {"en": "sent to 100 %s, which", "fr": "transmis à 100 %s, qui"},
		"":                {"en": "sent to a verification service, which", "fr": "transmis à un service de vérification, qui"},
	} {
		p := newPages(t, Options{Recipient: recipient})
		for lang, want := range wants {
			for _, code := range []string{"", "number_mismatch"} {
				form := text(render(t, p, Form, Data{Lang: lang, Code: code}).one("main"))
				if !strings.Contains(form, want) || (recipient != "DQE" && strings.Contains(form, "DQE")) {
					t.Errorf("%s, recipient %q, code %q: %s", lang, recipient, code, form)
				}
			}
		}
	}
}

func TestKnownNumberIsShownMaskedWithoutField(t *testing.T) {
	p := render(t, newPages(t, Options{}), Form, Data{Lang: "en", Code: "number_mismatch", Known: true, Masked: "+33 6 •• •• •• 01"})
	if p.input("number") != nil {
		t.Error("there is a field")
	}
	if !strings.Contains(text(p.one("form")), "+33 6 •• •• •• 01") {
		t.Error("the number is not shown")
	}
	if p.input("return") == nil || len(p.all("button")) != 1 {
		t.Error("the form cannot be sent")
	}
}

func TestContinueComesBeforeTheForm(t *testing.T) {
	p := render(t, newPages(t, Options{}), Form, Data{Lang: "en", ContinueURL: "/account?a=1"})
	link := p.link("Continue")
	if link == nil || attr(link, "href") != "/account?a=1" {
		t.Fatal("there is no such link")
	}
	elements := p.all("")
	if slices.Index(elements, link) > slices.Index(elements, p.one("form")) {
		t.Error("it comes after the form")
	}
}

func TestFieldIsMarkedWhereTheNumberIsTheReason(t *testing.T) {
	pages := newPages(t, Options{})
	wrong := []string{"number_invalid", "number_mismatch", "number_unsupported"}
	for _, code := range append(codes(), "") {
		p := render(t, pages, Form, Data{Lang: "en", Code: code})
		number := p.input("number")
		marked := attr(number, "aria-invalid") == "true" && strings.Contains(attr(number, "aria-describedby"), "reason")
		if marked != slices.Contains(wrong, code) {
			t.Errorf("%s: marked is %v", code, marked)
		}
	}
}

func TestAlertOnlyWithARefusal(t *testing.T) {
	eachPage(t, func(t *testing.T, pages *Pages, name Name, data Data) {
		p := render(t, pages, name, data)
		want := name == Form && data.Code != ""
		if got := strings.Contains(p.body, `role="alert"`); got != want {
			t.Errorf("alert is %v", got)
		}
	})
}

func TestOnlyTheFormIsSentAndByOneButton(t *testing.T) {
	eachPage(t, func(t *testing.T, pages *Pages, name Name, data Data) {
		p := render(t, pages, name, data)
		if name != Form {
			if len(p.all("form"))+len(p.all("button"))+len(p.all("input")) != 0 {
				t.Error("there is something to send")
			}
			return
		}
		if form := p.one("form"); attr(form, "action") != data.Base+"/start" || attr(form, "method") != "post" {
			t.Errorf("the form goes to %s %s", attr(form, "method"), attr(form, "action"))
		}
		if attr(p.one("button"), "type") != "submit" {
			t.Error("the button does not submit")
		}
		if back := p.input("return"); attr(back, "type") != "hidden" || attr(back, "value") != data.Return {
			t.Errorf("return is a field %q with %q", attr(back, "type"), attr(back, "value"))
		}
	})
}

// phone finds what reads like a phone number with all its digits.
var phone = regexp.MustCompile(`(\+|\b0)[0-9](?:[ .\x{a0}-]?[0-9]){7,}`)

func TestNoPageShowsANumberButTheExample(t *testing.T) {
	eachPage(t, func(t *testing.T, pages *Pages, name Name, data Data) {
		p := render(t, pages, name, data)
		for _, found := range phone.FindAllString(text(p.root), -1) {
			if found != "06\u00a039\u00a098\u00a012\u00a034" || name != Form {
				t.Errorf("it shows %s", found)
			}
		}
		if field := p.input("number"); field != nil && (attr(field, "value") != "" || attr(field, "placeholder") != "") {
			t.Error("the field repeats a number")
		}
	})
}

func TestFormSpeaksOfWiFiOnceOnly(t *testing.T) {
	pages := newPages(t, Options{})
	for lang, in := range languages {
		for _, code := range append(codes(), "") {
			advised := strings.Contains(strings.Join(in.problems[code].Advice, " "), "Wi-Fi")
			main := text(render(t, pages, Form, Data{Lang: lang, Code: code}).one("main"))
			if strings.Contains(main, in.words.Before) == advised {
				t.Errorf("%s, %q: the advice speaks of Wi-Fi: %v, and so does the note", lang, code, advised)
			}
		}
	}
}

func TestRefusedFormSaysWhy(t *testing.T) {
	pages := newPages(t, Options{})
	for lang, in := range languages {
		for _, code := range codes() {
			want := in.problems[code]
			for _, name := range []Name{Form, Problem} {
				main := text(render(t, pages, name, Data{Lang: lang, Code: code, RetryAfter: time.Minute}).one("main"))
				for _, s := range append(want.Advice, want.Title, want.Reason, in.tryAgainIn(time.Minute)) {
					if !strings.Contains(main, s) {
						t.Errorf("%s %s %s does not say %q", name, lang, code, s)
					}
				}
			}
		}
	}
}

func TestUnknownCodeReadsNotAvailable(t *testing.T) {
	for code, title := range map[string]string{"new_code": "Not available now", "": "There is no page here"} {
		p := render(t, newPages(t, Options{}), Problem, Data{Lang: "en", Code: code})
		if text(p.one("h1")) != title || attr(p.one("main"), "data-code") != code {
			t.Errorf("%q reads %q", code, text(p.one("h1")))
		}
	}
}

func TestUnknownLanguageReadsEnglish(t *testing.T) {
	p := render(t, newPages(t, Options{}), Form, Data{Lang: "tlh"})
	if attr(p.one("html"), "lang") != "en" {
		t.Error("it does not")
	}
}

func TestWaitPageRenewsItself(t *testing.T) {
	const here = "/.number-verify/wait/abc"
	tests := []struct {
		name  string
		after time.Duration
		done  bool
		want  string
	}{
		{"whole seconds", 2 * time.Second, false, "2; url=" + here},
		{"rounded up", 1100 * time.Millisecond, false, "2; url=" + here},
		{"never a tight loop", 0, false, "1; url=" + here},
		{"nor from a negative time", -5 * time.Second, false, "1; url=" + here},
		{"at once when done", 0, true, "0; url=" + here},
	}
	pages := newPages(t, Options{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := render(t, pages, Wait, Data{
				Lang: "fr", Base: "/.number-verify", Return: "/account",
				RefreshURL: here, RefreshAfter: test.after, Done: test.done,
			})
			if got := refresh(p); got != test.want {
				t.Errorf("refresh is %q", got)
			}
			if !slices.ContainsFunc(p.all("a"), func(n *html.Node) bool { return attr(n, "href") == here }) {
				t.Error("no link for a browser that does not renew the page")
			}
			if again := p.link("Recommencer"); (again == nil) != test.done {
				t.Error("no way to start again, or one after success")
			}
			if !strings.Contains(p.body, `role="status"`) {
				t.Error("no status")
			}
		})
	}
}

// refresh is the content of the page's meta refresh.
func refresh(p *page) string {
	for _, n := range p.all("meta") {
		if attr(n, "http-equiv") == "refresh" {
			return attr(n, "content")
		}
	}
	return ""
}

func TestOtherPagesStay(t *testing.T) {
	pages := newPages(t, Options{})
	for _, name := range []Name{Form, Problem} {
		if got := refresh(render(t, pages, name, Data{Lang: "en", Code: "busy"})); got != "" {
			t.Errorf("%s goes to %s", name, got)
		}
	}
}

func TestProblemLeadsBackToTheForm(t *testing.T) {
	pages := newPages(t, Options{})
	for _, back := range []string{"/", "/account?a=1&b=2", "/a+b%20c?q=%26#", `/"><script>`, "/é"} {
		p := render(t, pages, Problem, Data{Lang: "en", Code: "attempt_expired", Base: "/.number-verify", Return: back})
		u, err := url.Parse(attr(p.link("Start again"), "href"))
		if err != nil {
			t.Fatal(err)
		}
		if u.Path != "/.number-verify/" || u.Query().Get("return") != back {
			t.Errorf("with %q it leads to %s", back, u)
		}
	}
}

func TestFallbackIsOfferedWhereThisNumberOrDeviceCannotBeVerified(t *testing.T) {
	offered := map[string]bool{
		"number_unsupported": true, "number_unknown": true, "number_mismatch": true, "access_denied": true,
		"operator_unavailable": true, "result_timeout": true, "attempt_expired": true, "cookies_required": true,
		"provider_unavailable": true, "provider_misconfigured": true,
	}
	with, without := newPages(t, Options{FallbackURL: "/other-way"}), newPages(t, Options{})
	for _, code := range append(codes(), "", "new_code") {
		for _, name := range []Name{Form, Problem} {
			link := render(t, with, name, Data{Lang: "en", Code: code}).link("Use another way")
			if (link != nil) != offered[code] {
				t.Errorf("%s, %q: offered is %v", name, code, link != nil)
			}
			if link != nil && attr(link, "href") != "/other-way" {
				t.Errorf("%s, %q: it leads to %s", name, code, attr(link, "href"))
			}
			if render(t, without, name, Data{Lang: "en", Code: code}).link("Use another way") != nil {
				t.Errorf("%s, %q: offered without one", name, code)
			}
		}
	}
}

// vectors try to break out of the place where a value is inserted.
var vectors = []string{
	`"><script>alert(1)</script>`, `'><img src=x onerror=alert(1)>`, `</title><script>alert(1)</script>`,
	`</style><script>alert(1)</script>`, `javascript:alert(1)`, `" autofocus onfocus="alert(1)`, "`-alert(1)-`",
	`{{.Nonce}}`, `&quot;&gt;&lt;script&gt;`, `0; url=https://evil.example`, "\x00<b>", "/\u2028</p><script>",
}

func TestVisitorsInputStaysText(t *testing.T) {
	data := sample
	data.Lang, data.Code, data.ContinueURL = "en", "number_invalid", "/continue"
	pages := newPages(t, fullOptions)
	for _, name := range []Name{Form, Wait, Problem} {
		want := render(t, pages, name, data).shape()
		for _, v := range vectors {
			hostile := data
			hostile.Return, hostile.Code, hostile.Masked = v, v, v
			hostile.ContinueURL, hostile.RefreshURL, hostile.Base = v, v, v
			for _, known := range []bool{false, true} {
				hostile.Known = known
				verifyTame(t, render(t, pages, name, hostile))
			}
			hostile = data
			hostile.Return, hostile.Masked, hostile.ContinueURL, hostile.RefreshURL = v, v, v, v
			p := render(t, pages, name, hostile)
			verifyTame(t, p)
			if got := p.shape(); got != want {
				t.Errorf("%s: %q changes the page to\n%s", name, v, got)
			}
			if name == Form && v[0] != 0 && attr(p.input("return"), "value") != v {
				t.Errorf("return is %q instead of %q", attr(p.input("return"), "value"), v)
			}
		}
	}
}

func TestHostileBrandStaysText(t *testing.T) {
	data := sample
	data.Lang = "en"
	want := render(t, newPages(t, Options{Brand: "Exemple SAS"}), Form, data).shape()
	for _, v := range vectors {
		p := render(t, newPages(t, Options{Brand: v}), Form, data)
		verifyTame(t, p)
		if got := p.shape(); got != want {
			t.Errorf("%q changes the page to\n%s", v, got)
		}
	}
}

// verifyTame finds what could run.
func verifyTame(t *testing.T, p *page) {
	t.Helper()
	verifyNothingActive(t, p)
	for _, n := range p.all("") {
		for _, a := range n.Attr {
			if (a.Key == "href" || a.Key == "action" || a.Key == "src") && strings.HasPrefix(a.Val, "javascript:") {
				t.Errorf("%s goes to %s", n.Data, a.Val)
			}
		}
	}
	if strings.Contains(refresh(p), "url=javascript:") {
		t.Errorf("the page goes to %s", refresh(p))
	}
}

func TestUnknownPageIsAnError(t *testing.T) {
	if page, err := newPages(t, Options{}).Render("other", Data{}); err == nil || page != nil {
		t.Errorf("Render = %q, %v", page, err)
	}
}

func TestRenderInParallel(t *testing.T) {
	p := newPages(t, fullOptions)
	want, err := p.Render(Form, sample)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if got, err := p.Render(Form, sample); err != nil || !bytes.Equal(got, want) {
				t.Errorf("another page, or %v", err)
			}
		})
	}
	group.Wait()
}

func FuzzRender(f *testing.F) {
	p, err := New(fullOptions)
	if err != nil {
		f.Fatal(err)
	}
	for _, v := range vectors {
		f.Add(v, v)
	}
	f.Fuzz(func(t *testing.T, back, masked string) {
		data := sample
		data.Return, data.ContinueURL, data.RefreshURL, data.Masked, data.Known = back, back, back, masked, true
		for _, name := range []Name{Form, Wait, Problem} {
			p := render(t, p, name, data)
			for _, n := range p.all("") {
				if n.Data == "script" || slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return strings.HasPrefix(a.Key, "on") }) {
					t.Errorf("%s leaves its place", back)
				}
			}
		}
	})
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		newPages(b, fullOptions)
	}
}

func BenchmarkRenderForm(b *testing.B) {
	p := newPages(b, fullOptions)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Render(Form, sample); err != nil {
			b.Fatal(err)
		}
	}
}
