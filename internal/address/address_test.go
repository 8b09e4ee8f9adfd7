package address

import (
	"net/url"
	"testing"
)

func TestLoopbackIsThisMachineInAnySpelling(t *testing.T) {
	for _, host := range []string{"localhost", "LOCALHOST", "localhost.", "app.localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]", "::ffff:127.0.0.1"} {
		if !IsLoopback(host) {
			t.Errorf("%s is not", host)
		}
	}
	for _, host := range []string{"", "localhost.example.com", "notlocalhost", "0.0.0.0", "::", "192.0.2.1", "127.0.0.1.example.com", "127.1"} {
		if IsLoopback(host) {
			t.Errorf("%s is", host)
		}
	}
}

func TestSpellingsOfOneServerAreOne(t *testing.T) {
	for normal, spellings := range map[string][]string{
		"example.com":      {"https://example.com", "https://EXAMPLE.com:443", "https://example.com.", "https://example.com.:443", "http://example.com:80", "https://example.com:"},
		"example.com:8443": {"https://example.com:8443", "https://Example.com.:8443", "http://example.com:8443"},
		"example.com:80":   {"https://example.com:80"},
		"[::1]":            {"https://[::1]", "https://[::1]:443", "http://[::1]:80"},
		"[::1]:8080":       {"http://[::1]:8080"},
	} {
		for _, s := range spellings {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			if got := Server(u); got != normal {
				t.Errorf("%s is %s, want %s", s, got, normal)
			}
		}
	}
	for host, name := range map[string]string{"example.com": "example.com", "example.com:80": "example.com", "[::1]": "::1", "[::1]:80": "::1"} {
		if got := Name(host); got != name {
			t.Errorf("the name of %s is %s", host, got)
		}
	}
}

// A link is written on a page as it is.
func TestLinksThatABrowserWouldReadOtherwiseAreRefused(t *testing.T) {
	for _, s := range []string{"https://www.example.com/help?a=b#c", "http://localhost", "/help", "/", "mailto:help@example.com", "tel:+33639980001"} {
		if !IsLink(s) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{
		"", "help", "javascript:alert(1)", "JavaScript:alert(1)", "java\tscript:alert(1)", "data:text/html,x", "vbscript:x",
		"//www.example.com", "///www.example.com", "/\\www.example.com", "\\\\www.example.com", "https:///x", "https:x", "https://a:b@www.example.com",
		"/a b", "/a\nb", "/a\u0085b", "/a\"b", "/a'b", "/<a>", "/`", "mailto:", "tel:", "ftp://www.example.com", "https://%zz",
	} {
		if IsLink(s) {
			t.Errorf("%q passes", s)
		}
	}
}
