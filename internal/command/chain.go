package command

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/remote"
	"github.com/numberverify/caddy-number-verify/verifier"
)

const (
	maxHops  = 20
	hopTime  = 10 * time.Second
	maxBody  = 1 << 20
	maxPause = 3 * time.Second
	// mobile is the User-Agent that operators see: that of a mobile browser.
	mobile = "Mozilla/5.0 (Linux; Android 14; Mobile) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36"
)

// tracer follows the pages of one attempt.
type tracer struct {
	out      io.Writer
	number   string // in E.164
	callback *url.URL
	secrets  map[string]string // by name
	client   *http.Client
	found    bool // a secret was shown before the last hop
	arrived  bool // the last hop leads to the site
}

// newTracer returns a tracer that prints to out.
func newTracer(out io.Writer, number string, callback *url.URL, nonce string) *tracer {
	jar, _ := cookiejar.New(nil) // never fails, by its documentation
	return &tracer{
		out: out, number: number, callback: callback, secrets: map[string]string{"nonce": nonce},
		client: &http.Client{
			Jar:           jar,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// page is the answer of one hop.
type page struct {
	status int
	header http.Header
	body   string
}

var (
	errTooLong = fmt.Errorf("the chain has more than %d hops", maxHops)
	errScheme  = errors.New("the chain leads out of the web, to an app perhaps")
)

// follow fetches link and then page after page, until one leads to the site, or to no
// other page. An error says why it stopped earlier. Operators' pages must not lead into
// the network of this machine, unless the link itself does, as a simulator's.
func (t *tracer) follow(ctx context.Context, link string) error {
	at, err := url.Parse(link)
	if err != nil {
		return errors.New("the operator's link cannot be parsed")
	}
	may := remote.IsPublic
	if address.IsLoopback(at.Hostname()) {
		may = nil
	}
	t.client.Transport = remote.NewTransport(hopTime, maxBody, may)
	for hop := 1; hop <= maxHops; hop++ {
		if at.Scheme != "http" && at.Scheme != "https" {
			return errScheme
		}
		p, err := t.fetch(ctx, at)
		if err != nil {
			fmt.Fprintf(t.out, "%2d  ---  %s\n", hop, t.host(at))
			return err
		}
		next, wait := p.next(at)
		t.look(hop, at, p, next)
		if next == nil || t.isSite(next) {
			return nil
		}
		at = next
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return verifier.TransportError(ctx.Err())
		}
	}
	return errTooLong
}

// fetch asks for one page.
func (t *tracer) fetch(ctx context.Context, at *url.URL) (*page, error) {
	ctx, cancel := context.WithTimeout(ctx, hopTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, verifier.TransportError(err)
	}
	r.Header.Set("User-Agent", mobile)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	r.Header.Set("Accept-Language", "fr,en;q=0.8")
	resp, err := t.client.Do(r)
	if err != nil {
		return nil, verifier.TransportError(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return nil, verifier.TransportError(err)
	}
	return &page{resp.StatusCode, resp.Header, string(body)}, nil
}

// look prints which secrets a hop shows. If the hop leads to the callback, only its
// address is searched: its answer has to hold the nonce.
func (t *tracer) look(hop int, at *url.URL, p *page, next *url.URL) {
	var header strings.Builder
	_ = p.header.Write(&header) // to memory
	places := []struct{ name, text string }{{"its address", at.String()}}
	ends := ""
	if next != nil && t.isSite(next) {
		ends, t.arrived = "; leads to the site", true
	} else {
		places = append(places, struct{ name, text string }{"a header", header.String()}, struct{ name, text string }{"its body", p.body})
		if next == nil {
			ends = "; leads nowhere by itself"
		}
	}
	var shows []string
	for _, place := range places {
		for _, name := range []string{"nonce", "token"} {
			if holds(place.text, t.secrets[name]) {
				shows = append(shows, "the "+name+" in "+place.name)
			}
		}
	}
	t.found = t.found || len(shows) > 0
	if len(shows) == 0 {
		shows = []string{"neither"}
	}
	fmt.Fprintf(t.out, "%2d  %d  %s  shows %s%s\n", hop, p.status, t.host(at), strings.Join(shows, ", "), ends)
}

// report prints the findings, and returns the error that ends the command. err is that
// of follow.
func (t *tracer) report(err error) error {
	if err != nil {
		fmt.Fprintln(t.out, "The chain was not followed to its end:", err)
	}
	if t.arrived {
		fmt.Fprintln(t.out, "The last hop leads back to the site without the SIM, with the nonce: whoever opens the link first learns it. Have the provider confirm that the first outcome stands, and that a link works once.")
	}
	switch {
	case t.found:
		fmt.Fprintln(t.out, "Whoever fetches these pages learns a secret of the attempt, without the SIM. Ask the provider to have it hidden.")
		return errSaid
	case err != nil:
		return errNothing
	default:
		fmt.Fprintln(t.out, "Nothing shows the nonce or the token before the last hop, as far as a machine without the SIM can see.")
		return nil
	}
}

// isSite tells whether an address is on the callback's host. Such an address is
// never fetched.
func (t *tracer) isSite(u *url.URL) bool { return strings.EqualFold(u.Host, t.callback.Host) }

// host returns the host of an address, or a note in its place if the host reveals
// the number or a secret.
func (t *tracer) host(u *url.URL) string {
	digits := regexp.MustCompile(`[^0-9]`).ReplaceAllString(u.Host, "")
	if len(u.Hostname()) > 100 || strings.Contains(digits, t.number[len(t.number)-6:]) {
		return "(host not printed)"
	}
	for _, secret := range t.secrets {
		if holds(u.Host, secret) {
			return "(host not printed)"
		}
	}
	return printable(u.Host)
}

var unicodeEscape = regexp.MustCompile(`\\(?:u00|x)([0-9a-fA-F]{2})`)

// holds tells whether text holds secret, as it is, encoded, or escaped as in HTML or
// a script.
func holds(text, secret string) bool {
	script := unicodeEscape.ReplaceAllString(text, "%$1")
	return slices.ContainsFunc([]string{text, html.UnescapeString(text), script}, func(reading string) bool {
		return verifier.Reveals(reading, secret)
	})
}

var (
	metaTag     = regexp.MustCompile(`(?is)<meta\b[^>]*http-equiv\s*=\s*["']?refresh\b[^>]*>`)
	metaContent = regexp.MustCompile(`(?is)\bcontent\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))`)
	refresh     = regexp.MustCompile(`(?is)^\s*([0-9]*)[0-9.]*\s*(?:[;,\s]\s*(?:url\s*=\s*)?["']?([^"']*?)["']?\s*)?$`)
)

// next returns the address that a page leads to by itself, and the delay; nil if it
// leads nowhere.
func (p *page) next(at *url.URL) (*url.URL, time.Duration) {
	target, wait := p.header.Get("Location"), time.Duration(0)
	if p.status < 300 || p.status > 399 || target == "" {
		m := refresh.FindStringSubmatch(p.refresh())
		if m == nil || m[0] == "" {
			return nil, 0
		}
		seconds, _ := strconv.Atoi(m[1]) // 0 if it is no number
		target, wait = m[2], min(time.Duration(seconds)*time.Second, maxPause)
	}
	next, err := at.Parse(strings.TrimSpace(target))
	if err != nil {
		return nil, 0
	}
	return next, wait
}

// refresh returns the content of the Refresh header, or else of the page's meta
// element; "" if there is neither.
func (p *page) refresh() string {
	if header := p.header.Get("Refresh"); header != "" {
		return header
	}
	content := metaContent.FindStringSubmatch(metaTag.FindString(p.body))
	if content == nil {
		return ""
	}
	return html.UnescapeString(content[1] + content[2] + content[3])
}
