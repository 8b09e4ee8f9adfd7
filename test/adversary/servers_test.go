package adversary

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/test/stage"
	"github.com/numberverify/caddy-number-verify/test/stage/port"
)

// server is a site on a server that is not Caddy. It decides itself which of its
// routes a request is for, and which headers it reads: this package knows neither.
type server struct {
	name, addr string
	stop       func()
}

// said is the answer of a server to a request that reached it.
type said struct {
	// Routes are the routes that it chose, by each of the ways in which programs on
	// this server read the path: account, transfer, assets, health, public, or none.
	Routes map[string]string
	// Headers are all that it takes for X-Verified-…, by its own names.
	Headers map[string]string
	Cookies string
}

// others are the servers of other makes, which live as long as the tests.
var others struct {
	once sync.Once
	all  []*server
	err  error
}

// servers starts all of them, once.
func servers(t testing.TB) []*server {
	t.Helper()
	others.once.Do(func() {
		others.all = []*server{goServer()}
		for _, p := range programs {
			s, err := p.start()
			if err != nil {
				others.err = fmt.Errorf("%s: %w", p.name, err)
				return
			}
			others.all = append(others.all, s)
		}
	})
	if others.err != nil {
		t.Fatal(others.err)
	}
	return others.all
}

func stopServers() {
	for _, s := range others.all {
		s.stop()
	}
}

// program is a server that runs in a process of its own.
type program struct {
	name string
	// file is that of the program, and packages those of Debian that bring it.
	file, packages string
	// args are its arguments, where PORT stands for the port to listen on.
	args []string
}

var programs = []program{
	{"lighttpd with CGI", "lighttpd", "lighttpd", []string{"-D", "-f", "lighttpd.conf"}},
	{"php -S", "php", "php-cli", []string{"-n", "-S", "127.0.0.1:PORT", "-t", "php"}},
	{"wsgiref", "python3", "python3", []string{"served_wsgi.py", "PORT"}},
	{"Flask", "python3", "python3 python3-flask", []string{"served_flask.py", "PORT"}},
	{"Node", "node", "nodejs", []string{"served.js", "PORT"}},
}

// start starts the program, and once more at another port where the first was
// taken meanwhile.
func (p program) start() (*server, error) {
	file, err := p.find()
	if err != nil {
		return nil, err
	}
	for tries := 0; ; tries++ {
		s, err := p.startAt(file)
		if err == nil || tries == 3 {
			return s, err
		}
	}
}

// find prefers the system's own program to others of its name, which may lack
// what the system's packages bring.
func (p program) find() (string, error) {
	for _, dir := range []string{"/usr/bin", "/usr/sbin"} {
		if file, err := exec.LookPath(filepath.Join(dir, p.file)); err == nil {
			return file, nil
		}
	}
	file, err := exec.LookPath(p.file)
	if err != nil {
		return "", fmt.Errorf("%w: install %s, as .ci/test does", err, p.packages)
	}
	return filepath.Abs(file)
}

func (p program) startAt(file string) (*server, error) {
	site, err := filepath.Abs("testdata")
	if err != nil {
		return nil, err
	}
	addr, err := port.Free()
	if err != nil {
		return nil, err
	}
	args := make([]string, len(p.args))
	for i, arg := range p.args {
		args[i] = strings.ReplaceAll(arg, "PORT", stage.Port(addr))
	}
	cmd := exec.Command(file, args...)
	cmd.Dir = site
	cmd.Env = append(os.Environ(), "SITE="+site, "PORT="+stage.Port(addr), "PYTHONDONTWRITEBYTECODE=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s := &server{name: p.name, addr: addr, stop: func() {
		_ = cmd.Process.Kill()
		<-ended
	}}
	if err := s.wait(ended); err != nil {
		s.stop()
		return nil, fmt.Errorf("%w; are %s installed, as .ci/test does it?\n%s", err, p.packages, &out)
	}
	return s, nil
}

// wait waits until the server serves, or has ended.
func (s *server) wait(ended chan error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("it ended: %w", err)
		default:
		}
		if a, err := s.ask("/public"); err == nil && a.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.New("it does not serve")
}

// ask asks the server itself, past Caddy.
func (s *server) ask(target string) (*stage.Answer, error) {
	conn, err := net.DialTimeout("tcp", s.addr, stage.Patience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return stage.Talk(conn, stage.Request{Path: target, Host: s.addr}.Text("HTTP/1.1"), stage.Patience)
}

// said is what the server that answered so says, if it was one: redirects and
// errors serve nothing.
func whatSaid(r *stage.Answer) (said, bool) {
	var a said
	if r.StatusCode != http.StatusOK {
		return a, false
	}
	err := json.Unmarshal([]byte(r.Body), &a)
	return a, err == nil && len(a.Routes) > 0
}

// servesProtected tells whether a server of any make serves what is behind the
// gate for that target.
func servesProtected(t testing.TB, target string) bool {
	t.Helper()
	if known, ok := protected.Load(target); ok {
		return known.(bool)
	}
	isProtected := slices.ContainsFunc(servers(t), func(s *server) bool {
		a, err := s.ask(target)
		if err != nil { // it closes the connection on what it cannot read, or is gone
			if _, err := s.ask("/public"); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
			return false
		}
		what, _ := whatSaid(a)
		return what.serves("account")
	})
	protected.Store(target, isProtected)
	return isProtected
}

// protected are the answers of servesProtected.
var protected sync.Map

// serves tells whether any reading leads to that route.
func (a said) serves(route string) bool {
	for _, chosen := range a.Routes {
		if chosen == route {
			return true
		}
	}
	return false
}

// goServer is a site of Go's own server and router.
func goServer() *server {
	mux := http.NewServeMux()
	for _, pattern := range []string{"/account", "/account/", "/transfer", "/transfer/", "/assets", "/assets/", "/health", "/"} {
		route := strings.Trim(pattern, "/")
		if route == "" {
			route = "public"
		}
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(route)) })
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		chosen := httptest.NewRecorder()
		mux.ServeHTTP(chosen, r)
		a := said{Headers: make(map[string]string), Cookies: fmt.Sprint(r.Cookies()), Routes: map[string]string{
			"RequestURI":       goRoute(strings.SplitN(r.RequestURI, "?", 2)[0]),
			"URL.Path":         goRoute(r.URL.Path),
			"path.Clean":       goRoute(path.Clean(r.URL.Path)),
			"ResolveReference": goRoute(r.URL.ResolveReference(r.URL).Path),
		}}
		if u, err := url.Parse(r.RequestURI); err == nil {
			a.Routes["url.Parse"] = goRoute(u.Path)
		}
		if chosen.Code == http.StatusOK {
			a.Routes["ServeMux"] = chosen.Body.String()
		}
		_, _ = io.Copy(io.Discard, r.Body) // trailers come after it
		for _, fields := range []http.Header{r.Header, r.Trailer} {
			for name, values := range fields {
				if strings.HasPrefix(name, "X-Verified-") {
					a.Headers[name] += strings.Join(values, ", ")
				}
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a)
	}))
	return &server{name: "Go", addr: site.Listener.Addr().String(), stop: site.Close}
}

// goRoute is how programs in Go compare a path.
func goRoute(p string) string {
	for _, route := range []string{"account", "transfer", "assets"} {
		if p == "/"+route || strings.HasPrefix(p, "/"+route+"/") {
			return route
		}
	}
	if p == "/health" {
		return "health"
	}
	return "public"
}

func TestServerThatIsNotInstalledIsToldWithItsPackage(t *testing.T) {
	_, err := program{"a server", "no-such-server", "no-such-package", nil}.start()
	if err == nil || !strings.Contains(err.Error(), "install no-such-package") {
		t.Error(err)
	}
}
