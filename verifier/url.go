package verifier

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/numberverify/caddy-number-verify/internal/percent"
)

// ErrRevealed says that the operator's URL holds one of the secrets.
var ErrRevealed = errors.New("the operator's URL reveals the state or the token")

// maxURL bounds an operator's URL, in bytes.
const maxURL = 8 << 10

// CheckURL returns raw, trimmed, if a visitor may be sent there: an absolute
// http or https URL without userinfo that is not the gate's own callback, lies
// on one of hosts (exact, or *.example.com) where there are any, and holds none
// of secrets in any spelling (ErrRevealed). An error never repeats the URL.
//
// The secrets are what proves that a browser came back from there. A stranger
// who could read one in the link would not need the visitor any more.
func CheckURL(raw string, callback *url.URL, hosts []string, secrets ...string) (string, error) {
	raw = strings.TrimSpace(raw)
	if raw == "" || len(raw) > maxURL || strings.ContainsFunc(raw, isControl) {
		return "", errors.New("the operator's URL is empty, too long or malformed")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("the operator's URL cannot be parsed") // the cause would repeat it
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return "", errors.New("the operator's URL is neither http nor https")
	case u.Hostname() == "" || u.Opaque != "" || strings.Contains(raw, `\`):
		return "", errors.New("the operator's URL names no host")
	case u.User != nil:
		return "", errors.New("the operator's URL holds user information")
	case callback != nil && hostPort(u) == hostPort(callback):
		return "", errors.New("the operator's URL leads to this gate itself")
	case len(hosts) > 0 && !onHosts(u.Hostname(), hosts):
		return "", errors.New("the operator's URL is not on operator_hosts")
	}
	for _, secret := range secrets {
		if Reveals(raw, secret) {
			return "", ErrRevealed
		}
	}
	return raw, nil
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

// Reveals tells whether raw holds secret as it is, percent-encoded up to three
// times, in hex or in base64. The empty secret is held by nothing.
func Reveals(raw, secret string) bool {
	if secret == "" {
		return false
	}
	spellings := encodings(secret)
	for range 4 {
		folded := strings.ToLower(raw)
		for _, s := range spellings {
			if strings.Contains(raw, s) || strings.Contains(folded, s) {
				return true
			}
		}
		raw = percent.Decode(raw)
	}
	return false
}

// encodings are the forms of secret that need no decoding of what surrounds it.
// In base64 the secret looks different at each of three offsets; the characters
// that its neighbours have a part in are cut off.
func encodings(secret string) []string {
	forms := []string{secret, strings.ToLower(secret), hex.EncodeToString([]byte(secret))}
	for offset := range 3 {
		padded := append(make([]byte, offset), secret...)
		whole := base64.RawStdEncoding.EncodeToString(padded)
		first := (offset*8 + 5) / 6
		last := len(padded) * 8 / 6
		if last-first < 8 {
			continue // too short to tell from chance
		}
		form := whole[first:last]
		forms = append(forms, form, strings.NewReplacer("+", "-", "/", "_").Replace(form))
	}
	return forms
}
