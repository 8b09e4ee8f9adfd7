package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/numberverify/caddy-number-verify/internal/address"
	"github.com/numberverify/caddy-number-verify/internal/pages"
)

func previewCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "preview [--config <path> [--adapter <name>]] [--site <host>] [--listen <address>]",
		Short: "Shows every page in every state",
		Long: `
Serves an index of every page in every state and language, on this machine alone, until
Ctrl-C. Nobody is verified, and no provider is called.

With --config the pages are those of that configuration: with its templates, brand and
links. Templates are read anew for each page, so reload the page after a change. Without
--config they are the built-in ones.`,
		Example: `  $ caddy number-verify pages preview
  $ caddy number-verify pages preview --config /etc/caddy/Caddyfile --listen 127.0.0.1:8090`,
		RunE: runs(servePreview),
	}
	cmd.Flags().StringP("config", "c", "", "configuration file whose pages to show; default: the built-in pages")
	cmd.Flags().StringP("adapter", "a", "", "adapter of the configuration file, if it is no Caddyfile and no JSON")
	addSiteFlag(cmd)
	cmd.Flags().String("listen", "127.0.0.1:0", "loopback address and port to listen on")
	return cmd
}

func servePreview(cmd *cobra.Command) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	set := flags{cmd.Flags()}
	p := &preview{base: "/.number-verify", pages: func() (*pages.Pages, error) { return pages.New(pages.Options{}) }}
	if set.text("config") != "" {
		g, err := set.gate()
		if err != nil {
			return err
		}
		p.base, p.pages = g.Path, g.Pages
	}
	listener, err := listen(ctx, set.text("listen"))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: onLoopback(p), ReadHeaderTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Fprintf(cmd.OutOrStdout(), "Every page in every state: http://%s/\nCtrl-C ends this.\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// onLoopback refuses requests for other hosts: a page from elsewhere, whose name has come
// to mean this machine, must not read templates.
func onLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !address.IsLoopback(address.Name(r.Host)) {
			w.WriteHeader(http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// listen listens on a loopback address, and on no other.
func listen(ctx context.Context, where string) (net.Listener, error) {
	errElsewhere := errors.New("--listen must be a loopback address with a port, like 127.0.0.1:8090: the preview is for this machine alone")
	host, _, err := net.SplitHostPort(where)
	if err != nil || !address.IsLoopback(host) {
		return nil, errElsewhere
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", where)
	if err != nil {
		return nil, err
	}
	if bound, ok := listener.Addr().(*net.TCPAddr); !ok || !bound.IP.IsLoopback() {
		return nil, errors.Join(errElsewhere, listener.Close())
	}
	return listener, nil
}

// preview serves an index, and each page under /{language}/{state}.
type preview struct {
	base  string
	pages func() (*pages.Pages, error)
}

// index lists the pages.
var index = template.Must(template.New("").Parse(`<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Pages of number_verify</title>
<h1>Pages of number_verify</h1>
<p>Every page in every state, with made-up data. Nothing that you press here is sent to anybody.</p>
<table>{{range $state := .States}}
<tr><td>{{.Title}}</td>{{range $.Languages}}<td><a href="/{{.}}/{{$state.ID}}">{{.}}</a></td>{{end}}</tr>{{end}}
</table>
`))

// ServeHTTP implements http.Handler. What the pages' own buttons and links lead to is
// answered by the index.
func (p *preview) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	states := pages.States(p.base)
	for _, language := range pages.Languages() {
		for _, state := range states {
			if r.URL.Path == "/"+language+"/"+state.ID {
				p.serve(w, language, &state)
				return
			}
		}
	}
	if r.URL.Path != "/" || r.Method != http.MethodGet {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	slices.SortStableFunc(states, func(a, b pages.State) int { return slices.Index(order, a.Page) - slices.Index(order, b.Page) })
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = index.Execute(w, map[string]any{"States": states, "Languages": pages.Languages()}) // the client may be gone
}

// order is that of the pages in the index.
var order = []pages.Name{pages.Form, pages.Wait, pages.Problem}

// serve shows a page as the gate does. A mistake in a template is shown in its place.
func (p *preview) serve(w http.ResponseWriter, language string, state *pages.State) {
	data := state.Data
	data.Lang, data.Nonce = language, rand.Text()
	visible, err := p.pages()
	var body []byte
	if err == nil {
		body, err = visible.Render(state.Page, data)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Security-Policy", visible.Policy(data.Nonce))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(data.Status)
	_, _ = w.Write(body) // the client may be gone
}
