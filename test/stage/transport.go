package stage

import "net/http"

// FromAnywhere are global options that let tests choose the address that a visitor
// comes from.
const FromAnywhere = "servers {\n\t\t\ttrusted_proxies static 127.0.0.1/8\n\t\t}"

// From returns a visitor who comes from an address and has opened the form. The site
// must be loaded with FromAnywhere.
func (s *Stage) From(address string) *Visitor {
	s.T.Helper()
	v := s.Visitor()
	v.Always("X-Forwarded-For", func() string { return address })
	v.Follow(v.Open("/account/"))
	return v
}

// Always adds a field to all requests from now on, as a proxy or a login before the
// gate does.
func (v *Visitor) Always(name string, value func() string) {
	next := v.Client.Transport
	v.Client.Transport = RoundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set(name, value())
		return next.RoundTrip(r)
	})
}

// At returns the same browser, but its requests for the site go to another address.
func (v *Visitor) At(addr string) *Visitor {
	there, client, site := *v, *v.Client, v.urlOf("/").Host
	client.Transport = RoundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == site {
			r = r.Clone(r.Context())
			r.Host, r.URL.Host = site, addr
		}
		return v.Client.Transport.RoundTrip(r)
	})
	there.Client = &client
	return &there
}

// Resolve makes every name with the site's port lead to the site, as DNS would.
func (v *Visitor) Resolve() {
	v.transport.DialContext = DialTo(v.Stage.Addr)
}

// retried sends a request again if a reload broke its connection: the kernel resets
// connections that wait for a listener that is closed. Such a retry must not bill or
// lose anything.
func (s *Stage) retried(next http.RoundTripper) http.RoundTripper {
	return RoundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		for tries := 0; err != nil && tries < 20 && s.loads.Load() > 1; tries++ {
			if r.GetBody != nil {
				if r.Body, err = r.GetBody(); err != nil {
					return nil, err
				}
			}
			resp, err = next.RoundTrip(r)
		}
		return resp, err
	})
}

// RoundTripper is a function as an http.RoundTripper.
type RoundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f RoundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
