package main

import (
	"cmp"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

// showRequest is the site behind the gate: it shows the request that reached it.
func showRequest(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	var headers []header
	for name, values := range r.Header {
		headers = append(headers, header{name, strings.Join(values, ", "), strings.HasPrefix(name, "X-Verified-")})
	}
	slices.SortFunc(headers, func(a, b header) int {
		switch {
		case a.Verified == b.Verified:
			return cmp.Compare(a.Name, b.Name)
		case a.Verified: // the gate's headers come first
			return -1
		default:
			return 1
		}
	})
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
td:first-child{min-width:7rem}
tr.verified{background:#dcfce7;font-weight:600}
nav a{display:inline-block;padding:.5rem 0}
button{font:inherit;min-height:2.75rem;padding:.5rem 1rem}
</style>
<main>
<h1>A small site</h1>
{{if .Number}}<p>The gate vouches for <strong>{{.Number}}</strong>.</p>
{{else if eq .URI "/"}}<p>Nobody is vouched for here: this page is open to all. Open the account, and the gate in front of the site asks for a number first. Choose one there: each shows another outcome.</p>
{{else}}<p>Nobody is vouched for here.</p>
{{end}}<nav>
<a href="/">Home, open to all</a>
<a href="/account/?tab=1">Account, for verified visitors</a>
<a href="/transfer">Transfer, verified within a minute</a>
<form method="post" action="/.number-verify/sign-out"><input type="hidden" name="return" value="/account/?tab=1"><button>Sign out, and choose another number</button></form>
</nav>
<h2>What reached the site</h2>
<p><code>{{.Method}} {{.URI}}</code></p>
<table>{{range .Headers}}<tr{{if .Verified}} class="verified"{{end}}><td>{{.Name}}</td><td>{{.Value}}</td></tr>{{end}}</table>
</main>
</html>
`))
