package command_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/test/manual"
	"github.com/numberverify/caddy-number-verify/test/stage"
)

// templates are the names that docs/pages.md gives them.
var templates = []string{"base.html", "form.html", "problem.html", "wait.html"}

func TestExportedTemplatesLoadAndOverwriteNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "pages")
	got := run(t, "", "pages", "export", dir)
	got.has(t, 0, filepath.Join(dir, "form.html"), "pages "+dir)
	for _, name := range templates {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(text) != manual.Page(t, "internal/pages/templates/"+name) {
			t.Errorf("%s is not the built-in one: %v", name, err)
		}
	}
	sim := simulator.New(simulator.Options{})
	run(t, "", "check", "--config", configuration(t, dqeThat(t, sim.ServeHTTP), "", "pages "+dir)).has(t, 0)

	own := filepath.Join(dir, "form.html")
	if err := os.WriteFile(own, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "wait.html")); err != nil {
		t.Fatal(err)
	}
	run(t, "", "pages", "export", dir).has(t, 1, "base.html, form.html, problem.html", "--force")
	if text, _ := os.ReadFile(own); string(text) != "mine" {
		t.Errorf("a file was overwritten: %.40q", text)
	}
	if _, err := os.Stat(filepath.Join(dir, "wait.html")); err == nil {
		t.Error("after an error a file was written")
	}
	run(t, "", "pages", "export", dir, "--force").has(t, 0)
	if text, _ := os.ReadFile(own); string(text) == "mine" {
		t.Error("--force overwrites nothing")
	}
	run(t, "", "pages", "export").has(t, 1, "one <directory>")
	run(t, "", "pages").has(t, 0, "export", "preview")
	run(t, "", "pages", "nonsense").has(t, 1, "no such command")
}

// shownAt starts a preview and returns its address. It ends with the test, by Ctrl-C.
func shownAt(t *testing.T, args ...string) string {
	t.Helper()
	cmd := stage.Command(append([]string{"number-verify", "pages", "preview"}, args...)...)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_, address, ok := strings.Cut(strings.TrimSpace(line), "http://")
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil && ok {
			t.Errorf("after Ctrl-C: %v\n%s", err, &complaints)
		}
	})
	if !ok {
		t.Fatalf("there is no address in %q\n%s", line, &complaints)
	}
	return "http://" + strings.TrimSuffix(address, "/")
}

func get(t *testing.T, address string) (status int, header http.Header, body string) {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

var linkOf = regexp.MustCompile(`<a href="(/(en|fr)/[^"]+)">`)

func TestPreviewShowsEveryPageInEveryStateAndLanguage(t *testing.T) {
	at := shownAt(t)
	_, _, index := get(t, at+"/")
	links := linkOf.FindAllStringSubmatch(index, -1)
	if want := 2 * (7 + 2*len(refusal.Codes())); len(links) != want {
		t.Errorf("the index leads to %d pages, want %d", len(links), want)
	}
	seen := make(map[string]bool)
	for _, m := range links {
		_, header, body := get(t, at+m[1])
		if !strings.Contains(body, `<html lang="`+m[2]+`"`) || !strings.Contains(body, "</html>") {
			t.Errorf("%s is no page in that language: %.200s", m[1], body)
		}
		nonce := regexp.MustCompile(`<style nonce="([^"]+)"`).FindStringSubmatch(body)
		if nonce == nil || !strings.Contains(header.Get("Content-Security-Policy"), "style-src 'nonce-"+nonce[1]+"'") || seen[nonce[1]] {
			t.Errorf("%s: the policy is %q", m[1], header.Get("Content-Security-Policy"))
		}
		seen[nonce[1]] = true
		if _, refresh, ok := strings.Cut(body, `http-equiv="refresh" content="`); ok && !strings.HasPrefix(refresh, "3600;") {
			t.Errorf("%s does not stay", m[1])
		}
	}
	for _, code := range refusal.Codes() {
		for _, name := range []string{"form.", "problem."} {
			if status, _, body := get(t, at+"/en/"+name+string(code)); status != code.Status() || !strings.Contains(body, `data-code="`+string(code)+`"`) {
				t.Errorf("%s%s: %d", name, code, status)
			}
		}
	}
	for path, want := range map[string]string{
		"/en/form": `name="number"`, "/en/form.known": "+33 6 •• •• •• 01", "/en/form.verified": "already confirmed", "/en/wait": "One moment",
		"/en/wait.done": "Your number is confirmed", "/en/problem": "There is no page here",
	} {
		if _, _, body := get(t, at+path); !strings.Contains(strings.ReplaceAll(body, "&#43;", "+"), want) {
			t.Errorf("%s does not show %q", path, want)
		}
	}
	resp, err := http.PostForm(at+"/.number-verify/start", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.Request.URL.Path != "/" || resp.StatusCode != http.StatusOK {
		t.Errorf("pressing the button leads to %s, %d", resp.Request.URL.Path, resp.StatusCode)
	}
}

func TestPreviewShowsTheConfigurationsPagesAsTheyAreNow(t *testing.T) {
	dir := t.TempDir()
	wait := filepath.Join(dir, "wait.html")
	page := `{{define "content"}}<main><a href="{{.RefreshURL}}">%s</a></main>{{end}}`
	put := func(text string) {
		if err := os.WriteFile(wait, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(fmt.Sprintf(page, "first version"))
	at := shownAt(t, "--config", configuration(t, "http://127.0.0.1:1", "", "pages "+dir+"\n\tbrand \"The Shop\"\n\tpath /verify"))
	if _, _, body := get(t, at+"/fr/wait"); !strings.Contains(body, "first version") || !strings.Contains(body, "The Shop") || !strings.Contains(body, "/verify/wait/") {
		t.Errorf("it shows %s", body)
	}
	put(fmt.Sprintf(page, "second version"))
	if _, _, body := get(t, at+"/fr/wait"); !strings.Contains(body, "second version") {
		t.Errorf("after a change it shows %s", body)
	}
	put(`{{define "content"}}{{.Nothing}}{{end}}`)
	if status, _, body := get(t, at+"/fr/form"); status != http.StatusInternalServerError || !strings.Contains(body, "wait.html:1") {
		t.Errorf("of a mistake it says %d, %s", status, body)
	}
}

// TestPreviewIsForThisMachineAlone: whoever is on the same network must not see it.
func TestPreviewIsForThisMachineAlone(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:80", "www.example.com:80", "127.0.0.1"} {
		run(t, "", "pages", "preview", "--listen", address).has(t, 1, "loopback address")
	}
	if at := shownAt(t, "--listen", "localhost:0"); at == "" {
		t.Error("localhost is no loopback address")
	}
}
