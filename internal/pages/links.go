package pages

import (
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/numberverify/caddy-number-verify/internal/address"
)

// checkLink returns raw as a link for a page, or an error that says how to write one.
// raw may be empty.
func checkLink(raw string) (template.URL, error) {
	if raw != "" && !address.IsLink(raw) {
		return "", fmt.Errorf("%q is no link for a page; write it like https://www.example.com/help, /help, mailto:help@example.com or tel:+33639980001", raw)
	}
	return template.URL(raw), nil // checked above
}

// maxLogo bounds a logo file, in bytes: phones load it with every page.
const maxLogo = 64 << 10

// logo is the address of an image, and its source in a Content-Security-Policy.
type logo struct {
	source template.URL
	policy string
}

// imageTypes are the file types that a logo may have.
var imageTypes = map[string]string{
	".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg",
	".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
}

// loadLogo checks a logo, which is an https URL or a local file. A file becomes part
// of the page, so that visitors load nothing more.
func loadLogo(raw string) (logo, error) {
	switch scheme, _, found := strings.Cut(raw, ":"); {
	case raw == "":
		return logo{}, nil
	case strings.EqualFold(scheme, "https") && found:
		return remoteLogo(raw)
	case strings.Contains(raw, "://") || strings.EqualFold(scheme, "data"):
		return logo{}, errors.New("the logo is neither a local file nor an https URL; write it like /etc/caddy/logo.svg")
	default:
		return localLogo(raw)
	}
}

// policyHost matches a host that may stand in a Content-Security-Policy. A blank or a
// semicolon in it would change the policy.
var policyHost = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?$`)

func remoteLogo(raw string) (logo, error) {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || !policyHost.MatchString(u.Host) || !address.IsPlain(raw) {
		return logo{}, fmt.Errorf("the logo %q is no plain https URL; write it like https://cdn.example.com/logo.svg", raw)
	}
	return logo{source: template.URL(raw), policy: "https://" + u.Host}, nil // checked above
}

func localLogo(file string) (logo, error) {
	kind, ok := imageTypes[strings.ToLower(filepath.Ext(file))]
	if !ok {
		return logo{}, fmt.Errorf("the logo %s is no image that pages can show; use a .svg, .png, .jpg, .webp or .gif file", file)
	}
	info, err := os.Stat(file)
	if err != nil {
		return logo{}, fmt.Errorf("the logo: %w; write the absolute path of an image", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxLogo {
		return logo{}, fmt.Errorf("the logo %s is no file of at most %d KiB; visitors load it with every page, so make it smaller, or name an https URL", file, maxLogo>>10)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return logo{}, fmt.Errorf("the logo: %w", err)
	}
	if !isImage(kind, content) {
		return logo{}, fmt.Errorf("the logo %s holds no %s; name the file by what it is", file, kind)
	}
	source := "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(content)
	return logo{source: template.URL(source), policy: "data:"}, nil // base64 of the operator's own file
}

func isImage(kind string, content []byte) bool {
	if kind == imageTypes[".svg"] {
		return strings.Contains(string(content), "<svg")
	}
	return http.DetectContentType(content) == kind
}
