package numberverify

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/option"
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
// What is not set comes from the global option of the same name. The directive expands
// to one handler, which every request of the site passes. The handler itself asks the
// matcher, since it has to ask for more than Caddy's reading of a path.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // consume the directive's name
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next()
	start := *h.Dispenser
	if h.NextArg() {
		return nil, h.Err("takes no arguments but a matcher; put options in a block: number_verify { ... }")
	}
	handler := new(Handler)
	if global, ok := h.Option(appName).(*Handler); ok {
		*handler = *global
	}
	block, err := handler.options().Read(h.Dispenser)
	if err != nil {
		return nil, err
	}
	site := addressesOf(h)
	if wrong := handler.checkDirective(site, h.IsNamedRoute()); wrong != nil {
		return nil, block.At(wrong)
	}
	if err := handler.checkCountriesIn(block); err != nil {
		return nil, err
	}
	if err := agree(h.State, site, &start, *handler); err != nil {
		return nil, err
	}
	if matcher != nil {
		handler.MatcherSetsRaw = caddyhttp.RawMatcherSets{matcher}
	}
	return h.NewRoute(nil, handler), nil
}

// parseGlobalOption reads the defaults for every directive.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // consume the option's name
	if existing != nil {
		return nil, d.Err("number_verify is set twice; put everything in one block")
	}
	if d.NextArg() {
		return nil, d.Err("takes no arguments; put options in a block: number_verify { ... }")
	}
	handler := new(Handler)
	block, err := handler.globalOptions().Read(d)
	if err != nil {
		return nil, err
	}
	if wrong := handler.check(false); wrong != nil {
		return nil, block.At(wrong)
	}
	if err := handler.checkCountriesIn(block); err != nil {
		return nil, err
	}
	return handler, nil
}

// globalOptions returns the options of a directive without those of a route, which are
// errors here.
func (h *Handler) globalOptions() option.Set {
	set := option.Set{Options: h.Options.list()}
	for _, o := range h.routeOptions() {
		set.Options = append(set.Options, option.Custom(o.Name, func(l *option.Line) error {
			return l.Errf("belongs to a route; write it in the number_verify directive of a site, not in the global options")
		}))
	}
	return set
}

// checkDirective checks a whole block, and returns the first mistake or nil. A directive
// in a named route needs a public_url, since any site may invoke the route.
func (h *Handler) checkDirective(site addresses, isNamedRoute bool) *option.Mistake {
	switch {
	case h.VerifierRaw == nil:
		return errNoVerifier
	case len(h.PublicURL) == 0 && site == nil:
		return &option.Mistake{Option: "public_url", Text: "is required, also on loopback, since this version of Caddy does not tell the addresses of a site: add 'public_url https://www.example.com', the address that visitors see"}
	case len(h.PublicURL) == 0 && (isNamedRoute || !site.onLoopback()):
		return &option.Mistake{Option: "public_url", Text: "is required: add 'public_url https://www.example.com', the address that visitors see"}
	}
	if wrong := h.check(false); wrong != nil {
		return wrong
	}
	return h.checkSecret()
}

// checkCountriesIn refuses countries whose numbers the verifier cannot verify. The error
// names the line of the countries, or that of the verifier if the block sets only that.
func (h *Handler) checkCountriesIn(block *option.Block) error {
	err := h.checkCountries()
	if err == nil {
		return nil
	}
	wrong := &option.Mistake{Option: "countries", Text: err.Error()}
	if !block.IsSet(wrong.Option) {
		wrong.Option = "verifier"
	}
	return block.At(wrong)
}

// endpointsOf is what is remembered of a directive of a site.
type endpointsOf struct {
	line, path, shared string
}

// agree refuses a directive that disagrees with an earlier one of the site: both share a
// path but not the options of the endpoints there, or one path lies within the other.
// The first directive would answer for both. Seen holds the earlier directives. If the
// site is not known, all directives are compared as if they were in one site.
func agree(seen map[string]any, site addresses, start *caddyfile.Dispenser, handler Handler) error {
	handler.Options = handler.withDefaults()
	shared, err := handler.gateKey()
	if err != nil {
		return start.Errf("encoding the options: %v", err)
	}
	key := appName + " " + strings.Join(site, " ")
	all, _ := seen[key].([]endpointsOf)
	for _, other := range all {
		if text := other.disagreement(handler.Path, shared); text != "" {
			if site == nil {
				text += " (in whatever site they stand: this version of Caddy does not tell)"
			}
			return start.Err(text)
		}
	}
	line := fmt.Sprintf("%s:%d", start.File(), start.Line())
	seen[key] = append(all, endpointsOf{line, handler.Path, shared})
	return nil
}

// disagreement returns why another directive cannot stand beside e, or "".
func (e endpointsOf) disagreement(path, shared string) string {
	switch {
	case path != e.path && (strings.HasPrefix(path, e.path+"/") || strings.HasPrefix(e.path, path+"/")):
		return fmt.Sprintf("number_verify here and in %s have paths within one another, %s and %s; give one a path beside the other, like 'path %s-2'",
			e.line, path, e.path, e.path)
	case path == e.path && shared != e.shared:
		return fmt.Sprintf("number_verify here and in %s share the path %s but differ in more than max_age, optional, pass_errors, headers, session_ttl and session_idle; give one a path of its own, like 'path %s-2'",
			e.line, path, path)
	default:
		return ""
	}
}

// addresses are the addresses of a site, as its block names them; nil if not known.
type addresses []string

// addressesOf returns the addresses of the directive's site. Caddy does not export them,
// and nothing else tells at this point whether the site is on loopback, or which
// directives belong to one site.
func addressesOf(h httpcaddyfile.Helper) addresses { return addressesIn(reflect.ValueOf(h)) }

// addressesIn reads helper.parentBlock.Keys[i].Text. If another version of Caddy has no
// such field, the addresses are not known, and more configurations are refused.
func addressesIn(helper reflect.Value) addresses {
	block := helper.FieldByName("parentBlock")
	if block.Kind() != reflect.Struct {
		return nil
	}
	keys := block.FieldByName("Keys")
	if keys.Kind() != reflect.Slice {
		return nil
	}
	var found addresses
	for i := range keys.Len() {
		key := keys.Index(i)
		if key.Kind() != reflect.Struct || key.FieldByName("Text").Kind() != reflect.String {
			return nil
		}
		found = append(found, key.FieldByName("Text").String())
	}
	return found
}

// onLoopback tells whether all addresses are known and on loopback.
func (a addresses) onLoopback() bool {
	for _, written := range a {
		if !strings.Contains(written, "://") {
			written = "//" + written
		}
		u, err := url.Parse(written)
		if err != nil || !address.IsLoopback(u.Hostname()) {
			return false
		}
	}
	return len(a) > 0
}
