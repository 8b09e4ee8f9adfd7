package provider

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/numberverify/caddy-number-verify/verifier"
)

// ErrLink says that no visitor may be sent to the URL that the provider gave. It is
// no outage, since the provider has answered.
var ErrLink = errors.New("the operator's URL cannot be used")

// ErrRevealed is the ErrLink of a URL that contains one of the secrets.
var ErrRevealed = fmt.Errorf("%w: it reveals a secret of the attempt", ErrLink)

// maxLink bounds the URL, in bytes.
const maxLink = 8 << 10

// LinkRules are the rules for a URL that a visitor is sent to.
type LinkRules struct {
	// Callback is the gate's own callback address. No link may lead to its host.
	Callback *url.URL
	// Hosts are the only hosts allowed, exact or as *.example.com; any host where
	// there are none.
	Hosts []string
	// Secrets must not be in the link in any spelling. They prove that a browser
	// came back from the operator: whoever could read one in the link would not
	// have to send the visitor there.
	Secrets []string
}

// CheckLink returns raw without surrounding space if it is an absolute http or https
// URL without user information, and the rules allow it. Otherwise the error is
// ErrLink or ErrRevealed. Its text never contains the URL.
func CheckLink(raw string, rules LinkRules) (string, error) {
	raw = strings.TrimSpace(raw)
	u, err := parseLink(raw)
	switch {
	case err != nil:
		return "", err
	case rules.Callback != nil && hostPort(u) == hostPort(rules.Callback):
		return "", refuseLink("it leads to this gate itself")
	case len(rules.Hosts) > 0 && !onHosts(u.Hostname(), rules.Hosts):
		return "", refuseLink("its host is not among those allowed, see operator_hosts")
	case slices.ContainsFunc(rules.Secrets, func(secret string) bool { return verifier.Reveals(raw, secret) }):
		return "", ErrRevealed
	default:
		return raw, nil
	}
}

func refuseLink(why string) error { return fmt.Errorf("%w: %s", ErrLink, why) }

// parseLink reads an absolute http or https URL.
func parseLink(raw string) (*url.URL, error) {
	if raw == "" || len(raw) > maxLink || strings.ContainsFunc(raw, isControl) {
		return nil, refuseLink("it is empty, too long or malformed")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, refuseLink("it cannot be parsed") // the cause would repeat it
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, refuseLink("it is neither http nor https")
	case u.Hostname() == "" || u.Opaque != "" || strings.Contains(raw, `\`):
		return nil, refuseLink("it names no host")
	case u.User != nil:
		return nil, refuseLink("it holds user information")
	default:
		return u, nil
	}
}

func isControl(r rune) bool { return r <= ' ' || r == 0x7f }

// hostPort names a server, with the port that the scheme implies.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), port)
}

func onHosts(host string, hosts []string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, allowed := range hosts {
		allowed = strings.ToLower(allowed)
		if suffix, ok := strings.CutPrefix(allowed, "*"); ok {
			if strings.HasSuffix(host, suffix) && len(host) > len(suffix) {
				return true
			}
		} else if host == allowed {
			return true
		}
	}
	return false
}
