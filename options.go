package numberverify

import (
	"cmp"
	"encoding/json"
	"errors"
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
	"github.com/numberverify/caddy-number-verify/internal/option"
	"github.com/numberverify/caddy-number-verify/internal/phone"
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
	// main one first. The operator sends visitors back to the one that they use;
	// visitors on any other host are redirected to the first. With https the
	// cookies are Secure, and their names have a prefix that browsers enforce.
	// Required unless the site's host is loopback.
	PublicURL []string `json:"public_url,omitempty"`

	// Where the gate's own pages are. Default: `/.number-verify`.
	Path string `json:"path,omitempty"`

	// The country (ISO 3166-1, two letters) of numbers that are typed without a
	// calling code: with `FR`, 06 39 98 00 01 is +33 6 39 98 00 01. Default: `FR`.
	Region string `json:"region,omitempty"`

	// The countries (ISO 3166-1) whose mobile numbers are accepted. Default:
	// France with its overseas territories that share its operators: `FR`,
	// `GP`, `GF`, `MQ`, `RE`, `YT`, `BL`, `MF`, `PM`. Numbers of any other
	// country must be sent with their calling code: the verifier dqe then needs
	// a `number_format` other than `national`.
	Countries []string `json:"countries,omitempty"`

	// The prefix of the headers that tell the upstream who is verified. What
	// clients send under it is removed from all requests. `off` neither sets
	// nor removes headers. Default: `X-Verified-`.
	Headers string `json:"headers,omitempty"`

	// How long a verification holds. Default: 24h.
	SessionTTL caddy.Duration `json:"session_ttl,omitempty"`

	// How long a verification holds without a request. Default: no limit.
	SessionIdle caddy.Duration `json:"session_idle,omitempty"`

	// How long a visitor has to come back from the operator; never longer
	// than the provider's token lives. Default: 3m.
	AttemptTTL caddy.Duration `json:"attempt_ttl,omitempty"`

	// How long a refusal is remembered, so that the form can explain it.
	// Default: 1m.
	RefusedTTL caddy.Duration `json:"refused_ttl,omitempty"`

	// How long after the visitor's return a pending result is asked for. Default:
	// 30s.
	ResultWait caddy.Duration `json:"result_wait,omitempty"`

	// The base name of the gate's cookies. Default: `number-verify`.
	CookieName string `json:"cookie_name,omitempty"`

	// The domain whose hosts share a session, such as `example.com`. Default:
	// a session holds on the visitor's host only.
	CookieDomain string `json:"cookie_domain,omitempty"`

	// How often verifications may be started. Each limit has its own default.
	Limits *Limits `json:"limits,omitempty"`

	// A directory with templates of your own: `form.html`, `wait.html`,
	// `problem.html` and `base.html` each replace the built-in one. They are
	// read and checked when the configuration loads.
	Pages string `json:"pages,omitempty"`

	// The name of the site as the pages show it.
	Brand string `json:"brand,omitempty"`

	// The logo on the pages: a local image file, which becomes part of each
	// page, or an https URL.
	Logo string `json:"logo,omitempty"`

	// Where visitors find help.
	SupportURL string `json:"support_url,omitempty"`

	// Where visitors read what happens to their data.
	PrivacyURL string `json:"privacy_url,omitempty"`

	// What is offered where this number, operator or device cannot be
	// verified.
	FallbackURL string `json:"fallback_url,omitempty"`
}

// list returns the options: how each is written in a Caddyfile, the field that holds it,
// and the check of its value.
func (o *Options) list() []option.Option {
	return []option.Option{
		verifiers.option(&o.VerifierRaw),
		caches.option(&o.CacheRaw),
		option.Words("public_url", &o.PublicURL).Checked(checkOrigin),
		option.Word("path", &o.Path).Checked(checkPath),
		option.Word("region", &o.Region).Checked(checkCountry),
		option.Words("countries", &o.Countries).Checked(checkCountry),
		option.Word("headers", &o.Headers).Checked(checkHeaders),
		option.Duration("session_ttl", &o.SessionTTL),
		option.DurationOrOff("session_idle", &o.SessionIdle),
		option.Duration("attempt_ttl", &o.AttemptTTL),
		option.Duration("refused_ttl", &o.RefusedTTL),
		option.Duration("result_wait", &o.ResultWait),
		option.Word("cookie_name", &o.CookieName).Checked(checkCookieName),
		option.Word("cookie_domain", &o.CookieDomain).Checked(checkCookieDomain),
		option.Custom("limits", func(l *option.Line) error { return readLimits(l, &o.Limits) }),
		option.Word("pages", &o.Pages),
		option.Custom("brand", o.readBrand, &o.Brand, &o.Logo),
		option.Word("support_url", &o.SupportURL).Checked(checkLink),
		option.Word("privacy_url", &o.PrivacyURL).Checked(checkLink),
		option.Word("fallback_url", &o.FallbackURL).Checked(checkLink),
	}
}

// routeOptions returns the options of one route, which only a directive can set.
func (h *Handler) routeOptions() []option.Option {
	return []option.Option{
		option.Word("number", &h.Number).Unresolved(), // evaluated for each request
		option.Duration("max_age", &h.MaxAge),
		option.Flag("optional", &h.Optional),
		option.Flag("pass_errors", &h.PassErrors),
	}
}

// options returns the options of a directive.
func (h *Handler) options() option.Set {
	return option.Set{Options: append(h.Options.list(), h.routeOptions()...)}
}

func (o *Options) readBrand(l *option.Line) error {
	args, err := l.Args()
	if err != nil {
		return err
	}
	if len(args) < 1 || len(args) > 2 || args[0] == "" {
		return l.Errf(`takes a name and perhaps a logo: brand "Example SAS" /etc/caddy/logo.svg`)
	}
	o.Brand, o.Logo = args[0], ""
	if len(args) == 2 {
		o.Logo = args[1]
	}
	return nil
}

var (
	defaultCache     = json.RawMessage(`{"store":"memory"}`)
	defaultCountries = []string{"FR", "GP", "GF", "MQ", "RE", "YT", "BL", "MF", "PM"}
)

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	o.Path = strings.TrimSuffix(cmp.Or(o.Path, "/.number-verify"), "/")
	o.Region = cmp.Or(o.Region, "FR")
	o.Headers = cmp.Or(o.Headers, "X-Verified-")
	o.SessionTTL = cmp.Or(o.SessionTTL, caddy.Duration(24*time.Hour))
	o.AttemptTTL = cmp.Or(o.AttemptTTL, caddy.Duration(3*time.Minute))
	o.RefusedTTL = cmp.Or(o.RefusedTTL, caddy.Duration(time.Minute))
	o.ResultWait = cmp.Or(o.ResultWait, caddy.Duration(30*time.Second))
	o.CookieName = cmp.Or(o.CookieName, "number-verify")
	if len(o.Countries) == 0 {
		o.Countries = defaultCountries
	}
	o.Limits = o.Limits.withDefaults()
	if o.CacheRaw == nil {
		o.CacheRaw = defaultCache
	}
	return o
}

// resolve returns the options that apply: checked, with placeholders resolved and
// defaults filled in.
func (h *Handler) resolve() (Options, error) {
	if h.VerifierRaw == nil {
		return Options{}, errNoVerifier
	}
	if wrong := h.check(false); wrong != nil {
		return Options{}, wrong
	}
	resolved := *h
	if err := resolved.options().Resolve(); err != nil {
		return Options{}, err
	}
	if wrong := resolved.check(true); wrong != nil {
		wrong.Value = "" // it comes from a placeholder, so it may be a secret
		return Options{}, wrong
	}
	return resolved.withDefaults(), nil
}

var errNoVerifier = &option.Mistake{Option: "verifier", Text: "is required: add a block 'verifier dqe { ... }'"}

// check returns the first mistake, or nil. A value with a placeholder passes until it is
// resolved. Both the Caddyfile, which knows the option's line, and the loading of JSON
// use it.
func (h *Handler) check(resolved bool) *option.Mistake {
	if wrong := h.options().Check(resolved); wrong != nil {
		return wrong
	}
	known := option.Known(resolved)
	if wrong := h.checkTakenFor(known); wrong != nil {
		return wrong
	}
	if known(h.CookieDomain) && !h.domainCovers(known) {
		return &option.Mistake{Option: "cookie_domain", Value: h.CookieDomain, Text: "does not cover the public_url; write the domain in which all of them end"}
	}
	if h.Number != "" && !option.HasPlaceholder(h.Number) { // the error does not repeat what may be somebody's number
		return &option.Mistake{Option: "number", Text: "must be a placeholder that an earlier handler sets, like {http.auth.user.phone}"}
	}
	return h.Limits.check()
}

// checkTakenFor refuses a country if all its numbers are taken for those of another
// country that is not accepted: its visitors would all be refused.
func (h *Handler) checkTakenFor(known func(string) bool) *option.Mistake {
	if slices.ContainsFunc(h.Countries, func(s string) bool { return !known(s) }) {
		return nil
	}
	for _, country := range h.Countries {
		if as, ok := phone.TakenFor[country]; ok && !slices.Contains(h.Countries, as) {
			return &option.Mistake{Option: "countries", Value: country, Text: "has no numbers that can be told from those of " + as + "; add " + as + ", or write it instead"}
		}
	}
	return nil
}

// domainCovers tells whether the cookie domain covers all origins that are known, so
// that visitors keep their sessions.
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

// The errors of the checks below say what is wrong with a value, and what to write
// instead.

func checkOrigin(s string) error {
	if _, err := address.ParseOrigin(s); err != nil {
		return fmt.Errorf("%w; write it like https://www.example.com", err)
	}
	return nil
}

func checkPath(p string) error {
	trimmed := strings.TrimSuffix(p, "/")
	switch {
	case !strings.HasPrefix(p, "/"):
		return errors.New("must begin with a slash; write it like /.number-verify")
	case trimmed == "":
		return errors.New("must not be the whole site; write it like /.number-verify")
	case path.Clean(p) != trimmed || strings.ContainsAny(p, `?#%\*;"' {}`) || strings.ContainsFunc(p, isControl):
		return errors.New("is no plain path; write it like /.number-verify")
	default:
		return nil
	}
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f }

func checkCountry(s string) error {
	if len(s) != 2 || !phone.ValidRegion(s) {
		return errors.New("is no country; write two upper-case letters of ISO 3166-1, like FR")
	}
	return nil
}

func checkHeaders(s string) error {
	if s != headersOff && (!httpguts.ValidHeaderFieldName(s) || !strings.HasSuffix(s, "-")) {
		return errors.New("is no prefix for header names; write it like X-Verified-, or off")
	}
	return nil
}

func checkCookieName(s string) error {
	if !httpguts.ValidHeaderFieldName(s) || strings.HasPrefix(s, "__") || strings.HasSuffix(s, "-browser") {
		return errors.New("is no name for a cookie; write letters, digits and dashes; the gate adds __Host- itself, and -browser")
	}
	return nil
}

// checkCookieDomain refuses a domain that net/http would silently drop from the
// cookie, which would then hold for one host only.
func checkCookieDomain(s string) error {
	cookie := http.Cookie{Name: "number-verify", Domain: s}
	if cookie.Valid() != nil || !strings.Contains(s, ".") || strings.Trim(s, ".") != s {
		return errors.New("is no domain for cookies; write it like example.com")
	}
	return nil
}

func checkLink(s string) error {
	if !address.IsLink(s) {
		return errors.New("is no link; write an https:// address, mailto:, tel: or a path of the site")
	}
	return nil
}
