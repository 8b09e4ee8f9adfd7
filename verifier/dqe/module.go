package dqe

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/option"
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

	// A token from elsewhere in place of client_secret, usually
	// {file./run/dqe-token}, read anew for each attempt. Each value serves one
	// attempt only, as long as the cache remembers it: memory forgets at a restart.
	// Directives that take tokens from one place must use one cache, and any
	// other than memory then needs a secret of its own.
	StaticToken string `json:"token,omitempty"`

	// How DQE is called: post, or get, which puts secrets and numbers into
	// addresses. Default: post.
	Method string `json:"method,omitempty"`

	// How numbers are written for DQE: national (0639980001), e164
	// (+33639980001), msisdn (33639980001) or idd (0033639980001). national is
	// the French numbering plan alone: with it, countries can be FR, GP, GF, MQ,
	// RE, YT, BL, MF and PM only. Default: national.
	NumberFormat string `json:"number_format,omitempty"`

	// How long one call may take. Whatever is written here, a call for the result
	// is given up after 10s, and the calls of a start after 25s together.
	// Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// The only hosts that a visitor is sent to; *.example.com means every host
	// below example.com. Default: any host.
	OperatorHosts []string `json:"operator_hosts,omitempty"`

	// What happens if the token in the callback is not the issued one: log writes
	// a warning, require ends the attempt (also without a token), ignore does
	// nothing. Default: log.
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

// Provision resolves the placeholders. It calls nobody.
func (m *Module) Provision(ctx caddy.Context) error {
	resolved := *m
	if err := resolved.options().Resolve(); err != nil {
		return err
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

// HasSecret tells whether a secret is set, even before Provision.
func (m *Module) HasSecret() bool { return m.ClientSecret != "" }

// settings returns the settings of a module that is resolved and checked.
func (m *Module) settings() (settings, error) {
	server, err := url.Parse(m.Server)
	if err != nil {
		return settings{}, errors.New("verifier dqe: server is no address") // the cause would repeat it
	}
	s := settings{
		server: server, licence: m.Licence, name: m.Name, clientSecret: m.ClientSecret,
		get: m.Method == "get", numberFormat: m.format(),
		timeout:       time.Duration(cmp.Or(m.Timeout, caddy.Duration(5*time.Second))),
		operatorHosts: m.OperatorHosts, callbackToken: cmp.Or(m.CallbackToken, callbackLog),
	}
	if template := m.StaticToken; template != "" {
		s.token = func() (string, error) {
			value, err := caddy.NewReplacer().ReplaceOrErr(template, true, true)
			return strings.TrimSpace(value), err
		}
	}
	return s, nil
}

func (m *Module) format() phone.Format {
	return phone.Format(cmp.Or(m.NumberFormat, string(phone.National)))
}

// CheckCountries implements verifier.CountryChecker. Before the module is provisioned,
// a number_format with a placeholder passes.
func (m *Module) CheckCountries(countries []string) error {
	format := m.format()
	if m.client != nil {
		format = m.numberFormat
	} else if option.HasPlaceholder(m.NumberFormat) {
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

// options are the options of the module: the name of each in a Caddyfile, the field
// that it sets, and the check of its value.
func (m *Module) options() option.Set {
	return option.Set{Owner: "verifier dqe", Options: []option.Option{
		option.Word("server", &m.Server).Checked(checkServer),
		option.Word("licence", &m.Licence),
		option.Word("name", &m.Name),
		option.Word("client_secret", &m.ClientSecret),
		option.Word("token", &m.StaticToken).Unresolved(), // it is read for each attempt
		option.Word("method", &m.Method).OneOf("post", "get"),
		option.Word("number_format", &m.NumberFormat).OneOf("national", "e164", "msisdn", "idd"),
		option.Duration("timeout", &m.Timeout),
		option.Words("operator_hosts", &m.OperatorHosts).Checked(checkHost),
		option.Word("callback_token", &m.CallbackToken).OneOf(callbackLog, callbackRequire, callbackIgnore),
	}}
}

// check returns the first mistake, or nil. A value with a placeholder cannot be checked
// before it is resolved, and passes until then. Once resolved, every value is checked,
// even one with braces.
func (m *Module) check(resolved bool) *option.Mistake {
	set := m.options()
	required := func(name string) *option.Mistake {
		return set.Wrong(name, "is required: add '"+name+" ...' as DQE gave it to you")
	}
	switch {
	case m.Server == "":
		return required("server")
	case m.Licence == "":
		return required("licence")
	case m.Name == "":
		return required("name")
	case m.ClientSecret == "" && m.StaticToken == "":
		return set.Wrong("client_secret", "is required: add 'client_secret {env.DQE_CLIENT_SECRET}', or a token from elsewhere")
	case m.ClientSecret != "" && m.StaticToken != "":
		return set.Wrong("token", "and client_secret exclude each other: keep one")
	}
	return set.Check(resolved)
}

func checkServer(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("is no address; write it like https://idmobile.example.com")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("must be an address alone, without user, query or fragment")
	case u.Scheme == "http" && !address.IsLoopback(u.Hostname()):
		return errors.New("must begin with https://: secrets and numbers are sent there")
	default:
		return nil
	}
}

func checkHost(host string) error {
	name := strings.TrimPrefix(host, "*.")
	if name == "" || strings.ContainsAny(name, "*/:@{} ") {
		return errors.New("holds what is no host; write it like op.example.com or *.example.com")
	}
	return nil
}

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
	if next := *d; next.NextArg() {
		return next.Err("verifier dqe takes no arguments; put its options in a block") // never echo: it may be a secret
	}
	block, err := m.options().Read(d)
	if err != nil {
		return err
	}
	return block.At(m.check(false))
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Module)(nil)
	_ caddyfile.Unmarshaler   = (*Module)(nil)
	_ verifier.Verifier       = (*Module)(nil)
	_ verifier.CountryChecker = (*Module)(nil)
	_ verifier.TokenSource    = (*Module)(nil)
	_ verifier.CallbackParser = (*Module)(nil)
	_ verifier.Checker        = (*Module)(nil)
)
