package gate

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/numberverify/caddy-number-verify/internal/address"
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

func newOrigin(scheme, host, cookieName, cookieDomain string) *origin {
	o := &origin{
		secure: scheme == "https",
		host:   address.Normal(host, scheme == "https"),
	}
	o.url = scheme + "://" + o.host
	o.realm = address.Name(o.host)
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

// isOf tells whether u is an address at the origin.
func (o *origin) isOf(u *url.URL) bool {
	scheme := "http"
	if o.secure {
		scheme = "https"
	}
	return u.Scheme == scheme && address.Normal(u.Host, o.secure) == o.host
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
		if o.host != r.Host && o.host != address.Normal(r.Host, o.secure) {
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
	host := address.Normal(r.Host, r.TLS != nil)
	if !address.IsLoopback(address.Name(host)) {
		return nil
	}
	if _, err := address.ParseOrigin(fmt.Sprintf("%s://%s", scheme, host)); err != nil {
		return nil
	}
	return newOrigin(scheme, host, g.cfg.CookieName, g.cfg.CookieDomain)
}
