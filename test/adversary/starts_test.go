package adversary

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// press is a request that would start a verification, which costs money and
// troubles a person, without a person who asked for it.
type press struct {
	vector
	method, path string
	fields       []string
	body         string
	// code is what it is refused with; "" where it is no refusal of the gate.
	code string
}

// The kinds of mistakes that presses imitate.
const (
	crossSite   = "cross-site request forgery"
	loginless   = "login CSRF: a flow that is not bound to the browser that began it"
	preview     = "link previews, prefetching and prerendering that press buttons"
	otherVerb   = "a method that is checked less than another"
	polluted    = "parameter pollution: one parser takes the first value, another the last"
	tollFraud   = "toll fraud: numbers that cost, or that nobody can verify"
	disguised   = "one number in a spelling that nobody counts, or two in one"
	contentType = "a body of another type than the parser expects"
)

const (
	startPath  = "/.number-verify/start"
	startBody  = "number=0639980001&return=%2Faccount%2F"
	sameOrigin = "Sec-Fetch-Site: same-origin"
	formType   = "Content-Type: application/x-www-form-urlencoded"
	jsonType   = "Content-Type: application/json"
	noCookie   = "no cookie" // in place of the browser's
)

// posted is a press by the form's own method.
func posted(body, code string, fields ...string) press {
	return press{method: http.MethodPost, path: startPath, body: body, code: code, fields: fields}
}

func (p press) named(name, like string) press {
	p.vector = vector{name, like}
	return p
}

func presses() []press {
	all := []press{
		posted(startBody, "cross_origin", formType, "Sec-Fetch-Site: cross-site").named("another site", crossSite),
		posted(startBody, "cross_origin", formType, "Sec-Fetch-Site: same-site").named("a sibling host", crossSite),
		posted(startBody, "cross_origin", formType, "Sec-Fetch-Site: evil").named("a word that nobody knows", crossSite),
		posted(startBody, "cross_origin", formType, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin").named("two words, the right one last", crossSite),
		posted(startBody, "cross_origin", formType, "Origin: https://evil.example").named("another origin", crossSite),
		posted(startBody, "cross_origin", formType, "Origin: null").named("a sandboxed frame", crossSite),
		posted(startBody, "cross_origin", formType, "Origin: http://SITE.evil.example").named("an origin that begins like the site", crossSite),
		posted(startBody, "cross_origin", formType, "Origin: http://evil.example/http://SITE").named("an origin that ends like the site", crossSite),
		posted(startBody, "cross_origin", formType, "Origin: http://SITE@evil.example").named("the site as a name in the origin", crossSite),
		posted(startBody, "cross_origin", formType, "Origin: http://127.0.0.1:1").named("another port", crossSite),
		posted(startBody, "cross_origin", formType, "Origin: file://").named("a file", crossSite),
		posted(startBody, "cross_origin", formType, "Origin: evil").named("an origin that is none", crossSite),
		posted(startBody, "cross_origin", formType, "Origin: https://evil.example", "Referer: http://SITE/").named("another origin and the right referer", crossSite),
		posted(startBody, "cross_origin", formType, "Origin: https://evil.example", "X-Requested-With: XMLHttpRequest").named("a script of another origin", crossSite),
		posted(startBody, "cookies_required", formType, sameOrigin, noCookie).named("no cookie", loginless),
		posted(startBody, "cookies_required", formType, sameOrigin, "Cookie: number-verify-browser=x").named("two browser cookies", loginless),
		posted(startBody, "cookies_required", formType, sameOrigin, "Cookie: number-verify=x; number-verify=y").named("two session cookies", loginless),
		posted(startBody, "cookies_required", formType, sameOrigin, noCookie, "Cookie: number-verify-browser=short").named("a browser cookie that is made up", loginless),
		posted(startBody, "cookies_required", formType, sameOrigin, noCookie, "Cookie: __Host-number-verify-browser="+strings.Repeat("A", 43)).named("the browser cookie of the other origin", loginless),

		posted("return=%2F", "number_invalid", formType, sameOrigin).named("no number", polluted),
		posted(startBody+"&number=0639980002", "number_invalid", formType, sameOrigin).named("two numbers", polluted),
		posted(startBody+"&number=0639980001", "number_invalid", formType, sameOrigin).named("one number twice", polluted),
		posted("number[]=0639980001", "number_invalid", formType, sameOrigin).named("a list", polluted),
		posted("number.=0639980001", "number_invalid", formType, sameOrigin).named("a name with a dot", polluted),
		posted("NUMBER=0639980001", "number_invalid", formType, sameOrigin).named("a name in upper case", polluted),
		posted("return=%2F;number=0639980001", "", formType, sameOrigin).named("a semicolon", polluted),
		posted("number=0639980001%00", "number_invalid", formType, sameOrigin).named("a NUL behind", polluted),
		posted("number=0639980001%260639980002", "number_invalid", formType, sameOrigin).named("an encoded ampersand", polluted),
		posted(`{"number":["0639980001"]}`, "", jsonType, sameOrigin).named("a list in JSON", polluted),
		posted(`{"number":639980001}`, "", jsonType, sameOrigin).named("a number that is a number in JSON", polluted),
		posted(`{"number":{"number":"0639980001"}}`, "", jsonType, sameOrigin).named("an object in JSON", polluted),
		posted(`[{"number":"0639980001"}]`, "", jsonType, sameOrigin).named("JSON in a list", polluted),
		posted(`{"number":"0639980001"}{"number":"0639980002"}`, "", jsonType, sameOrigin).named("two values in JSON", polluted),
		posted(`{"number":null}`, "number_invalid", jsonType, sameOrigin).named("null in JSON", polluted),

		posted(startBody, "", "Content-Type: text/plain", sameOrigin).named("plain text", contentType),
		posted(`{"number":"0639980001"}`, "", "Content-Type: text/plain", sameOrigin).named("JSON as plain text", contentType),
		posted(startBody, "", sameOrigin).named("no type", contentType),
		posted(startBody, "", "Content-Type: application/xml", sameOrigin).named("XML", contentType),
		posted(`{"number":`, "", jsonType, sameOrigin).named("broken JSON", contentType),
		posted(startBody, "", jsonType, sameOrigin).named("a form as JSON", contentType),
		posted(`{"number":"0639980001"}`, "number_invalid", formType, sameOrigin).named("JSON as a form", contentType),
		posted("--b\r\nContent-Disposition: form-data; name=\"number\"\r\n\r\n0639980001\r\n--b--\r\n", "cross_origin", "Content-Type: multipart/form-data; boundary=b", "Origin: https://evil.example").named("a form in parts", contentType),
	}
	return append(append(append(all, verbs()...), previews()...), numbers()...)
}

// verbs are other methods than the form's.
func verbs() []press {
	var all []press
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post", "POSTX"} {
		all = append(all, press{method: method, path: startPath + "?" + startBody, fields: []string{sameOrigin, formType}, body: startBody}.named("method "+method, otherVerb))
	}
	override := []string{"X-HTTP-Method-Override: POST", "X-HTTP-Method: POST", "X-Method-Override: POST"}
	return append(all,
		press{method: "GET", path: startPath + "?_method=POST&" + startBody, fields: append(override, sameOrigin)}.named("another method by header", otherVerb),
		press{method: "POST", path: startPath + "?" + startBody, fields: []string{formType, sameOrigin}, code: "number_invalid"}.named("everything in the query", otherVerb),
		press{method: "POST", path: "/.number-verify/", fields: []string{formType, sameOrigin}, body: startBody}.named("a post to the form", otherVerb),
		press{method: "POST", path: "/.number-verify/start/", fields: []string{formType, sameOrigin}, body: startBody}.named("a slash behind", otherVerb),
		press{method: "POST", path: "/.number-verify//start", fields: []string{formType, sameOrigin}, body: startBody}.named("two slashes", otherVerb),
		press{method: "GET", path: "/.number-verify/?number=0639980001&submit=1", fields: []string{sameOrigin}}.named("the form, filled in by its address", otherVerb),
	)
}

// previews are what opens links without being asked.
func previews() []press {
	var all []press
	for name, fields := range map[string][]string{
		"a prefetch":                     {"Sec-Purpose: prefetch", "Purpose: prefetch"},
		"a prerendering":                 {"Sec-Purpose: prefetch;prerender", "Purpose: prefetch"},
		"an anonymous prefetch":          {"Sec-Purpose: prefetch;anonymous-client-ip"},
		"a prefetch of old":              {"X-Moz: prefetch", "X-Purpose: preview"},
		"the preview of a messenger":     {"User-Agent: WhatsApp/2.24"},
		"the preview of a social site":   {"User-Agent: facebookexternalhit/1.1"},
		"the preview of a chat":          {"User-Agent: Slackbot-LinkExpanding 1.0"},
		"the check of a mail's links":    {"User-Agent: Mozilla/5.0 (compatible; SafeLinks)"},
		"the preview of another network": {"User-Agent: Twitterbot/1.0"},
		"a crawler":                      {"User-Agent: Googlebot/2.1", "From: googlebot(at)example.com"},
		"a service worker":               {"Service-Worker: script", "Sec-Fetch-Dest: serviceworker", "Service-Worker-Navigation-Preload: true"},
	} {
		for _, path := range []string{"/account/", "/.number-verify/?return=/account/", startPath + "?" + startBody} {
			all = append(all, press{method: "GET", path: path, fields: append(fields, "Accept: text/html")}.named(name+" of "+strings.TrimSuffix(path, "?"+startBody), preview))
		}
	}
	return all
}

// numbers are those that must not be sent on, and one that is hidden.
func numbers() []press {
	var all []press
	for number, c := range map[string]struct{ name, like, code string }{
		"01 99 00 00 01":          {"a landline", tollFraud, "number_unsupported"},
		"08 99 00 00 01":          {"a premium rate", tollFraud, "number_unsupported"},
		"08 00 00 00 01":          {"a freephone", tollFraud, "number_unsupported"},
		"+881 6 12 34 56 78":      {"a satellite phone", tollFraud, "number_unsupported"},
		"+44 7700 900001":         {"another country", tollFraud, "number_unsupported"},
		"+1 202 555 0101":         {"another continent", tollFraud, "number_unsupported"},
		"+883 5100 0000 0001":     {"an international network", tollFraud, "number_unsupported"},
		"112":                     {"an emergency", tollFraud, "number_invalid"},
		"3636":                    {"a short number", tollFraud, "number_invalid"},
		"*21*0639980001#":         {"a code that diverts calls", tollFraud, "number_invalid"},
		"0639980001,,1":           {"digits that are dialled later", tollFraud, "number_invalid"},
		"0639980001;ext=1":        {"an extension", disguised, "number_invalid"},
		"0639980001 0639980002":   {"two numbers in one", disguised, "number_invalid"},
		"tel:0639980001":          {"an address", disguised, "number_invalid"},
		"06FREESITE":              {"letters", disguised, "number_invalid"},
		"٠٦٣٩٩٨٠٠٠١":              {"the digits of another script", disguised, "number_invalid"},
		"０６３９９８０００１":              {"digits of full width", disguised, "number_invalid"},
		"06399800011":             {"a digit too many", disguised, "number_invalid"},
		"++33639980001":           {"two plus signs", disguised, "number_invalid"},
		"0639980001' OR '1'='1":   {"a query", disguised, "number_invalid"},
		"0639980001&licence=evil": {"a parameter for the provider", disguised, "number_invalid"},
	} {
		all = append(all, posted(url.Values{"number": {number}}.Encode(), c.code, formType, sameOrigin).named(c.name, c.like))
	}
	return all
}

func TestStartsThatNoPersonMade(t *testing.T) {
	s := newSite(t, account)
	attack(t, "Starts that no person made", presses(), func(t *testing.T, p press) {
		v := s.VisitorAt(t, s.Origin(stage.HTTP11))
		v.Open("/.number-verify/")
		before := s.Provider.Calls()
		r := stage.Request{Method: p.method, Path: s.Fill(p.path), Body: p.body}
		hasCookie := true
		for _, f := range p.fields {
			if f == noCookie {
				hasCookie = false
				continue
			}
			r = r.With(s.Fill(f))
		}
		if hasCookie {
			r = r.With(v.CookieField())
		}
		a := stage.HTTP11.Send(s.Stage, r)
		if calls := s.Provider.Calls(); calls != before {
			t.Errorf("the provider was called: %+v, before %+v", calls, before)
		}
		if p.code != "" && a.Code() != p.code {
			t.Errorf("answers %d %q, not %q", a.StatusCode, a.Code(), p.code)
		}
		if a.StatusCode >= 500 || p.method == http.MethodPost && p.path == startPath && a.StatusCode < 400 {
			t.Errorf("answers %d", a.StatusCode)
		}
		s.unverified(t)
	})
	// the same by a person
	if a := begin(s.VisitorAt(t, s.Origin(stage.HTTP11)), stage.TypedNumber, "/account/"); a.StatusCode != http.StatusSeeOther || s.Provider.Calls().Start != 1 {
		t.Errorf("an honest start answers %d", a.StatusCode)
	}
}
