package adversary

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// forged is what only an adversary says.
const forged = "forged"

// vouched are the names of all headers, trailers too, that the site might take
// for the gate's word, with their values.
func vouched(r *stage.Received) map[string][]string {
	all := make(map[string][]string)
	for _, fields := range []http.Header{r.Header, r.Trailer} {
		for name, values := range fields {
			if strings.HasPrefix(folded(name), "x-verified-") {
				all[folded(name)] = append(all[folded(name)], values...)
			}
		}
	}
	return all
}

// folded is a header's name as those servers read it that fold most: they make
// one separator of all that is no letter or digit.
func folded(name string) string {
	return separator.ReplaceAllString(strings.ToLower(name), "-")
}

var separator = regexp.MustCompile(`[^a-z0-9]`)

// unverified checks what arrived of somebody who is not verified.
func (s *site) unverified(t *testing.T) {
	t.Helper()
	for _, r := range s.Upstream.Take() {
		for _, breach := range breaches(t, r) {
			t.Error(breach)
		}
	}
}

// breaches are what must not have arrived of somebody who is not verified:
// anything that is behind the gate, or that claims to be vouched for.
func breaches(t *testing.T, r *stage.Received) []string {
	t.Helper()
	all := illegal(r)
	if servesProtected(t, r.RequestURI) {
		all = append(all, r.String()+" reached the site unverified")
	}
	if vouched := vouched(r); len(vouched) > 0 {
		all = append(all, fmt.Sprintf("%v reached the site with forged %v", r, vouched))
	}
	return all
}

// verified checks what arrived of the visitor, with the gate's word and nobody
// else's, and returns how many requests did.
func (s *site) verified(t *testing.T) int {
	t.Helper()
	got := s.Upstream.Take()
	for _, r := range got {
		for _, breach := range illegal(r) {
			t.Error(breach)
		}
		vouched := vouched(r)
		for name, values := range vouched {
			if len(values) != 1 || strings.Contains(values[0], forged) {
				t.Errorf("%s: %q", name, values)
			}
		}
		if len(vouched) != 3 || vouched["x-verified-number"] == nil || vouched["x-verified-number"][0] != stage.VisitorsNumber {
			t.Errorf("the gate's word arrived as %v", vouched)
		}
	}
	return len(got)
}

// illegal is what must never arrive, whoever sent it.
func illegal(r *stage.Received) []string {
	var all []string
	if asksForTunnel(r) || r.Header.Get("HTTP2-Settings") != "" {
		all = append(all, fmt.Sprintf("%v asks the site for another protocol: %q", r, r.Header.Get("Upgrade")))
	}
	if strings.Contains(strings.Join(r.Header["Cookie"], ";"), "number-verify") {
		all = append(all, r.String()+" brings a cookie of the gate")
	}
	if len(r.Trailer) > 0 {
		all = append(all, fmt.Sprintf("%v has trailers %v", r, r.Trailer))
	}
	return all
}

// asksForTunnel says that the site was asked to speak another protocol from then on,
// which no gate sees into.
func asksForTunnel(r *stage.Received) bool {
	protocol := strings.ToLower(strings.Join(r.Header["Upgrade"], ", "))
	return protocol != "" && protocol != "websocket"
}
