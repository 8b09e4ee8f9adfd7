package stage

import (
	"net/http"
	"net/url"
	"strings"
)

// The gate's cookies, unless the site is by https or names them itself.
const (
	SessionCookie = "number-verify"
	BrowserCookie = "number-verify-browser"
)

func (v *Visitor) urlOf(address string) *url.URL {
	v.T.Helper()
	if strings.HasPrefix(address, "/") {
		address = v.Origin + address
	}
	u, err := url.Parse(address)
	if err != nil {
		v.T.Fatal(err)
	}
	return u
}

// Cookies are those that are sent to an address, by name.
func (v *Visitor) Cookies(address string) map[string]string {
	v.T.Helper()
	values := make(map[string]string)
	for _, c := range v.Client.Jar.Cookies(v.urlOf(address)) {
		values[c.Name] = c.Value
	}
	return values
}

// Cookie is the value of one that is sent to the site; "" where there is none.
func (v *Visitor) Cookie(name string) string {
	v.T.Helper()
	return v.Cookies("/")[name]
}

// CookieField is what is sent to the site, as a field: "Cookie: a=b; c=d".
func (v *Visitor) CookieField() string {
	v.T.Helper()
	var all []string
	for name, value := range v.Cookies("/") {
		all = append(all, name+"="+value)
	}
	return "Cookie: " + strings.Join(all, "; ")
}

// Plant sets a cookie for all paths of the site.
func (v *Visitor) Plant(name, value string) {
	v.T.Helper()
	v.PlantAt("/", &http.Cookie{Name: name, Value: value, Path: "/"})
}

// PlantAt sets cookies as an answer from an address would.
func (v *Visitor) PlantAt(address string, cookies ...*http.Cookie) {
	v.T.Helper()
	v.Client.Jar.SetCookies(v.urlOf(address), cookies)
}

// Drop loses a cookie of the site.
func (v *Visitor) Drop(name string) {
	v.T.Helper()
	v.PlantAt("/", &http.Cookie{Name: name, MaxAge: -1, Path: "/"})
}

// Keep returns what brings back all cookies of the site as they are now.
func (v *Visitor) Keep() (restore func()) {
	v.T.Helper()
	kept := v.Client.Jar.Cookies(v.urlOf("/"))
	return func() { v.PlantAt("/", kept...) }
}

// Tab is another tab of the same browser, with its browser cookie of an address and
// a session, or none: as if the answers to its other tabs had not arrived yet.
func (v *Visitor) Tab(address, session string) *Visitor {
	v.T.Helper()
	tab := v.Stage.VisitorAt(v.T, v.Origin)
	tab.Client.Transport = v.Client.Transport
	cookies := []*http.Cookie{{Name: BrowserCookie, Value: v.Cookies(address)[BrowserCookie], Path: "/"}}
	if session != "" {
		cookies = append(cookies, &http.Cookie{Name: SessionCookie, Value: session, Path: "/"})
	}
	tab.PlantAt(address, cookies...)
	return tab
}

// Thief is another browser with one cookie of somebody's.
func (s *Stage) Thief(name, value string) *Visitor {
	s.T.Helper()
	thief := s.Visitor()
	thief.Plant(name, value)
	return thief
}
