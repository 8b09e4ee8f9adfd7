package provider

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

var callback = &url.URL{Scheme: "https", Host: "www.example.com", Path: "/.number-verify/callback"}

const nonce = "n0nce-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_"

func TestCheckLinkAdmitsOperators(t *testing.T) {
	for _, raw := range []string{
		"https://op.example.net/check?id=1", "http://op.example.net", "  https://op.example.net/x  ",
		"HTTPS://OP.example.net/", "https://www.example.com:8443/", "http://[2001:db8::1]/x", "https://op.example.net/#x",
	} {
		got, err := CheckLink(raw, LinkRules{Callback: callback, Secrets: []string{nonce}})
		if err != nil || got != strings.TrimSpace(raw) {
			t.Errorf("%q: %q %v", raw, got, err)
		}
	}
}

func TestCheckLinkRefusesWhatNoVisitorMayBeSentTo(t *testing.T) {
	for name, raw := range map[string]string{
		"empty":                     "",
		"blank":                     "  ",
		"relative":                  "/check",
		"scheme relative":           "//op.example.net/",
		"javascript":                "javascript:alert(1)",
		"data":                      "data:text/html,x",
		"another scheme":            "ftp://op.example.net/",
		"opaque":                    "https:op.example.net",
		"no host":                   "https:///x",
		"userinfo":                  "https://www.example.com@evil.example/",
		"password":                  "https://a:b@op.example.net/",
		"backslash":                 `https://op.example.net\@evil.example/`,
		"line break":                "https://op.example.net/\r\nSet-Cookie: a=b",
		"blank inside":              "https://op.example.net/a b",
		"nul":                       "https://op.example.net/\x00",
		"too long":                  "https://op.example.net/" + strings.Repeat("a", maxLink),
		"the gate itself":           "https://www.example.com/.number-verify/callback?state=x",
		"the gate's other page":     "https://www.example.com/account",
		"the gate, with its port":   "https://www.example.com:443/",
		"the gate, in other case":   "HTTPS://WWW.Example.COM/",
		"the gate, with a last dot": "https://www.example.com./",
		"not a URL":                 "https://%zz/",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := CheckLink(raw, LinkRules{Callback: callback}); !errors.Is(err, ErrLink) || errors.Is(err, ErrRevealed) {
				t.Errorf("admitted: %q, %v", got, err)
			}
		})
	}
}

func TestCheckLinkHoldsToOperatorHosts(t *testing.T) {
	hosts := []string{"op.example.net", "*.orange.example"}
	for host, want := range map[string]bool{
		"op.example.net": true, "OP.Example.NET": true, "op.example.net:8443": true, "a.orange.example": true, "a.b.orange.example": true,
		"orange.example": false, "evilorange.example": false, "op.example.net.evil.example": false, "xop.example.net": false, "example.net": false,
	} {
		if _, err := CheckLink("https://"+host+"/", LinkRules{Callback: callback, Hosts: hosts}); (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestCheckLinkFindsTheNonceInEverySpelling(t *testing.T) {
	escape := func(s, format string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, format, s[i])
		}
		return b.String()
	}
	spellings := map[string]string{
		"raw":                   nonce,
		"upper case":            strings.ToUpper(nonce),
		"percent-encoded":       escape(nonce, "%%%02x"),
		"percent, upper case":   escape(nonce, "%%%02X"),
		"percent, twice":        escape(nonce, "%%25%02x"),
		"percent, three times":  escape(nonce, "%%2525%02x"),
		"percent, in part":      nonce[:10] + escape(nonce[10:20], "%%%02x") + nonce[20:],
		"hex":                   hex.EncodeToString([]byte(nonce)),
		"hex, upper case":       strings.ToUpper(hex.EncodeToString([]byte(nonce))),
		"in a longer parameter": "https%3A%2F%2Fwww.example.com%2Fcallback%3Fstate%3D" + nonce,
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 {
			text := strings.Repeat("?", offset) + nonce + "&x=1"
			spellings[fmt.Sprintf("base64 at %d %p", offset, encoding)] = encoding.EncodeToString([]byte(text))
		}
	}
	for name, spelling := range spellings {
		for _, place := range []string{"https://op.example.net/?n=%s", "https://op.example.net/%s/x", "https://op.example.net/#%s"} {
			raw := strings.Replace(place, "%s", spelling, 1)
			_, err := CheckLink(raw, LinkRules{Callback: callback, Secrets: []string{"another secret of some length", nonce}})
			if !errors.Is(err, ErrRevealed) || !errors.Is(err, ErrLink) {
				t.Errorf("%s is not found in %s: %v", name, place, err)
			} else if strings.Contains(err.Error(), spelling) {
				t.Errorf("the error repeats the URL: %v", err)
			}
		}
	}
}

func FuzzCheckLink(f *testing.F) {
	f.Add("https://op.example.net/?n=" + nonce)
	f.Add("https://%6e0nce@x/")
	f.Add("http://a\\b")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := CheckLink(raw, LinkRules{Callback: callback, Secrets: []string{nonce}})
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil || u.Host == "" || u.User != nil || strings.Contains(got, nonce) {
			t.Errorf("admitted %q: %v", got, err)
		}
	})
}
