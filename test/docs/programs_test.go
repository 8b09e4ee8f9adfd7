package docs_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/test/manual"
)

// shown is the block of docs/integration.md of that kind which holds text.
func shown(t *testing.T, kind, text string) string {
	t.Helper()
	for _, block := range manual.Blocks(manual.Page(t, "docs/integration.md"), kind) {
		if strings.Contains(block, text) {
			return block
		}
	}
	t.Fatalf("docs/integration.md shows no %s with %q", kind, text)
	return ""
}

// TestProgramsOfTheDocumentationReadTheHeader runs the programs that are shown for
// sites, and asks them with the header and without it.
func TestProgramsOfTheDocumentationReadTheHeader(t *testing.T) {
	for kind, program := range map[string]struct {
		file    string
		command func(port, file string) []string
	}{
		"php":    {"account.php", func(port, file string) []string { return []string{"php", "-S", "localhost:" + port, file} }},
		"js":     {"account.mjs", func(_, file string) []string { return []string{"node", file} }},
		"python": {"account.py", func(_, file string) []string { return []string{"/usr/bin/python3", file} }},
		"go":     {"main.go", func(_, file string) []string { return []string{"go", "run", file} }},
	} {
		t.Run(kind, func(t *testing.T) {
			port := freePort(t)
			file := filepath.Join(t.TempDir(), program.file)
			text := strings.ReplaceAll(shown(t, kind, "No verified number."), "9000", port)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			serve(t, program.command(port, file))
			address := "http://localhost:" + port + "/account/"
			if status, body := ask(t, address, "+33639980001"); status != http.StatusOK || !strings.Contains(body, "Verified: +33639980001") {
				t.Errorf("with the header: %d %s", status, body)
			}
			if status, body := ask(t, address, ""); status != http.StatusForbidden {
				t.Errorf("without the header: %d %s", status, body)
			}
		})
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// serve runs a server until the test ends. It has a process group of its own, since
// go run starts another process.
func serve(t *testing.T, command []string) {
	t.Helper()
	server := exec.CommandContext(t.Context(), command[0], command[1:]...)
	server.SysProcAttr = ownGroup
	server.Cancel = func() error { return killGroup(server.Process.Pid) }
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = killGroup(server.Process.Pid)
		_ = server.Wait()
	})
}

// ask asks a server for a page, once it is there.
func ask(t *testing.T, address, number string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; <-tick.C {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if number != "" {
			r.Header.Set("X-Verified-Number", number)
			r.Header.Set("X-Verified-At", "2026-11-24T10:00:00Z")
		}
		resp, err := client.Do(r)
		if err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
		if err != nil {
			continue
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
}

// inBrowser runs a script of the documentation in Node, between what plays the browser.
func inBrowser(t *testing.T, before, script, after string) string {
	t.Helper()
	const browser = `
globalThis.location = { href: "https://www.example.com/account/?tab=1", pathname: "/account/", search: "?tab=1",
	assign: (address) => console.log("goes to", String(address)) };
`
	node := exec.CommandContext(t.Context(), "node", "--input-type=module", "--eval", browser+before+script+after)
	out, err := node.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestScriptForHtmxLeadsToTheFormAndBack(t *testing.T) {
	block := shown(t, "html", "htmx:responseError")
	script := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(block), "<script>"), "</script>")
	const before = `
let listener;
globalThis.document = { addEventListener: (name, told) => { if (name === "htmx:responseError") listener = told; } };
`
	for name, test := range map[string]struct{ contentType, body, want string }{
		"the gate's refusal": {"application/problem+json", `{"code":"verification_required","verify_url":"/.number-verify/"}`,
			"goes to https://www.example.com/.number-verify/?return=%2Faccount%2F%3Ftab%3D1"},
		"one whose address has a query": {"application/problem+json", `{"verify_url":"/.number-verify/?return=%2F&max_age=60"}`,
			"goes to https://www.example.com/.number-verify/?return=%2Faccount%2F%3Ftab%3D1&max_age=60"},
		"a refusal of the site": {"text/html", "<p>Sign in", ""},
		"a problem of the site": {"application/problem+json", `{"title":"Out of stock"}`, ""},
		"a cache that fails":    {"application/problem+json", `{"code":"cache_unavailable","verify_url":"/.number-verify/"}`, ""},
	} {
		after := fmt.Sprintf(`
listener({ detail: { xhr: { responseText: %q, getResponseHeader: () => %q } } });
`, test.body, test.contentType)
		if got := inBrowser(t, before, script, after); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestScriptForSinglePageApplicationsStartsAVerification(t *testing.T) {
	script := shown(t, "js", "async function verify")
	const before = `
const answers = { "/.number-verify/status": [true, { verified: VERIFIED }], "/.number-verify/start": [OK, { redirect_url: "https://op.example.net/x", code: "number_invalid" }] };
globalThis.fetch = async (address, request) => {
	console.log(request?.method ?? "GET", address, request?.body ?? "");
	return { ok: answers[address][0], json: async () => answers[address][1] };
};
`
	const after = `
console.log(await verify("06 39 98 00 01"));
`
	posted := "POST /.number-verify/start " + `{"number":"06 39 98 00 01","return":"/account/?tab=1"}`
	for name, test := range map[string]struct{ verified, ok, want string }{
		"a verified visitor": {"true", "true", "GET /.number-verify/status \nnull"},
		"a right number":     {"false", "true", "GET /.number-verify/status \n" + posted + "\ngoes to https://op.example.net/x\nnull"},
		"a wrong number":     {"false", "false", "GET /.number-verify/status \n" + posted + "\nnumber_invalid"},
	} {
		played := strings.NewReplacer("VERIFIED", test.verified, "OK", test.ok).Replace(before)
		if got := inBrowser(t, played, script, after); got != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, test.want)
		}
	}
}
