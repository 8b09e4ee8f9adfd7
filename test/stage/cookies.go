package stage

import (
	"net/http"
	"net/url"
	"strings"
)

// The names of the gate's cookies on a site that is served by http and sets no
// cookie_name.
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

// Cookies returns the values of the cookies that the browser sends to an address, by
// name.
func (v *Visitor) Cookies(address string) map[string]string {
	v.T.Helper()
	values := make(map[string]string)
	for _, c := range v.Client.Jar.Cookies(v.urlOf(address)) {
		values[c.Name] = c.Value
	}
	return values
}

// Cookie returns the value of a cookie that the browser sends to the site; "" if there
// is none.
func (v *Visitor) Cookie(name string) string {
	v.T.Helper()
	return v.Cookies("/")[name]
}

// CookieField returns all cookies that the browser sends to the site, as a field:
// "Cookie: a=b; c=d".
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

// PlantAt sets cookies as an answer from the address would.
func (v *Visitor) PlantAt(address string, cookies ...*http.Cookie) {
	v.T.Helper()
	v.Client.Jar.SetCookies(v.urlOf(address), cookies)
}

// Drop removes a cookie of the site.
func (v *Visitor) Drop(name string) {
	v.T.Helper()
	v.PlantAt("/", &http.Cookie{Name: name, MaxAge: -1, Path: "/"})
}

// Keep returns a function that restores all cookies of the site as they are now.
func (v *Visitor) Keep() (restore func()) {
	v.T.Helper()
	kept := v.Client.Jar.Cookies(v.urlOf("/"))
	return func() { v.PlantAt("/", kept...) }
}

// Tab returns another tab of the same browser, as if answers to the other tabs had not
// arrived yet. It has only the browser's cookie for an address, and the given session
// unless that is "".
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

// Thief returns another browser that has one stolen cookie.
func (s *Stage) Thief(name, value string) *Visitor {
	s.T.Helper()
	thief := s.Visitor()
	thief.Plant(name, value)
	return thief
}
