// Package address answers the questions that several packages have about hosts,
// origins and links, so that all of them get the same answer.
package address

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// IsLoopback tells whether a host name, without port, means this machine.
func IsLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

// Normal returns the one form of host[:port] that stands for all spellings of a server:
// in lower case, without a final dot, and without a port that is empty or the scheme's
// own (443 if secure, else 80).
func Normal(host string, secure bool) string {
	host = strings.ToLower(host)
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return strings.TrimSuffix(host, ".")
	}
	name = strings.TrimSuffix(name, ".")
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if port == "" || (secure && port == "443") || (!secure && port == "80") {
		return name
	}
	return name + ":" + port
}

// Server returns the host[:port] of u in the form of Normal.
func Server(u *url.URL) string { return Normal(u.Host, u.Scheme == "https") }

// Name returns host[:port] without the port, and an IPv6 address without brackets.
func Name(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}

// ParseOrigin reads an origin that visitors use, scheme://host[:port]. The error
// says what is wrong, without the origin: it may hold a password.
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

// IsLink tells whether a link on a page may point to s: an http or https address
// without user information, mailto:, tel:, or a path of the site. html/template
// writes such a link as it is, so nothing else may pass, javascript: least of all.
func IsLink(s string) bool {
	u, err := url.Parse(s)
	if err != nil || !IsPlain(s) {
		return false
	}
	switch u.Scheme {
	case "https", "http":
		return u.Hostname() != "" && u.User == nil
	case "mailto", "tel":
		return u.Opaque != ""
	default:
		return u.Scheme == "" && strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//")
	}
}

// IsPlain tells whether s holds none of the characters that browsers drop from an
// address or read as others.
func IsPlain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r == ' ' || unicode.IsControl(r) || strings.ContainsRune("\\\"'<>`", r)
	})
}
