package acceptance_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/numberverify/caddy-number-verify/examples/simulator"
	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/wait"
)

// mux is a site of Go's own router, which routes by the path as it was sent, and
// says itself which page it has served.
func mux(t *testing.T, paths ...string) (addr string) {
	t.Helper()
	site := http.NewServeMux()
	page := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	site.HandleFunc("/", page("open page"))
	for _, path := range paths {
		site.HandleFunc(path, page("protected page"))
	}
	server := httptest.NewServer(site)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestPathThatTheSiteReadsAnotherWayThanCaddyIsNoWayAround(t *testing.T) {
	for _, c := range []struct{ name, matcher, protected string }{
		{"one path", "path /account /account/*", "/account/"},
		{"a whole site but one path", "not path /health", "/account/"},
		{"with a placeholder", "path {env.TEST_NOTHING}/account/*", "/account/"},
		{"by regular expression", "path_regexp ^/account/", "/account/"},
		{"by an expression", "expression {path}.startsWith('/account/')", "/account/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			w.Load(`http://SITE {
				@protected ` + c.matcher + `
				number_verify @protected {
					public_url http://SITE
					VERIFIER
				}
				reverse_proxy ` + mux(t, c.protected) + `
			}`)
			for _, path := range []string{
				"/account/x", "/account/..%2fx", "/account/..%2F..%2fhealth", "/account/..%2fhealth", "/account/%2e%2e%2fx", "/account/x%2f..%2f..%2fx",
			} {
				a := w.Get(path)
				if strings.Contains(a.Body, "protected page") {
					t.Errorf("%s is served to a stranger with %d: %s", path, a.StatusCode, a.Body)
				}
			}
		})
	}
}

// asSent is a site that reads the target of a request by itself, as it was sent.
func asSent(t *testing.T, serves func(target string) string) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			_, target, _ := strings.Cut(line, " ")
			target, _, _ = strings.Cut(target, " ")
			body := serves(target)
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

func TestTargetThatIsNoPathIsNoWayAround(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
		number_verify /* {
			public_url http://SITE
			VERIFIER
		}
		reverse_proxy ` + asSent(t, func(target string) string { return "protected page, asked for as " + target }) + `
	}`)
	for _, target := range []string{"http:%2faccount/x", "http:account/x", "x:y", "http:", "http://SITE", "http://SITE?x", "https://SITE", "*"} {
		a := w.Get(w.Fill(target))
		if strings.Contains(a.Body, "protected page") {
			t.Errorf("%s is served to a stranger with %d: %s", target, a.StatusCode, a.Body)
		}
	}
}

// PHP's parse_url, Node's new URL(target, base) and Python's urlsplit take what
// follows two slashes for a host.
func TestPathWhoseFirstSegmentTheSiteTakesForAHostIsNoWayAround(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(strings.Replace(account, "UPSTREAM", asSent(t, func(target string) string {
		u, err := url.Parse(target) // which does so as well
		if err == nil && strings.HasPrefix(u.Path, "/account/") {
			return "protected page"
		}
		return "open page"
	}), 1))
	for _, target := range []string{"//x/account/y", "//x:80/account/y", "//x@y/account/z"} {
		if a := w.Get(target); strings.Contains(a.Body, "protected page") {
			t.Errorf("%s is served to a stranger with %d", target, a.StatusCode)
		}
	}
}

// reverse_proxy makes a GET of the CONNECT by which a WebSocket of HTTP/3 begins.
func TestWebSocketOverHTTP3IsNoWayAroundAMatcherOfMethods(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	addr := strings.Replace(w.Addr, "127.0.0.1", "localhost", 1)
	w.Load(`https://` + addr + ` {
		bind 127.0.0.1
		tls internal
		@account {
			path /account/*
			method GET HEAD POST PUT DELETE PATCH
		}
		number_verify @account {
			public_url https://` + addr + `
			VERIFIER
		}
		reverse_proxy ` + mux(t, "/account/") + `
	}`)
	wait.Until(t, "Caddy has its certificate", func() bool {
		answer, err := w.Visitor().Client.Get("https://" + addr + "/")
		return err == nil && answer.Body.Close() == nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := quic.DialAddr(ctx, w.Addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}, ServerName: "localhost"}, &quic.Config{EnableDatagrams: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	client := (&http3.Transport{}).NewClientConn(conn)
	for method, path := range map[string]string{http.MethodGet: "/account/x", http.MethodConnect: "/account/y"} {
		stream, err := client.OpenRequestStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(ctx, method, "https://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if method == http.MethodConnect {
			r.Proto = "websocket"
		}
		if err := stream.SendRequestHeader(r); err != nil {
			t.Fatal(err)
		}
		_ = stream.SetReadDeadline(time.Now().Add(5 * time.Second))
		answer, err := stream.ReadResponse()
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s by a stranger is answered %d", method, answer.StatusCode)
		}
	}
}

func TestExceptionThatIsSentEncodedStaysOpen(t *testing.T) {
	for _, exception := range []string{"/été/*", `"/my files/*"`, "/open /open/*"} {
		t.Run(exception, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			w.Load(`http://SITE {
				@gated not path ` + exception + `
				number_verify @gated {
					public_url http://SITE
					VERIFIER
				}
				reverse_proxy UPSTREAM
			}`)
			path := map[string]string{"/été/*": "/%C3%A9t%C3%A9/%E2%82%AC", `"/my files/*"`: "/my%20files/a%20b", "/open /open/*": "/open/"}[exception]
			if a := w.Get(path); a.StatusCode != http.StatusOK {
				t.Errorf("%s answers %d", path, a.StatusCode)
			}
			w.Upstream.Take()
			if a := w.Get(path + "/..%2f..%2faccount"); a.StatusCode == http.StatusOK || len(w.Upstream.Take()) != 0 {
				t.Errorf("a way out of it answers %d", a.StatusCode)
			}
		})
	}
}

func TestPathThatOtherServersDoNotTakeForAnExceptionIsProtected(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
		@protected not path /health /assets/*
		number_verify @protected {
			public_url http://SITE
			VERIFIER
		}
		respond "served"
	}`)
	for _, path := range []string{"/health", "/assets/x", "/assets/a%2Fb", "/assets/x//y"} {
		if a := w.Get(path); a.Body != "served" {
			t.Errorf("%s is not open: %d", path, a.StatusCode)
		}
	}
	for _, path := range []string{
		"//health", "/%2fhealth", "/%09/health", "/h%65alth", // one that counts an empty segment, or decodes nothing, serves another page
		"//assets/account/x", "/%5cassets/account/x", "//assets/assets/account/x", // or takes the first segment for a host
	} {
		if a := w.Get(path); a.Body == "served" {
			t.Errorf("%s is served to a stranger with %d", path, a.StatusCode)
		}
	}
}

// To a site that routes targets as they were sent "//" is not its front page.
func TestEmptySegmentOfTheRootIsNoWayAroundAnExceptionForTheFrontPage(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
		@protected not path /
		number_verify @protected {
			public_url http://SITE
			VERIFIER
		}
		reverse_proxy ` + asSent(t, func(target string) string {
		if target == "/" {
			return "front page"
		}
		return "protected page"
	}) + `
	}`)
	if a := w.Get("/"); a.Body != "front page" {
		t.Errorf("the front page is not open: %s", a.Body)
	}
	if a := w.Get("//"); strings.Contains(a.Body, "protected page") {
		t.Errorf("it is served to a stranger with %d", a.StatusCode)
	}
}

func TestOldSessionDoesNotPassAStepUpByAnotherReadingOfThePath(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.LoadWith("number_verify {\npublic_url http://SITE\nVERIFIER\n}\n", `http://SITE {
		number_verify /account/*
		number_verify /transfer/* {
			max_age 1s
		}
		reverse_proxy UPSTREAM
	}`)
	visitor := w.Visitor()
	visitor.ArrivesAt("/account/")
	wait.Until(t, "the session is too old", func() bool { return visitor.Open("/transfer/").StatusCode == http.StatusSeeOther })
	w.Upstream.Take()
	for _, path := range []string{"/transfer/..%2faccount/new", "/account/..%2ftransfer/new", "/account/..;/transfer/new", "/%2574ransfer/new"} {
		a := w.Get(path, visitor.CookieField())
		if got := w.Upstream.Take(); len(got) != 0 {
			t.Errorf("%s passes with an old session: %d", path, a.StatusCode)
		}
	}
}

// The gate stands behind what changes paths: try_files, uri and rewrite run before
// it, and what they leave is not what the visitor asked for.
func TestPathThatIsRewrittenBeforeTheGateIsNoWayAround(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "index.php"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, rewriting := range map[string]string{
		"front controller":  "try_files {path} /index.php?{query}",
		"prefix stripped":   "uri strip_prefix /member",
		"rewritten":         "rewrite * /index.php?page={path}",
		"rewritten by part": "rewrite /member/* /app{uri}",
		"method":            "method POST",
	} {
		t.Run(name, func(t *testing.T) {
			w := stage.New(t, simulator.Options{})
			w.Load(`http://SITE {
				root * ` + root + `
				` + rewriting + `
				@member {
					path /member/*
					method GET
				}
				number_verify @member {
					public_url http://SITE
					VERIFIER
				}
				reverse_proxy UPSTREAM
			}`)
			for _, path := range []string{"/member/page", "/member/..%2fpage", "/MEMBER/page", "//member/page"} {
				if a := w.Get(path); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s answers %d", path, a.StatusCode)
				}
				if got := w.Upstream.Take(); len(got) != 0 {
					t.Errorf("%s reached the site as %s", path, got[0].URL)
				}
			}
			if a := w.Get("/open"); a.StatusCode != http.StatusOK {
				t.Errorf("an open path answers %d", a.StatusCode)
			}
			w.Upstream.Take()
			if end := w.Visitor().Verify("/member/page", stage.TypedNumber); end.StatusCode != http.StatusOK || end.Request.URL.RequestURI() != "/member/page" {
				t.Errorf("ends at %s: %d %q", end.Request.URL, end.StatusCode, end.Code())
			}
		})
	}
}

// What matchers do beside matching comes of Caddy's own reading: another one
// decides, and leaves nothing behind.
func TestCapturedGroupsComeFromCaddysOwnReadingAlone(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
		@files path_regexp file ^/files/(.+)$
		number_verify @files {
			public_url http://SITE
			optional
			VERIFIER
		}
		reverse_proxy UPSTREAM {
			header_up X-Captured "<{re.file.1}>"
		}
	}`)
	const nothing = "<{http.regexp.file.1}>" // Caddy leaves what is unknown
	for path, want := range map[string]string{
		"/files/report": "<report>", "/files/..%2fother": nothing, "/other": nothing, "/files%2freport": "<report>",
	} {
		w.Get(path)
		got := w.Upstream.Take()
		if len(got) != 1 || got[0].Header.Get("X-Captured") != want {
			t.Errorf("%s: %d requests, captured %q", path, len(got), got[0].Header.Get("X-Captured"))
		}
	}
}

func TestMatcherThatReadsTheBodyLeavesItToTheSite(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
		@secret expression {http.request.body}.contains('secret')
		number_verify @secret {
			public_url http://SITE
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	w.Raw(fmt.Sprintf("POST /a%%2fb/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: 4\r\n\r\nopen", w.Addr))
	if got := w.Upstream.Take(); len(got) != 1 || got[0].Body != "open" {
		t.Errorf("arrived: %v", got)
	}
}

func TestMatcherThatFailsLetsNothingPass(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
		@failing expression int({http.request.header.X-Number}) > 1
		number_verify @failing {
			public_url http://SITE
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	if a := w.Get("/"); a.StatusCode < 400 || len(w.Upstream.Take()) != 0 {
		t.Errorf("answers %d", a.StatusCode)
	}
}

func TestVerifiedAnswerIsForNoSharedCacheWhateverTheSiteSays(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	site := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Cache-Control", "public, max-age=3600")
		rw.Header().Set("Vary", "Accept-Encoding")
	}))
	t.Cleanup(site.Close)
	w.Load(strings.Replace(account, "UPSTREAM", strings.TrimPrefix(site.URL, "http://"), 1))
	visitor := w.Visitor()
	visitor.Verify("/account/", "06 39 98 00 01")
	a := visitor.Open("/account/")
	if control, vary := strings.Join(a.Header["Cache-Control"], ", "), strings.Join(a.Header["Vary"], ", "); control != "private, public, max-age=3600" || vary != "Cookie, Accept-Encoding" {
		t.Errorf("Cache-Control: %s; Vary: %s", control, vary)
	}
	if a := visitor.Open("/public"); a.Header.Get("Cache-Control") != "public, max-age=3600" {
		t.Errorf("an open path: %v", a.Header)
	}
}

// A shared cache would give one who is verified the page of one who is not.
func TestAnswerOfAnOptionalGateDependsOnTheCookieForStrangersToo(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(strings.Replace(account, "result_wait 3s", "optional", 1))
	visitor := w.Visitor()
	stranger := visitor.Open("/account/")
	visitor.Verify("/.number-verify/?return=/account/", stage.TypedNumber)
	for name, a := range map[string]*stage.Answer{"a stranger": stranger, "who is verified": visitor.Open("/account/")} {
		if vary := strings.Join(a.Header["Vary"], ", "); a.StatusCode != http.StatusOK || vary != "Cookie" {
			t.Errorf("%s: %d, Vary: %s", name, a.StatusCode, vary)
		}
	}
	if got := w.Upstream.Take(); len(got) != 3 || got[0].Header["X-Verified-Number"] != nil || got[2].Header["X-Verified-Number"] == nil {
		t.Errorf("arrived: %v", got)
	}
}

// The safe form of docs/matchers.md: the directive stands before what Caddy chooses
// by path.
func TestSafeFormGatesWhatAPublicHandleWouldServe(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	loadExample(w, "docs/matchers.md: shop.example.com {", "https://shop.example.com", "http://SITE", "\nshop.example.com {", "\nhttp://SITE {", "localhost:9001", "UPSTREAM")
	for path, want := range map[string]int{"/account/..%2fpublic/x": 401, "/public/..%2faccount/x": 401, "/account/x": 401, "/public/x": 200, "/other": 200} {
		a := w.Get(path)
		if got := w.Upstream.Take(); a.StatusCode != want || (want == 401) != (len(got) == 0) {
			t.Errorf("%s answers %d", path, a.StatusCode)
		}
	}
}

// What docs/matchers.md warns of: a handle that Caddy chooses by its own reading is
// outside the gate in another one.
func TestLimitHandleThatCaddyChoosesFirstIsOutsideTheGate(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
		handle /public/* {
			reverse_proxy UPSTREAM
		}
		handle {
			number_verify {
				public_url http://SITE
				VERIFIER
			}
			reverse_proxy UPSTREAM
		}
	}`)
	w.Get("/account/..%2fpublic/x")
	if got := w.Upstream.Take(); len(got) != 1 {
		t.Error("the documentation warns of what does not happen")
	}
}

func TestErrorRouteOfTheDocumentationShowsTheSiteAPathOfItsOwn(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	loadExample(w, "docs/matchers.md: forum.example.com {", "https://forum.example.com", "http://SITE", "\nforum.example.com {", "\nhttp://SITE {")
	w.Get("/member/x", "X~Verified~Number: forged")
	got := w.Upstream.Take()
	if len(got) != 1 || got[0].URL.Path != "/errors/401" {
		t.Fatalf("arrived: %v", got)
	}
	for name := range got[0].Header {
		if strings.HasPrefix(strings.ReplaceAll(strings.ToLower(name), "~", "-"), "x-verified-") {
			t.Errorf("%s arrived", name)
		}
	}
}

func TestApplicationsPreflightPassesWhereTheMatcherLeavesItOut(t *testing.T) {
	w := stage.New(t, simulator.Options{})
	w.Load(`http://SITE {
		@api {
			path /api/*
			not method OPTIONS
		}
		number_verify @api {
			public_url http://SITE
			VERIFIER
		}
		reverse_proxy UPSTREAM
	}`)
	for method, want := range map[string]int{"OPTIONS": 200, "GET": 401, "DELETE": 401} {
		if a := stage.HTTP11.Send(w, stage.Request{Method: method, Path: "/api/x"}); a.StatusCode != want {
			t.Errorf("%s answers %d", method, a.StatusCode)
		}
	}
}
