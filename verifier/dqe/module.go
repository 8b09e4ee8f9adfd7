package dqe

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/phone"
	"github.com/numberverify/caddy-number-verify/verifier"
)

func init() {
	caddy.RegisterModule(&Module{})
}

// Module verifies numbers with DQE ID Mobile (scope numVerify). Strings may hold
// placeholders such as {env.DQE_LICENCE}, which are resolved when the
// configuration loads.
type Module struct {
	// The address of the server that DQE gave you, https://host. Required;
	// http only where the host is loopback.
	Server string `json:"server,omitempty"`

	// Your licence code. Required.
	Licence string `json:"licence,omitempty"`

	// Your name as DQE has it in its database. Required.
	Name string `json:"name,omitempty"`

	// Your pass phrase, with which the gate gets a token for each attempt.
	// Required, unless token is given. Write a placeholder, so that it stays
	// out of the configuration: {env.DQE_CLIENT_SECRET}.
	ClientSecret string `json:"client_secret,omitempty"`

	// A token from elsewhere, usually {file./run/dqe-token}, read anew for
	// each attempt. Each value serves one attempt ever, as far as the cache
	// remembers: memory forgets at a restart, and what takes tokens from one
	// place needs one cache. Other caches than memory then need a secret of
	// their own.
	StaticToken string `json:"token,omitempty"`

	// How DQE is called: post, or get, which puts secrets and numbers into
	// addresses. Default: post.
	Method string `json:"method,omitempty"`

	// How numbers are written: national (0639980001), e164 (+33639980001),
	// msisdn (33639980001) or idd (0033639980001). national is the French
	// numbering plan alone, in which the first digits tell metropolitan France
	// from its territories: with it, countries can be FR, GP, GF, MQ, RE, YT, BL,
	// MF and PM only. Default: national.
	NumberFormat string `json:"number_format,omitempty"`

	// How long one call may take. A call for the result is given up after 10s in
	// any case, those of a start after 25s together. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// The only hosts that a visitor is sent to; *.example.com means every host
	// below example.com. Default: any host.
	OperatorHosts []string `json:"operator_hosts,omitempty"`

	// What a token in the callback that differs from the issued one does: log
	// writes a warning, require ends the attempt (also where it is absent),
	// ignore does nothing. Default: log.
	CallbackToken string `json:"callback_token,omitempty"`

	*client
}

// CaddyModule returns the Caddy module information.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.number_verify.verifiers.dqe",
		New: func() caddy.Module { return new(Module) },
	}
}

// placeholder is a value that is nothing else, so that it can be repeated in an
// error. Braces in a value may be a secret's own.
var placeholder = regexp.MustCompile(`^\{(?:env|file)\.[^{}]+\}$`)

// Provision resolves the placeholders. It calls nobody.
func (m *Module) Provision(ctx caddy.Context) error {
	resolved := *m
	resolved.OperatorHosts = slices.Clone(m.OperatorHosts)
	repl := caddy.NewReplacer()
	for _, o := range resolved.strings() {
		if *o.value == "" || o.name == "token" {
			continue // a token is read for each attempt
		}
		value, err := repl.ReplaceOrErr(*o.value, true, true)
		if err != nil && o.name == "client_secret" && !placeholder.MatchString(*o.value) {
			return &optionError{o.name, "has braces, or its placeholder is empty or unknown: write the secret into a variable, and just {env.DQE_CLIENT_SECRET} here"}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		*o.value = value
	}
	for i, host := range resolved.OperatorHosts {
		value, err := repl.ReplaceOrErr(host, true, true)
		if err != nil {
			return fmt.Errorf("operator_hosts: %w", err)
		}
		resolved.OperatorHosts[i] = value
	}
	if wrong := resolved.check(true); wrong != nil {
		return wrong
	}
	s, err := resolved.settings()
	if err != nil {
		return err
	}
	m.client = newClient(s, ctx.Logger())
	return nil
}

// HasSecret tells whether Secret will be one.
func (m *Module) HasSecret() bool { return m.ClientSecret != "" }

// settings are those of a resolved and checked module.
func (m *Module) settings() (settings, error) {
	server, err := url.Parse(m.Server)
	if err != nil {
		return settings{}, errors.New("server: not a URL")
	}
	s := settings{
		server: server, licence: m.Licence, name: m.Name, clientSecret: m.ClientSecret,
		get: m.Method == "get", numberFormat: phone.Format(cmp.Or(m.NumberFormat, string(phone.National))), timeout: time.Duration(m.Timeout),
		operatorHosts: m.OperatorHosts, callbackToken: m.CallbackToken,
	}
	if s.timeout == 0 {
		s.timeout = 5 * time.Second
	}
	if s.callbackToken == "" {
		s.callbackToken = callbackLog
	}
	if template := m.StaticToken; template != "" {
		s.token = func() (string, error) {
			value, err := caddy.NewReplacer().ReplaceOrErr(template, true, true)
			return strings.TrimSpace(value), err
		}
	}
	return s, nil
}

// CheckCountries implements verifier.CountryChecker.
func (m *Module) CheckCountries(countries []string) error {
	format := phone.Format(cmp.Or(m.NumberFormat, string(phone.National)))
	if m.client != nil {
		format = m.numberFormat
	} else if hasPlaceholder(m.NumberFormat) {
		return nil
	}
	for _, country := range countries {
		if !format.Covers(country) {
			return fmt.Errorf("the number_format of verifier dqe is %s, which is the French numbering plan alone and has no numbers of %s; "+
				"write 'number_format e164' (or msisdn, or idd) in verifier dqe if DQE reads that, or remove %s from countries", format, country, country)
		}
	}
	return nil
}

type option struct {
	name  string
	value *string
}

func (m *Module) strings() []option {
	return []option{
		{"server", &m.Server},
		{"licence", &m.Licence},
		{"name", &m.Name},
		{"client_secret", &m.ClientSecret},
		{"token", &m.StaticToken},
		{"method", &m.Method},
		{"number_format", &m.NumberFormat},
		{"callback_token", &m.CallbackToken},
	}
}

// optionError is a mistake in one option.
type optionError struct{ option, text string }

func (e *optionError) Error() string { return "verifier dqe: " + e.option + " " + e.text }

// words are the options with a fixed choice.
var words = map[string][]string{
	"method":         {"post", "get"},
	"number_format":  {"national", "e164", "msisdn", "idd"},
	"callback_token": {callbackLog, callbackRequire, callbackIgnore},
}

// check finds the first mistake. What holds a placeholder cannot be checked
// before it is resolved, and passes until then; once resolved, everything is
// checked, whatever it holds. Its texts repeat no value: a placeholder may have
// yielded a secret.
func (m *Module) check(resolved bool) *optionError {
	known := func(s string) bool { return resolved || !hasPlaceholder(s) }
	for _, o := range m.strings()[:3] {
		if *o.value == "" {
			return &optionError{o.name, "is required: add '" + o.name + " ...' as DQE gave it to you"}
		}
	}
	switch {
	case m.ClientSecret == "" && m.StaticToken == "":
		return &optionError{"client_secret", "is required: add 'client_secret {env.DQE_CLIENT_SECRET}', or a token from elsewhere"}
	case m.ClientSecret != "" && m.StaticToken != "":
		return &optionError{"token", "and client_secret exclude each other: keep one"}
	case m.Timeout < 0:
		return &optionError{"timeout", "must be longer than 0; write it like 5s"}
	}
	if known(m.Server) {
		if text := checkServer(m.Server); text != "" {
			return &optionError{"server", text}
		}
	}
	for _, o := range m.strings() {
		allowed, ok := words[o.name]
		if ok && *o.value != "" && known(*o.value) && !slices.Contains(allowed, *o.value) {
			return &optionError{o.name, "is none of " + strings.Join(allowed, ", ")}
		}
	}
	for _, host := range m.OperatorHosts {
		if name := strings.TrimPrefix(host, "*."); known(host) && (name == "" || strings.ContainsAny(name, "*/:@{} ")) {
			return &optionError{"operator_hosts", "holds what is no host; write it like op.example.com or *.example.com"}
		}
	}
	return nil
}

func checkServer(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return "is no address; write it like https://idmobile.example.com"
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "must be an address alone, without user, query or fragment"
	case u.Scheme == "http" && !address.IsLoopback(u.Hostname()):
		return "must begin with https://: secrets and numbers are sent there"
	default:
		return ""
	}
}

func hasPlaceholder(s string) bool { return strings.Contains(s, "{") }

// UnmarshalCaddyfile sets up the module from Caddyfile tokens. Syntax:
//
//	verifier dqe {
//		server         <url>
//		licence        <code>
//		name           <partner>
//		client_secret  <secret>
//		token          <token>
//		method         post|get
//		number_format  national|e164|msisdn|idd
//		timeout        <duration>
//		operator_hosts <host...>
//		callback_token log|require|ignore
//	}
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	start := *d
	if d.NextArg() {
		return d.Err("verifier dqe takes no arguments; put its options in a block") // never echo: it may be a secret
	}
	set := make(map[string]caddyfile.Dispenser)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if first, ok := set[name]; ok {
			return d.Errf("verifier dqe: %s is set twice, first in line %d; keep one", name, first.Line())
		}
		set[name] = *d
		if err := m.option(d, name); err != nil {
			return err
		}
	}
	wrong := m.check(false)
	if wrong == nil {
		return nil
	}
	if at, ok := set[wrong.option]; ok {
		return at.Err(wrong.Error())
	}
	return start.Err(wrong.Error())
}

// option reads one subdirective. Its errors never repeat a value: it may be a
// secret.
func (m *Module) option(d *caddyfile.Dispenser, name string) error {
	args := d.RemainingArgs()
	if next := *d; !next.NextLine() && next.Next() { // a block, an empty one too
		return d.Errf("verifier dqe: %s takes no block", name)
	}
	if name == "operator_hosts" {
		if len(args) == 0 {
			return d.Err("verifier dqe: operator_hosts takes one or more hosts, like *.example.com")
		}
		m.OperatorHosts = args
		return nil
	}
	known := slices.IndexFunc(m.strings(), func(o option) bool { return o.name == name })
	if known < 0 && name != "timeout" {
		return d.Errf("verifier dqe: unknown subdirective %q; there are server, licence, name, client_secret, token, method, number_format, timeout, operator_hosts, callback_token", name)
	}
	if len(args) != 1 || args[0] == "" {
		return d.Errf("verifier dqe: %s takes exactly one value; put quotes around one with blanks", name)
	}
	if name != "timeout" {
		*m.strings()[known].value = args[0]
		return nil
	}
	parsed, err := caddy.ParseDuration(args[0])
	if err != nil || parsed <= 0 {
		return d.Errf("verifier dqe: timeout %q must be a duration longer than 0; write it like 5s", args[0])
	}
	m.Timeout = caddy.Duration(parsed)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Module)(nil)
	_ caddyfile.Unmarshaler   = (*Module)(nil)
	_ verifier.Verifier       = (*Module)(nil)
	_ verifier.CountryChecker = (*Module)(nil)
	_ verifier.TokenSource    = (*Module)(nil)
	_ verifier.CallbackParser = (*Module)(nil)
)
