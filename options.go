package numberverify

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/verifier"
)

// headersOff is the word for neither setting nor removing headers.
const headersOff = "off"

// Options are what the global option number_verify can set for all directives.
// Strings may hold placeholders such as {env.X}, which are resolved when the
// configuration loads.
type Options struct {
	// The provider that verifies numbers. Required.
	VerifierRaw json.RawMessage `json:"verifier,omitempty" caddy:"namespace=http.number_verify.verifiers inline_key=provider"`

	// Where attempts and sessions are kept: `memory`, `bolt` for a file that
	// outlives a restart, or `redis` to share them among several Caddy nodes.
	// Default: memory.
	CacheRaw json.RawMessage `json:"cache,omitempty" caddy:"namespace=http.number_verify.caches inline_key=store"`

	// The addresses of the site as visitors see it, scheme://host[:port], the
	// main one first. The one that a visitor uses decides where the operator
	// sends him back to; a visitor on any other host is sent to the first. The
	// scheme decides on the cookies' prefixes and their Secure attribute.
	// Required unless the site's host is loopback.
	PublicURL []string `json:"public_url,omitempty"`

	// Where the gate's own pages are. Default: `/.number-verify`.
	Path string `json:"path,omitempty"`

	// The country (ISO 3166-1, two letters) as one of whose a national number
	// is read. Default: `FR`.
	Region string `json:"region,omitempty"`

	// The countries (ISO 3166-1) whose mobile numbers are accepted. Default:
	// France with its overseas territories that share its operators: `FR`,
	// `GP`, `GF`, `MQ`, `RE`, `YT`, `BL`, `MF`, `PM`. Any other needs a provider
	// that is sent numbers with their calling code: with dqe a `number_format`
	// other than `national`.
	Countries []string `json:"countries,omitempty"`

	// The prefix of the headers that verified requests carry upstream, and
	// under which nothing from clients gets through; or `off` to neither set
	// nor remove any. Default: `X-Verified-`.
	Headers string `json:"headers,omitempty"`

	// How long a verification holds. Default: 24h.
	SessionTTL caddy.Duration `json:"session_ttl,omitempty"`

	// How long a verification holds without a request. Default: no limit.
	SessionIdle caddy.Duration `json:"session_idle,omitempty"`

	// How long a visitor has to come back from the operator; never longer
	// than the provider's token lives. Default: 3m.
	AttemptTTL caddy.Duration `json:"attempt_ttl,omitempty"`

	// How long a refusal is remembered, to explain it. Default: 1m.
	RefusedTTL caddy.Duration `json:"refused_ttl,omitempty"`

	// How long after the visitor's return a result that is still pending is
	// asked for. Default: 30s.
	ResultWait caddy.Duration `json:"result_wait,omitempty"`

	// The base name of the gate's cookies. Default: `number-verify`.
	CookieName string `json:"cookie_name,omitempty"`

	// The domain for which a session holds, to share it among hosts. Default:
	// the visitor's host only.
	CookieDomain string `json:"cookie_domain,omitempty"`

	// How often verifications may be started. Default: see there.
	Limits *Limits `json:"limits,omitempty"`

	// A directory with templates of your own: form.html, wait.html,
	// problem.html and base.html each replace the built-in one. They are read
	// and checked when the configuration loads.
	Pages string `json:"pages,omitempty"`

	// The name of the site as the pages show it.
	Brand string `json:"brand,omitempty"`

	// The logo on the pages: a local image file, which is inlined, or an https
	// URL.
	Logo string `json:"logo,omitempty"`

	// Where visitors find help.
	SupportURL string `json:"support_url,omitempty"`

	// Where visitors read what happens to their data.
	PrivacyURL string `json:"privacy_url,omitempty"`

	// What is offered where this number, operator or device cannot be
	// verified.
	FallbackURL string `json:"fallback_url,omitempty"`
}

var defaultCountries = []string{"FR", "GP", "GF", "MQ", "RE", "YT", "BL", "MF", "PM"}

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	o.Path = strings.TrimSuffix(orDefault(o.Path, "/.number-verify"), "/")
	o.Region = orDefault(o.Region, "FR")
	o.Headers = orDefault(o.Headers, "X-Verified-")
	o.SessionTTL = orDefault(o.SessionTTL, caddy.Duration(24*time.Hour))
	o.AttemptTTL = orDefault(o.AttemptTTL, caddy.Duration(3*time.Minute))
	o.RefusedTTL = orDefault(o.RefusedTTL, caddy.Duration(time.Minute))
	o.ResultWait = orDefault(o.ResultWait, caddy.Duration(30*time.Second))
	o.CookieName = orDefault(o.CookieName, "number-verify")
	if len(o.Countries) == 0 {
		o.Countries = defaultCountries
	}
	o.Limits = o.Limits.withDefaults()
	if o.CacheRaw == nil {
		o.CacheRaw = json.RawMessage(`{"store":"memory"}`)
	}
	return o
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// resolve returns the options as they hold: placeholders resolved, checked, and
// with their defaults.
func (h *Handler) resolve() (Options, error) {
	if h.VerifierRaw == nil {
		return Options{}, errNoVerifier
	}
	if wrong := h.check(false); wrong != nil {
		return Options{}, wrong
	}
	o := h.Options
	repl := caddy.NewReplacer()
	for _, s := range o.strings() {
		resolved, err := repl.ReplaceOrErr(*s.value, true, true)
		if err != nil {
			return Options{}, fmt.Errorf("%s: %w", s.name, err)
		}
		*s.value = resolved
	}
	for _, list := range []struct {
		name   string
		values *[]string
	}{{"public_url", &o.PublicURL}, {"countries", &o.Countries}} {
		resolved := make([]string, len(*list.values))
		for i, s := range *list.values {
			var err error
			if resolved[i], err = repl.ReplaceOrErr(s, true, true); err != nil {
				return Options{}, fmt.Errorf("%s: %w", list.name, err)
			}
		}
		*list.values = resolved
	}
	checked := *h
	checked.Options = o
	if wrong := checked.check(true); wrong != nil {
		wrong.value = "" // a placeholder yields it: it may be a secret
		return Options{}, wrong
	}
	return o.withDefaults(), nil
}

type namedString struct {
	name  string
	value *string
}

// strings are the options that hold one string and are set.
func (o *Options) strings() []namedString {
	all := []namedString{
		{"path", &o.Path},
		{"region", &o.Region},
		{"headers", &o.Headers},
		{"cookie_name", &o.CookieName},
		{"cookie_domain", &o.CookieDomain},
		{"pages", &o.Pages},
		{"brand", &o.Brand},
		{"brand", &o.Logo},
		{"support_url", &o.SupportURL},
		{"privacy_url", &o.PrivacyURL},
		{"fallback_url", &o.FallbackURL},
	}
	return slices.DeleteFunc(all, func(s namedString) bool { return *s.value == "" })
}

// optionError is a mistake in one option: its value, where there is one to tell,
// and what is wrong with it.
type optionError struct{ option, value, text string }

func (e *optionError) Error() string {
	// what stands before an @ may be a password
	if e.value == "" || strings.Contains(e.value, "@") {
		return e.option + ": " + e.text
	}
	return fmt.Sprintf("%s: %q %s", e.option, e.value, e.text)
}

var errNoVerifier = &optionError{"verifier", "", "is required: add a block 'verifier dqe { ... }'"}

// check finds the first mistake. What holds a placeholder cannot be checked
// before it is resolved, and passes until then. It serves the Caddyfile, which
// knows the option's line, and the loading of JSON alike.
func (h *Handler) check(resolved bool) *optionError {
	known := func(s string) bool { return resolved || !hasPlaceholder(s) }
	for _, s := range h.PublicURL {
		if !known(s) {
			continue
		}
		if _, err := address.ParseOrigin(s); err != nil {
			return &optionError{"public_url", s, err.Error() + "; write it like https://www.example.com"}
		}
	}
	for _, s := range h.strings() {
		if !known(*s.value) {
			continue
		}
		if text := checkString(s.name, *s.value); text != "" {
			return &optionError{s.name, *s.value, text}
		}
	}
	for _, country := range h.Countries {
		if known(country) && !validCountry(country) {
			return &optionError{"countries", country, noCountry}
		}
	}
	if wrong := h.checkTakenFor(known); wrong != nil {
		return wrong
	}
	if known(h.CookieDomain) && !h.domainCovers(known) {
		return &optionError{"cookie_domain", h.CookieDomain, "does not cover the public_url; write the domain in which all of them end"}
	}
	for _, d := range []struct {
		name  string
		value caddy.Duration
	}{
		{"max_age", h.MaxAge},
		{"session_ttl", h.SessionTTL},
		{"session_idle", h.SessionIdle},
		{"attempt_ttl", h.AttemptTTL},
		{"refused_ttl", h.RefusedTTL},
		{"result_wait", h.ResultWait},
	} {
		if d.value < 0 {
			return &optionError{d.name, "", "must be longer than 0; write it like 90s, 30m or 24h"}
		}
	}
	if wrong := h.Limits.check(); wrong != nil {
		return wrong
	}
	if h.Number != "" && !hasPlaceholder(h.Number) {
		return &optionError{"number", "", "must be a placeholder that an earlier handler sets, like {http.auth.user.phone}"}
	}
	return nil
}

// checkTakenFor refuses a country whose every number is taken for another's that
// is not accepted: its visitors would all be refused.
func (h *Handler) checkTakenFor(known func(string) bool) *optionError {
	if slices.ContainsFunc(h.Countries, func(s string) bool { return !known(s) }) {
		return nil
	}
	for _, country := range h.Countries {
		if as, ok := phone.TakenFor[country]; ok && !slices.Contains(h.Countries, as) {
			return &optionError{"countries", country, "has no numbers that can be told from those of " + as + "; add " + as + ", or write it instead"}
		}
	}
	return nil
}

// checkCountries asks the verifier, which is not provisioned yet, whether it can
// verify numbers of the countries that are known already. A verifier that cannot
// be read is left to loading.
func (h *Handler) checkCountries() error {
	checker, ok := configured(h.VerifierRaw, "verifiers").(verifier.CountryChecker)
	if !ok {
		return nil
	}
	return checker.CheckCountries(slices.DeleteFunc(slices.Clone(h.withDefaults().Countries), hasPlaceholder))
}

// domainCovers tells whether visitors of all known origins would keep a session.
func (h *Handler) domainCovers(known func(string) bool) bool {
	domain := strings.ToLower(h.CookieDomain)
	if domain == "" {
		return true
	}
	for _, s := range h.PublicURL {
		u, err := url.Parse(s)
		if err != nil || !known(s) {
			continue
		}
		if host := strings.ToLower(u.Hostname()); host != domain && !strings.HasSuffix(host, "."+domain) {
			return false
		}
	}
	return true
}

func hasPlaceholder(s string) bool {
	_, rest, open := strings.Cut(s, "{")
	return open && strings.Contains(rest, "}")
}

const noCountry = "is no country; write two upper-case letters of ISO 3166-1, like FR"

func validCountry(s string) bool { return len(s) == 2 && phone.ValidRegion(s) }

// checkString returns what is wrong with an option's value and what to write
// instead, or "".
func checkString(name, value string) string {
	switch name {
	case "path":
		return checkPath(value)
	case "region":
		if !validCountry(value) {
			return noCountry
		}
	case "headers":
		if value != headersOff && (!httpguts.ValidHeaderFieldName(value) || !strings.HasSuffix(value, "-")) {
			return "is no prefix for header names; write it like X-Verified-, or off"
		}
	case "cookie_name":
		if !httpguts.ValidHeaderFieldName(value) || strings.HasPrefix(value, "__") || strings.HasSuffix(value, "-browser") {
			return "is no name for a cookie; write letters, digits and dashes; the gate adds __Host- itself, and -browser"
		}
	case "cookie_domain":
		if !validDomain(value) {
			return "is no domain for cookies; write it like example.com"
		}
	case "support_url", "privacy_url", "fallback_url":
		if !address.IsLink(value) {
			return "is no link; write an https:// address, mailto:, tel: or a path of the site"
		}
	}
	return ""
}

func checkPath(p string) string {
	trimmed := strings.TrimSuffix(p, "/")
	switch {
	case !strings.HasPrefix(p, "/"):
		return "must begin with a slash; write it like /.number-verify"
	case trimmed == "":
		return "must not be the whole site; write it like /.number-verify"
	case path.Clean(p) != trimmed || strings.ContainsAny(p, `?#%\*;"' {}`) || strings.ContainsFunc(p, isControl):
		return "is no plain path; write it like /.number-verify"
	default:
		return ""
	}
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f }

// validDomain admits a domain that net/http does not silently drop from a
// cookie, which would then hold for one host only.
func validDomain(s string) bool {
	cookie := http.Cookie{Name: "number-verify", Domain: s}
	return cookie.Valid() == nil && strings.Contains(s, ".") && strings.Trim(s, ".") == s
}
