package acceptance_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// BenchmarkLoad puts 32 visitors at a time on a real Caddy, over sockets, with the
// upstream and the provider in the same process. What the gate costs a site is the
// difference between an open path, a verified request and a refused one of the
// same run; a verification is the form, the start, the operator, the callback and
// the calls between them.
func BenchmarkLoad(b *testing.B) {
	w := stage.New(b, simulator.Options{})
	site := strings.Replace(account, "VERIFIER", "VERIFIER\nlimits {\nnumber 1000000 1h 1000000\nclient 1000000 1h\nglobal off\n}", 1)
	w.LogLevel = "WARN"
	w.Load(site)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	b.Cleanup(transport.CloseIdleConnections)
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
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
				r := visitor.Request(http.MethodGet, c.path, nil)
				if c.isVerified {
					for _, cookie := range visitor.Client.Jar.Cookies(r.URL) {
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
			w.Upstream.Take()
		})
	}
	b.Run("verification", func(b *testing.B) {
		underLoad(b, func() {
			v := w.Visitor()
			v.Client.Transport = transport
			if end := v.Verify("/account/", "06 39 98 00 01"); end.StatusCode != http.StatusOK || end.Request.URL.Path != "/account/" {
				b.Errorf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.Code())
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
