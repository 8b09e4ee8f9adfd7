package adversary

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// The gates before servers of other makes. A request says by a header which of
// them it is for, so that one Caddy stands before all.
const (
	withAccount = `
@account path /account /account/*
number_verify @account {
	GATE
}
@transfer path /transfer*
number_verify @transfer {
	max_age 1s
	GATE
}
` + toServer
	exceptAssets = `
@gated not path /health /assets/*
number_verify @gated {
	GATE
}
` + toServer
	toServer = "reverse_proxy 127.0.0.1:{header.Server-Port}\n"
)

// The seeds of the targets that are tried are kept, so that each run tries the
// same.
var (
	seeds   = []uint64{1, 2, 3, 4, 5, 6}
	oneSeed = flag.Uint64("seed", 0, "one more seed for generated paths")
)

// perSeed is how many targets a seed makes.
const perSeed = 300

// somebody stands before a gate, which must keep routes from him.
type somebody struct {
	name   string
	site   *site
	fields []string
	// words make the paths that he asks for.
	words []string
	// mayHave are the routes that are open to him.
	mayHave []string
}

// line is a connection to a site that is kept for the next request.
type line struct {
	site *site
	conn net.Conn
	in   *bufio.Reader
}

// send sends a request to a server behind the site.
func (l *line) send(s *server, r stage.Request) (*stage.Answer, error) {
	r.Host = l.site.Addr
	r = r.With("Connection: keep-alive", "Server-Port: "+stage.Port(s.addr))
	isKept := l.conn != nil
	a, err := l.exchange(r)
	if err != nil && isKept { // it was closed meanwhile
		a, err = l.exchange(r)
	}
	return a, err
}

func (l *line) exchange(r stage.Request) (a *stage.Answer, err error) {
	isOver := true
	if l.conn == nil {
		if l.conn, err = net.DialTimeout("tcp", l.site.Addr, stage.Patience); err != nil {
			return a, err
		}
		l.in = bufio.NewReader(l.conn)
	}
	defer func() {
		if isOver {
			l.close()
		}
	}()
	if err = l.conn.SetDeadline(time.Now().Add(4 * stage.Patience)); err != nil {
		return a, err
	}
	if _, err = l.conn.Write([]byte(r.Text("HTTP/1.1"))); err != nil {
		return a, err
	}
	answer, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return a, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	isOver = err != nil || answer.Close
	return &stage.Answer{Response: answer, Body: string(body)}, err
}

func (l *line) close() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

// isGates tells whether it is the gate that has answered so.
func isGates(r *stage.Answer) bool {
	return r.StatusCode == http.StatusUnauthorized && r.Header.Get("WWW-Authenticate") == "NumberVerify"
}

// breach is something that a server served and should not have been asked for.
type breach struct{ server, reading, route string }

// String says what happened.
func (b breach) String() string {
	return fmt.Sprintf("%s, by its %s, served %s", b.server, b.reading, b.route)
}

// breaches sends a target to all servers and returns what they served of what is
// not open to him. Where the gate answers, it does so before any server.
func (who somebody) breaches(t *testing.T, l *line, to string) []breach {
	var all []breach
	for _, s := range servers(t) {
		answer, err := l.send(s, stage.Request{Path: to, Fields: who.fields})
		if err != nil {
			t.Errorf("%s: GET %s: %v", s.name, to, err)
			return all
		}
		if isGates(answer) {
			return nil
		}
		a, _ := whatSaid(answer)
		for reading, route := range a.Routes {
			if route != "none" && !slices.Contains(who.mayHave, route) {
				all = append(all, breach{s.name, reading, route})
			}
		}
		for name, value := range a.Headers {
			if len(who.fields) == 0 {
				all = append(all, breach{s.name, "header " + name, value})
			}
		}
	}
	return all
}

// Nobody is served what is behind a gate by any server that reads the path in
// another way than Caddy.
func TestPathsThatServersOfOtherMakesReadInTheirOwnWay(t *testing.T) {
	one, all := newSite(t, withAccount), newSite(t, exceptAssets)
	visitor := one.VisitorAt(t, one.Origin(stage.HTTP11))
	visitor.ArriveFrom(visitor.Callback("/account/", stage.TypedNumber))
	words := []string{"account", "account", "account", "account", "public", "public", "x", "transfer", "health", ".number-verify"}
	people := []somebody{
		{"a stranger before a gate on /account", one, nil, words, []string{"public", "assets", "health"}},
		{"a stranger before a gate on all but /assets/", all, nil, append([]string{"assets", "assets", "assets", "health"}, words...), []string{"assets", "health"}},
		{"a visitor whose session is too old for /transfer", one, []string{visitor.CookieField()}, append([]string{"transfer", "transfer", "transfer"}, words...), []string{"account", "public", "assets", "health"}},
	}
	people[2].waitUntilOld(t, "/transfer/")
	from := seeds
	if *oneSeed != 0 {
		from = append(slices.Clone(seeds), *oneSeed)
	}
	for _, who := range people {
		t.Run(who.name, func(t *testing.T) {
			found := newFindings()
			for _, seed := range from {
				found.try(t, who, seed)
			}
			found.report(t, who)
			count("Generated paths, at servers of other makes", len(seeds)*perSeed)
		})
	}
}

// waitUntilOld waits until he is verified and yet kept from that path.
func (who somebody) waitUntilOld(t *testing.T, path string) {
	t.Helper()
	l := &line{site: who.site}
	defer l.close()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); time.Since(began) < 10*time.Second; <-tick.C {
		old, err := l.send(servers(t)[0], stage.Request{Path: path, Fields: who.fields})
		if err == nil && isGates(old) {
			return
		}
	}
	t.Fatal("the visitor's session stays young")
}

// findings are the breaches of a run, and the first target of each kind.
type findings struct {
	sync.Mutex
	first  map[breach]finding
	counts map[breach]int
}

type finding struct {
	seed uint64
	target
}

func newFindings() *findings {
	return &findings{first: make(map[breach]finding), counts: make(map[breach]int)}
}

// try tries the targets of a seed, some at once.
func (f *findings) try(t *testing.T, who somebody, seed uint64) {
	work := make(chan target)
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			l := &line{site: who.site}
			defer l.close()
			for to := range work {
				for _, b := range who.breaches(t, l, to.String()) {
					f.add(b, finding{seed, to})
				}
			}
		})
	}
	for _, to := range targets(seed, perSeed, who.words...) {
		work <- to
	}
	close(work)
	running.Wait()
}

func (f *findings) add(b breach, what finding) {
	f.Lock()
	defer f.Unlock()
	if f.counts[b]++; f.counts[b] == 1 || len(what.target) < len(f.first[b].target) {
		f.first[b] = what
	}
}

// report makes each kind of breach as short as it gets, and tells it.
func (f *findings) report(t *testing.T, who somebody) {
	l := &line{site: who.site}
	defer l.close()
	for b, what := range f.first {
		short := what.target.shrink(func(to string) bool { return slices.Contains(who.breaches(t, l, to), b) })
		t.Errorf("GET %s: %v; so do %d of the targets, first GET %s of -seed %d", short, b, f.counts[b], what.target, what.seed)
	}
}

// Where there is no gate, servers serve what would be behind it, by each of their
// readings: what gets through would be noticed.
func TestServersOfOtherMakesAreHeardWithoutAGate(t *testing.T) {
	open := newSite(t, toServer)
	l := &line{site: open}
	defer l.close()
	for _, s := range servers(t) {
		t.Run(s.name, func(t *testing.T) {
			for to, route := range map[string]string{"/account/x": "account", "/transfer/x": "transfer", "/assets/x": "assets", "/health": "health", "/public": "public"} {
				answer, err := l.send(s, stage.Request{Path: to})
				a, ok := whatSaid(answer)
				if err != nil || !ok {
					t.Fatalf("GET %s: %v, %d", to, err, answer.StatusCode)
				}
				for reading, chosen := range a.Routes {
					if chosen != route {
						t.Errorf("GET %s: %s says %s", to, reading, chosen)
					}
				}
			}
			noticed := 0
			for _, to := range targets(1, perSeed, "account", "public") {
				answer, err := l.send(s, stage.Request{Path: to.String()})
				if err != nil {
					t.Fatalf("GET %s: %v", to, err)
				}
				if a, _ := whatSaid(answer); a.serves("account") {
					noticed++
				}
			}
			if noticed < perSeed/20 {
				t.Errorf("of %d targets it serves %d as what would be behind the gate", perSeed, noticed)
			}
		})
	}
}

// What no reading makes a protected path goes on working: the gate is not in the
// way of sites with such paths.
func TestPublicPathsWithSlashesSemicolonsAndDotsGoOnWorking(t *testing.T) {
	open := []string{
		"/", "/files/a%2Fb", "/files/a%252Fb", "/wiki/What%3F", "/wiki/AC%2FDC", "/a;v=1/b", "/a;account/b", "/b;jsessionid=1",
		"//public//x", "/public/./x", "/public/x/../y", "/public/%2e%2e/x", "/public/..%2fx", "/public/%252e%252e%252fx",
		"/public/a%5Cb", "/public\\x", "/C%23/%3B", "/100%25", "/public/..hidden", "/...", "/public/?/account/", "/public?a=/../account/",
		"/files/a%2fb%2F", "/wiki/C%23", "/a;jsessionid=1", "/public//x", "//public", "/caf%C3%A9/", "/a%5Cb", "/x%2faccount", "/files/..%2faccounts",
		"/accounts/", "/accountant", "/my/account/", "/my//account", "/my%2faccount/x", "/public/a%00b", "/public/", "/%E2%82%AC/%F0%9F%93%B1",
	}
	for _, to := range targets(1, perSeed, "public", "x", "files", "wiki") {
		if to.odd() <= 4 { // what has more readings than can be tried counts as protected
			open = append(open, to.String())
		}
	}
	goOn(t, newSite(t, withAccount), open)
	goOn(t, newSite(t, exceptAssets), []string{
		"/health", "/assets/x", "/assets/a%2Fb", "/assets/a%252Fb", "/assets/x;v=1", "/assets/x//y", "/assets/x/./y", "/assets/x%3Fy", "/assets/x%20y", "/assets/x?/account/",
	})
}

// goOn checks that strangers get what they would get without the gate.
func goOn(t *testing.T, s *site, targets []string) {
	t.Helper()
	l := &line{site: s}
	defer l.close()
	for i, to := range targets {
		for _, server := range []*server{servers(t)[i%len(servers(t))], named(t, "wsgiref")} {
			got, err := l.send(server, stage.Request{Path: to})
			if err != nil {
				t.Fatalf("%s: GET %s: %v", server.name, to, err)
			}
			want, err := server.ask(to)
			if err == nil && got.StatusCode != want.StatusCode || server.name == "wsgiref" && got.StatusCode != http.StatusOK {
				t.Errorf("%s: GET %s answers %d %q, without the gate %d", server.name, to, got.StatusCode, got.Code(), want.StatusCode)
			}
		}
	}
}

// named is the server of that name.
func named(t *testing.T, name string) *server {
	t.Helper()
	all := servers(t)
	i := slices.IndexFunc(all, func(s *server) bool { return s.name == name })
	if i < 0 {
		t.Fatalf("there is no %s", name)
	}
	return all[i]
}

// Readings that no server is known to have are none of the gate's. These are kept
// because each of these servers was asked, and read none of them so.
func TestPathsThatNoServerTakesForAProtectedOne(t *testing.T) {
	long := strings.Repeat("a", 8<<10)
	for _, to := range []string{
		"/%u0061ccount/", "/%u002faccount/", "/public/..%u2215account/", "/\\u0061ccount/",
		"/%c1%a1ccount/", "/%c0%afaccount/", "/public/..%c0%afaccount/", "/public/%c0%ae%c0%ae/account/", "/%e0%80%afaccount/",
		"/account./", "/account.", "/account../x", "/account%20/", "/%20account/", "/account%20x", "/account+/", "/account%7f/",
		"/account%2525252f", "/%25252561ccount/", "/account:80/", "/account,x/", "/account&x/", "/account=x/", "/account|/", "/account::$DATA",
		"/ａccount/", "/acc%C2%ADount/", "/" + long + "/account/", "/account" + long + "/", "/public/" + long,
	} {
		if servesProtected(t, to) {
			t.Errorf("%.40s… is served as what is behind the gate", to)
		}
	}
}
