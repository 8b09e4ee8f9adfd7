package numberverify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/numberverify/caddy-number-verify/internal/address"
)

func init() {
	httpcaddyfile.RegisterDirective(appName, parseDirective)
	// after the site's own login, so that strangers start nothing that is billed
	httpcaddyfile.RegisterDirectiveOrder(appName, httpcaddyfile.After, "forward_auth")
	httpcaddyfile.RegisterGlobalOption(appName, parseGlobalOption)
}

// parseDirective sets up the gate from Caddyfile tokens. Syntax:
//
//	number_verify [<matcher>] {
//		verifier      <provider> { ... }
//		cache         <store> ...
//		public_url    <origin...>
//		path          <path>
//		region        <country>
//		countries     <country...>
//		number        <placeholder>
//		max_age       <duration>
//		optional
//		pass_errors
//		headers       off | <prefix>
//		session_ttl   <duration>
//		session_idle  off | <duration>
//		attempt_ttl   <duration>
//		refused_ttl   <duration>
//		result_wait   <duration>
//		cookie_name   <name>
//		cookie_domain <domain>
//		limits        { ... }
//		pages         <directory>
//		brand         <name> [<logo>]
//		support_url   <url>
//		privacy_url   <url>
//		fallback_url  <url>
//	}
//
// What is not set comes from the global option of the same name. The directive
// expands to one handler, which every request of the site passes: the matcher is
// the handler's own, since it has to be asked for more than Caddy's reading of a
// path.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // consume the directive's name
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next()
	start := *h.Dispenser
	p := &parser{inDirective: true, set: make(map[string]caddyfile.Dispenser)}
	if global, ok := h.Option(appName).(*Handler); ok {
		p.handler = *global
	}
	if err := p.parse(h.Dispenser); err != nil {
		return nil, err
	}
	if err := p.complete(&start, onLoopback(h)); err != nil {
		return nil, err
	}
	if err := agree(h, &start, p.handler); err != nil {
		return nil, err
	}
	if matcher != nil {
		p.handler.MatcherSetsRaw = caddyhttp.RawMatcherSets{matcher}
	}
	return h.NewRoute(nil, &p.handler), nil
}

// parseGlobalOption reads the defaults for every directive.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // consume the option's name
	if existing != nil {
		return nil, d.Err("number_verify is set twice; put everything in one block")
	}
	start := *d
	p := &parser{set: make(map[string]caddyfile.Dispenser)}
	if err := p.parse(d); err != nil {
		return nil, err
	}
	if wrong := p.handler.check(false); wrong != nil {
		return nil, p.at(&start, wrong)
	}
	if err := p.checkCountries(&start); err != nil {
		return nil, err
	}
	return &p.handler, nil
}

// parser fills a handler from one block of a Caddyfile.
type parser struct {
	handler     Handler
	inDirective bool
	// set remembers where each subdirective stands, for later errors.
	set map[string]caddyfile.Dispenser
}

func (p *parser) parse(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		if p.inDirective {
			return d.Err("takes no arguments but a matcher; put options in a block: number_verify { ... }")
		}
		return d.Err("takes no arguments; put options in a block: number_verify { ... }")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if first, ok := p.set[name]; ok {
			return d.Errf("%s is set twice, first in line %d; keep one", name, first.Line())
		}
		p.set[name] = *d
		if err := p.option(d, name); err != nil {
			return err
		}
	}
	return nil
}

// option reads one subdirective.
func (p *parser) option(d *caddyfile.Dispenser, name string) error {
	o := &p.handler.Options
	switch name {
	case "verifier":
		return guest(d, "provider", "verifier dqe { ... }", &o.VerifierRaw)
	case "cache":
		return guest(d, "store", "cache memory", &o.CacheRaw)
	case "public_url":
		return list(d, &o.PublicURL)
	case "countries":
		return list(d, &o.Countries)
	case "path":
		return word(d, &o.Path)
	case "region":
		return word(d, &o.Region)
	case "headers":
		return word(d, &o.Headers)
	case "cookie_name":
		return word(d, &o.CookieName)
	case "cookie_domain":
		return word(d, &o.CookieDomain)
	case "pages":
		return word(d, &o.Pages)
	case "brand":
		return brand(d, o)
	case "support_url":
		return word(d, &o.SupportURL)
	case "privacy_url":
		return word(d, &o.PrivacyURL)
	case "fallback_url":
		return word(d, &o.FallbackURL)
	case "session_ttl":
		return duration(d, &o.SessionTTL)
	case "session_idle":
		return durationOrOff(d, &o.SessionIdle)
	case "attempt_ttl":
		return duration(d, &o.AttemptTTL)
	case "refused_ttl":
		return duration(d, &o.RefusedTTL)
	case "result_wait":
		return duration(d, &o.ResultWait)
	case "limits":
		return limits(d, &o.Limits)
	case "number", "max_age", "optional", "pass_errors":
		return p.routeOption(d, name)
	default:
		return d.Errf("unknown subdirective %q of number_verify; see Caddyfile.example for all of them", name)
	}
}

// routeOption reads a subdirective that only a directive can have.
func (p *parser) routeOption(d *caddyfile.Dispenser, name string) error {
	if !p.inDirective {
		return d.Errf("%s belongs to a route; write it in the number_verify directive of a site, not in the global options", name)
	}
	switch name {
	case "number":
		return word(d, &p.handler.Number)
	case "max_age":
		return duration(d, &p.handler.MaxAge)
	case "optional":
		p.handler.Optional = true
	default:
		p.handler.PassErrors = true
	}
	return nothing(d)
}

// complete finds what is missing or wrong once the whole block is read.
func (p *parser) complete(start *caddyfile.Dispenser, onLoopback bool) error {
	h := &p.handler
	if h.VerifierRaw == nil {
		return p.at(start, errNoVerifier)
	}
	if len(h.PublicURL) == 0 && !onLoopback {
		return p.at(start, &optionError{"public_url", "", "is required: add 'public_url https://www.example.com', the address that visitors see"})
	}
	if wrong := h.check(false); wrong != nil {
		return p.at(start, wrong)
	}
	if h.lacksSecret() {
		return p.at(start, errNoSecret)
	}
	return p.checkCountries(start)
}

// checkCountries refuses countries that the verifier cannot verify, in the line of
// the countries, or of the verifier where the block sets that alone.
func (p *parser) checkCountries(start *caddyfile.Dispenser) error {
	err := p.handler.checkCountries()
	if err == nil {
		return nil
	}
	option := "countries"
	if _, ok := p.set[option]; !ok {
		option = "verifier"
	}
	return p.at(start, &optionError{option, "", err.Error()})
}

// at tells file and line of a mistake: those of the option where the block sets
// it, else those of the directive.
func (p *parser) at(start *caddyfile.Dispenser, wrong *optionError) error {
	if d, ok := p.set[wrong.option]; ok {
		return d.Err(wrong.Error())
	}
	return start.Err(wrong.Error())
}

// endpointsOf remembers a directive of a site.
type endpointsOf struct {
	line, path, shared string
}

// agree refuses directives of one site that share a path but not what the
// endpoints there need, or whose paths lie within one another: the first one
// would answer for both.
func agree(h httpcaddyfile.Helper, start *caddyfile.Dispenser, handler Handler) error {
	handler.Options = handler.withDefaults()
	shared, err := handler.gateKey()
	if err != nil {
		return start.Errf("encoding the options: %v", err)
	}
	site := appName + " " + strings.Join(siteAddresses(h), " ")
	all, _ := h.State[site].([]endpointsOf)
	for _, other := range all {
		if err := other.disagrees(start, handler.Path, shared); err != nil {
			return err
		}
	}
	line := fmt.Sprintf("%s:%d", start.File(), start.Line())
	h.State[site] = append(all, endpointsOf{line, handler.Path, shared})
	return nil
}

func (e endpointsOf) disagrees(start *caddyfile.Dispenser, path, shared string) error {
	switch {
	case path != e.path && (strings.HasPrefix(path, e.path+"/") || strings.HasPrefix(e.path, path+"/")):
		return start.Errf("number_verify here and in %s have paths within one another, %s and %s; give one a path beside the other, like 'path %s-2'",
			e.line, path, e.path, e.path)
	case path == e.path && shared != e.shared:
		return start.Errf("number_verify here and in %s share the path %s but differ in more than max_age, optional, pass_errors, headers, session_ttl and session_idle; give one a path of its own, like 'path %s-2'",
			e.line, path, path)
	default:
		return nil
	}
}

// siteAddresses returns the addresses of the site that the directive stands in.
// Caddy does not export them, and nothing else tells at this point whether the
// site is on loopback, or which directives belong to one site.
func siteAddresses(h httpcaddyfile.Helper) []string {
	block := reflect.ValueOf(h).FieldByName("parentBlock")
	if !block.IsValid() {
		return nil
	}
	keys := block.FieldByName("Keys")
	if !keys.IsValid() {
		return nil
	}
	var addresses []string
	for i := range keys.Len() {
		addresses = append(addresses, keys.Index(i).FieldByName("Text").String())
	}
	return addresses
}

// onLoopback tells whether no visitor from elsewhere reaches the directive. Any
// site may invoke a named route, whatever its name.
func onLoopback(h httpcaddyfile.Helper) bool {
	addresses := siteAddresses(h)
	for _, written := range addresses {
		if !strings.Contains(written, "://") {
			written = "//" + written
		}
		u, err := url.Parse(written)
		if err != nil || !address.IsLoopback(u.Hostname()) {
			return false
		}
	}
	return len(addresses) > 0 && !h.IsNamedRoute()
}

// guest reads a guest module: its name, and what it makes of its own block.
func guest(d *caddyfile.Dispenser, inlineKey, example string, raw *json.RawMessage) error {
	kind := d.Val()
	if !d.NextArg() {
		return d.Errf("%s needs the name of a module, like '%s'", kind, example)
	}
	name, namespace := d.Val(), "http.number_verify."+kind+"s"
	id := namespace + "." + name
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("there is no %s %q in this Caddy; built in are %s", inlineKey, name, strings.Join(moduleNames(namespace), ", "))
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	*raw = caddyconfig.JSONModuleObject(module, inlineKey, name, nil)
	return nil
}

func moduleNames(namespace string) []string {
	var names []string
	for _, m := range caddy.GetModules(namespace) {
		names = append(names, m.ID.Name())
	}
	return names
}

// word reads the one argument of a subdirective.
func word(d *caddyfile.Dispenser, value *string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("%s takes exactly one value", name)
	}
	*value = args[0]
	return noBlock(d, name)
}

func list(d *caddyfile.Dispenser, values *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s takes one or more values", name)
	}
	*values = args
	return noBlock(d, name)
}

func brand(d *caddyfile.Dispenser, o *Options) error {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 || args[0] == "" {
		return d.Err(`brand takes a name and perhaps a logo: brand "Example SAS" /etc/caddy/logo.svg`)
	}
	o.Brand, o.Logo = args[0], ""
	if len(args) == 2 {
		o.Logo = args[1]
	}
	return noBlock(d, "brand")
}

func nothing(d *caddyfile.Dispenser) error {
	name := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes no value", name)
	}
	return noBlock(d, name)
}

// noBlock refuses what is left of the line, which is a block, an empty one too.
func noBlock(d *caddyfile.Dispenser, name string) error {
	next := *d
	if !next.NextLine() && next.Next() {
		return d.Errf("%s takes no block", name)
	}
	return nil
}

var errDuration = errors.New("must be a duration longer than 0; write it like 90s, 30m, 24h or 7d")

func duration(d *caddyfile.Dispenser, value *caddy.Duration) error {
	name := d.Val()
	var text string
	if err := word(d, &text); err != nil {
		return err
	}
	parsed, err := caddy.ParseDuration(text)
	if err != nil || parsed <= 0 {
		return d.Errf("%s: %q %v", name, text, errDuration)
	}
	*value = caddy.Duration(parsed)
	return nil
}

func durationOrOff(d *caddyfile.Dispenser, value *caddy.Duration) error {
	lookahead := *d
	if lookahead.NextArg() && lookahead.Val() == "off" {
		*value = 0
		var off string
		return word(d, &off)
	}
	return duration(d, value)
}
