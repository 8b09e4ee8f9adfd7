package gate

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/numberverify/caddy-number-verify/internal/address"
)

// origin is one address of the site as visitors see it, with its cookies.
type origin struct {
	url  string // scheme://host[:port]
	host string // host[:port], lower case, without the scheme's default port

	// realm is the scope of the cookies and their name. It is part of the cache's
	// keys, so that records of one realm are unknown in every other. With another
	// cookie_name everybody has to be verified again.
	realm string

	secure                       bool
	sessionCookie, browserCookie http.Cookie // without value and age
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
		// With a star, since the host of the same name is another realm: its sibling
		// hosts do not see its cookies.
		o.realm = "*." + cookieDomain
		if o.secure {
			sessionPrefix = "__Secure-"
		}
	}
	o.realm += " " + cookieName
	o.sessionCookie = http.Cookie{
		Name: sessionPrefix + cookieName, Path: "/", Domain: cookieDomain,
		Secure: o.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	// Host-only even with a cookie domain: a sibling host that could plant this
	// cookie could finish an attempt of its own in the visitor's browser.
	o.browserCookie = http.Cookie{
		Name: browserPrefix + cookieName + browserSuffix, Path: "/",
		Secure: o.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	return o
}

// contains tells whether u is an address at the origin.
func (o *origin) contains(u *url.URL) bool {
	scheme := "http"
	if o.secure {
		scheme = "https"
	}
	return u.Scheme == scheme && address.Normal(u.Host, o.secure) == o.host
}

// origin returns the configured origin that r was sent to, or nil. A stranger chooses
// the Host of a request, so it never becomes part of an address.
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

// loopbackOrigin returns the origin of a request where no public_url is configured. It
// is nil unless the host is loopback, since a stranger chooses it.
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
