package numberverify_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
)

// BenchmarkLoad puts 32 visitors at a time on a real Caddy, over sockets, with the
// upstream and the provider in the same process. What the gate costs a site is the
// difference between an open path, a verified request and a refused one of the
// same run; a verification is the form, the start, the operator, the callback and
// the calls between them.
func BenchmarkLoad(b *testing.B) {
	w := newWorld(b, simulator.Options{})
	site := strings.Replace(account, "VERIFIER", "VERIFIER\nlimits {\nnumber 1000000 1h 1000000\nclient 1000000 1h\nglobal off\n}", 1)
	if err := loadCaddyfile(strings.Replace(w.expand(w.global("")+site), "level DEBUG", "level WARN", 1)); err != nil {
		b.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	b.Cleanup(transport.CloseIdleConnections)
	visitor := w.browser()
	visitor.arrivesAt("/account/")
	for _, c := range []struct {
		name, path string
		isVerified bool
		status     int
	}{
		{"open path", "/public", false, http.StatusOK},
		{"verified", "/account/", true, http.StatusOK},
		{"refused", "/account/", false, http.StatusSeeOther},
	} {
		b.Run(c.name, func(b *testing.B) {
			underLoad(b, func() {
				r := visitor.request(http.MethodGet, c.path, nil)
				if c.isVerified {
					for _, cookie := range visitor.client.Jar.Cookies(r.URL) {
						r.AddCookie(cookie)
					}
				}
				answer, err := transport.RoundTrip(r)
				if err != nil {
					b.Error(err)
					return
				}
				defer answer.Body.Close()
				if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != c.status {
					b.Errorf("status %d, %v", answer.StatusCode, err)
				}
			})
			w.upstream.take()
		})
	}
	b.Run("verification", func(b *testing.B) {
		underLoad(b, func() {
			v := w.browser()
			v.client.Transport = transport
			if end := v.verify("/account/", "06 39 98 00 01"); end.StatusCode != http.StatusOK || end.Request.URL.Path != "/account/" {
				b.Errorf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.code())
			}
		})
	})
}

// underLoad repeats what one visitor does, for many at a time.
func underLoad(b *testing.B, visit func()) {
	b.SetParallelism(16) // for each of the processors
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			visit()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "visits/s")
}
