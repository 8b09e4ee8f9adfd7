package stage

import (
	"html"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Answer is a response whose body was read. Its status is 0 if none came.
type Answer struct {
	*http.Response
	Body string
}

func answerOf(status int, header http.Header, body string) *Answer {
	return &Answer{&http.Response{StatusCode: status, Header: header}, body}
}

// Location is the address that the answer redirects to; "" if it does not.
func (a *Answer) Location() string { return a.Header.Get("Location") }

// Path is the path of the request.
func (a *Answer) Path() string { return a.Request.URL.Path }

// Is checks a refusal's status and code.
func (a *Answer) Is(t testing.TB, status int, code string) {
	t.Helper()
	if a.StatusCode != status || a.Code() != code {
		t.Errorf("answers %d %q, want %d %q", a.StatusCode, a.Code(), status, code)
	}
}

var dataCode = regexp.MustCompile(`<main[^>]* data-code="([^"]*)"|"code":"([^"]*)"`)

// Code is the code in a page or in a JSON problem; "" if there is none.
func (a *Answer) Code() string {
	if m := dataCode.FindStringSubmatch(a.Body); m != nil {
		return m[1] + m[2]
	}
	return ""
}

var reference = regexp.MustCompile(`(?:>R[eé]f[eé]rence |"reference":")([0-9A-Z]{8})\b`)

// Reference is the reference that a page or a JSON answer shows; "" if there is none.
func (a *Answer) Reference() string {
	if m := reference.FindStringSubmatch(a.Body); m != nil {
		return m[1]
	}
	return ""
}

// RetryAfter checks that the header Retry-After is from least to most.
func (a *Answer) RetryAfter(t testing.TB, least, most time.Duration) {
	t.Helper()
	seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
	if after := time.Duration(seconds) * time.Second; err != nil || after < least || after > most {
		t.Errorf("Retry-After: %q, want %v to %v", a.Header.Get("Retry-After"), least, most)
	}
}

var refresh = regexp.MustCompile(`(?i)<meta http-equiv="refresh" content="\d+; ?url=([^"]+)"`)

// Refresh is the address that a page opens by itself; "" if it stays.
func (a *Answer) Refresh() string {
	if m := refresh.FindStringSubmatch(a.Body); m != nil {
		return html.UnescapeString(m[1])
	}
	return ""
}

// Cookie is the value of a cookie that the answer sets; "" if it does not.
func (a *Answer) Cookie(name string) string {
	for _, line := range a.Header["Set-Cookie"] {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			value, _, _ = strings.Cut(value, ";")
			return value
		}
	}
	return ""
}

// Clears tells whether the answer removes a cookie.
func (a *Answer) Clears(name string) bool {
	for _, c := range a.Cookies() {
		if c.Name == name && c.MaxAge < 0 {
			return true
		}
	}
	return false
}
