package gate

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// origin is one address of the site as visitors see it, with what follows from
// it for the cookies.
type origin struct {
	url  string // scheme://host[:port]
	host string // host[:port], lower case, without the scheme's default port

	// realm is the scope of the cookies and their name, which the cache's keys
	// carry: what is valid in one realm is unknown in every other, and another
	// cookie_name puts everybody out.
	realm string

	secure        bool
	session       string // the cookies' names
	browser       string
	sessionCookie http.Cookie // without value and age
	browserCookie http.Cookie
}

// ParseOrigin checks an origin that visitors use: scheme://host[:port].
func ParseOrigin(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("must begin with https:// or http://")
	}
	if u.Hostname() == "" || u.User != nil {
		return nil, errors.New("must name a host, and nothing before it")
	}
	if (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("must end after the host or port")
	}
	port := u.Port()
	n, err := strconv.ParseUint(port, 10, 16)
	if strings.HasSuffix(u.Host, ":") || (port != "" && (err != nil || n == 0 || port[0] == '0')) {
		return nil, errors.New("must end with a port from 1 to 65535, or none")
	}
	if strings.ContainsAny(u.Host, "*{} ") {
		return nil, errors.New("must name one host, without wildcards")
	}
	return u, nil
}

// IsLoopback tells whether a host name, without port, means this machine.
func IsLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

func newOrigin(scheme, host, cookieName, cookieDomain string) *origin {
	o := &origin{
		secure: scheme == "https",
		host:   normalHost(host, scheme == "https"),
	}
	o.url = scheme + "://" + o.host
	o.realm = hostname(o.host)
	sessionPrefix, browserPrefix := "", ""
	if o.secure {
		sessionPrefix, browserPrefix = "__Host-", "__Host-"
	}
	if cookieDomain != "" {
		// not that of the host of the same name: its cookies no sibling host sees
		o.realm = "*." + cookieDomain
		if o.secure {
			sessionPrefix = "__Secure-"
		}
	}
	o.realm += " " + cookieName
	o.session = sessionPrefix + cookieName
	o.browser = browserPrefix + cookieName + browserSuffix
	o.sessionCookie = http.Cookie{
		Name: o.session, Path: "/", Domain: cookieDomain,
		Secure: o.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	// Host-only even with a cookie domain: a sibling host that could plant
	// this cookie could finish its own attempt in the visitor's browser.
	o.browserCookie = http.Cookie{
		Name: o.browser, Path: "/",
		Secure: o.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	return o
}

// normalHost folds the case of host and drops a default port and a final dot.
func normalHost(host string, secure bool) string {
	host = strings.ToLower(host)
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return strings.TrimSuffix(host, ".")
	}
	name = strings.TrimSuffix(name, ".")
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if (secure && port == "443") || (!secure && port == "80") {
		return name
	}
	return name + ":" + port
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

// origin picks the configured origin that r was sent to, or nil. The Host of a
// request only picks: it never becomes part of an address, since a stranger
// chooses it.
func (g *Gate) origin(r *http.Request) *origin {
	if len(g.origins) == 0 {
		return g.loopbackOrigin(r)
	}
	var found *origin
	for _, o := range g.origins {
		if o.host != r.Host && o.host != normalHost(r.Host, o.secure) {
			continue
		}
		if o.secure == (r.TLS != nil) {
			return o
		}
		if found == nil {
			found = o // behind a proxy that ends TLS
		}
	}
	return found
}

// loopbackOrigin serves a configuration without public_url, which works on
// loopback only: no stranger's host gets further than this.
func (g *Gate) loopbackOrigin(r *http.Request) *origin {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	host := normalHost(r.Host, r.TLS != nil)
	if !IsLoopback(hostname(host)) {
		return nil
	}
	if _, err := ParseOrigin(fmt.Sprintf("%s://%s", scheme, host)); err != nil {
		return nil
	}
	return newOrigin(scheme, host, g.cfg.CookieName, g.cfg.CookieDomain)
}
