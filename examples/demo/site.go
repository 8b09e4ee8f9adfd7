package main

import (
	"html/template"
	"net/http"
	"slices"
	"strings"
)

// showRequest is the site behind the gate: it shows what reaches it.
func showRequest(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	var names []string
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	var headers []header
	for _, name := range names {
		headers = append(headers, header{name, strings.Join(r.Header[name], ", "), strings.HasPrefix(name, "X-Verified-")})
	}
	err := page.Execute(w, map[string]any{
		"Method": r.Method, "URI": r.URL.RequestURI(), "Headers": headers,
		"Number": r.Header.Get("X-Verified-Number"),
	})
	if err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
	}
}

type header struct {
	Name, Value string
	Verified    bool
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A small site</title>
<style>
body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:0 auto;padding:1rem;color:#1b2430;background:#fff}
nav{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:center;margin:1rem 0}
table{border-collapse:collapse;width:100%}
td{padding:.25rem .5rem;border-top:1px solid #ddd;overflow-wrap:anywhere;vertical-align:top}
tr.verified{background:#dcfce7;font-weight:600}
button{font:inherit;padding:.5rem 1rem}
</style>
<h1>A small site</h1>
<p>{{if .Number}}The gate vouches for <strong>{{.Number}}</strong>.{{else}}Nobody is vouched for here.{{end}}</p>
<nav>
<a href="/">Home, open to all</a>
<a href="/account/?tab=1">Account, for verified visitors</a>
<a href="/transfer">Transfer, verified within a minute</a>
<form method="post" action="/.number-verify/sign-out"><input type="hidden" name="return" value="/"><button>Sign out</button></form>
</nav>
<h2>What reached the site</h2>
<p><code>{{.Method}} {{.URI}}</code></p>
<table>{{range .Headers}}<tr{{if .Verified}} class="verified"{{end}}><td>{{.Name}}</td><td>{{.Value}}</td></tr>{{end}}</table>
</html>
`))
