package adversary

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// load is a request, or what passes for one, that takes more than it should.
type load struct {
	vector
	send func(s *site, v *stage.Visitor)
}

// The kinds of mistakes that loads imitate.
const (
	largeHead   = "CVE-2025-58186 (Go) and its kind: headers without a bound"
	largeTarget = "CVE-2025-61726 (Go): addresses without a bound"
	largeBody   = "bodies that are read whole"
	costlyBody  = "CVE-2023-45290 (Go) and its kind: a small body that becomes large, or takes long to read"
	slow        = "Slowloris: a request that never ends"
	continued   = "CVE-2023-45288 (Go): CONTINUATION frames without an end"
	rapidReset  = "CVE-2023-44487: streams that are opened and reset"
	control     = "CVE-2019-9512, CVE-2019-9515: control frames without an end"
	packedHead  = "CVE-2016-1544 (nghttp2) and its kind: headers that unpack to many times their size"
)

// everywhere sends a request over all wires, to what is open, what is not, and
// the form.
func everywhere(fields ...string) func(*site, *stage.Visitor) {
	return func(s *site, _ *stage.Visitor) {
		for _, w := range stage.Wires {
			for _, path := range []string{"/account/", "/.number-verify/", "/.number-verify/callback?state=A"} {
				w.Send(s.Stage, stage.Request{Path: path, Fields: append(fields, "Accept: text/html")})
			}
		}
	}
}

// at sends a request for an address over all wires.
func at(path string) func(*site, *stage.Visitor) {
	return func(s *site, _ *stage.Visitor) {
		for _, w := range stage.Wires {
			w.Send(s.Stage, stage.Request{Path: path, Fields: []string{"Accept: text/html"}})
		}
	}
}

// pressing posts a body to the start.
func pressing(kind, body string, fields ...string) func(*site, *stage.Visitor) {
	return func(s *site, v *stage.Visitor) {
		for _, w := range []stage.Wire{stage.HTTP11, stage.H2C} {
			w.Send(s.Stage, stage.Request{Method: "POST", Path: startPath, Body: body, Fields: append(fields, "Content-Type: "+kind, sameOrigin, v.CookieField())})
		}
	}
}

const (
	formKind = "application/x-www-form-urlencoded"
	jsonKind = "application/json"
	mega     = 1 << 20
)

func many(n int, format string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return all
}

func loads() []load {
	a := func(n int) string { return strings.Repeat("a", n) }
	return []load{
		{vector{"a header of 900 kB", largeHead}, everywhere("X-Large: " + a(900_000))},
		{vector{"a header of 2 MB", largeHead}, everywhere("X-Large: " + a(2*mega))},
		{vector{"10,000 headers", largeHead}, everywhere(many(10_000, "X-%d: a")...)},
		{vector{"10,000 headers under the gate's prefix", largeHead}, everywhere(many(10_000, "X-Verified-%d: a")...)},
		{vector{"a header of the gate, 10,000 times", largeHead}, everywhere(many(10_000, "X-Verified-Number: %d")...)},
		{vector{"10,000 names in Connection", largeHead}, everywhere("Connection: close, " + strings.Join(many(10_000, "X-Verified-%d"), ", "))},
		{vector{"10,000 cookies", largeHead}, everywhere("Cookie: " + strings.Join(many(10_000, "c%d=a"), "; "))},
		{vector{"10,000 session cookies", largeHead}, everywhere("Cookie: " + strings.Join(many(10_000, "number-verify=%d"), "; "))},
		{vector{"a cookie of 500 kB", largeHead}, everywhere("Cookie: number-verify=" + a(500_000))},
		{vector{"languages of 500 kB", largeHead}, everywhere("Accept-Language: " + strings.Repeat("fr-FR;q=0.5,", 40_000))},
		{vector{"languages of one long name", largeHead}, everywhere("Accept-Language: " + strings.Repeat("x-", 100_000))},
		{vector{"kinds of 500 kB", largeHead}, everywhere("Accept: " + strings.Repeat("text/html,", 50_000))},
		{vector{"a referer of 500 kB", largeHead}, everywhere("Referer: http://SITE/" + a(500_000))},
		{vector{"an origin of 500 kB", largeHead}, everywhere("Origin: http://" + a(500_000))},
		{vector{"addresses of 500 kB", largeHead}, everywhere("X-Forwarded-For: " + strings.Repeat("192.0.2.1, ", 40_000))},
		{vector{"a browser's name of 500 kB", largeHead}, everywhere("User-Agent: " + a(500_000))},

		{vector{"a path of 900 kB", largeTarget}, at("/account/" + a(900_000))},
		{vector{"100,000 segments", largeTarget}, at("/account" + strings.Repeat("/a", 100_000))},
		{vector{"100,000 dots", largeTarget}, at("/account/" + strings.Repeat("../", 100_000))},
		{vector{"100,000 slashes", largeTarget}, at(strings.Repeat("/", 100_000) + "account/")},
		{vector{"100,000 encodings", largeTarget}, at("/account/" + strings.Repeat("%2e", 100_000))},
		{vector{"a query of 900 kB", largeTarget}, at("/account/?" + a(900_000))},
		{vector{"a state of 900 kB", largeTarget}, at("/.number-verify/callback?state=" + a(900_000))},
		{vector{"100,000 parameters", largeTarget}, at("/.number-verify/callback?" + strings.Repeat("state=a&", 100_000))},
		{vector{"100,000 question marks", largeTarget}, at("/.number-verify/callback" + strings.Repeat("?", 100_000))},
		{vector{"a return path of 900 kB", largeTarget}, at("/.number-verify/?return=/" + a(900_000))},
		{vector{"return paths within one another", largeTarget}, at("/.number-verify/?return=" + strings.Repeat("%2F%3Freturn%3D", 50_000))},
		{vector{"a wait page of 900 kB", largeTarget}, at("/.number-verify/wait/" + a(900_000))},
		{vector{"a code of 900 kB", largeTarget}, at("/.number-verify/problem/" + a(900_000))},

		{vector{"a number of 1 MB", largeBody}, pressing(formKind, "number="+strings.Repeat("6", mega))},
		{vector{"a number of 50 MB", largeBody}, pressing(formKind, "number="+strings.Repeat("6", 50*mega))},
		{vector{"a number of combining marks", largeBody}, pressing(formKind, "number=06"+strings.Repeat("%CC%81", 10_000))},
		{vector{"100,000 fields", largeBody}, pressing(formKind, strings.Repeat("number=06&", 100_000))},
		{vector{"50 MB in chunks", largeBody}, func(s *site, v *stage.Visitor) {
			chunk := fmt.Sprintf("%x\r\n%s\r\n", mega, strings.Repeat("a", mega))
			s.pour("POST "+startPath+" HTTP/1.1\r\nHost: SITE\r\n"+v.CookieField()+"\r\n"+sameOrigin+"\r\n"+formType+"\r\nTransfer-Encoding: chunked\r\n\r\n", chunk, 50)
		}},
		{vector{"50 MB for a page that reads nothing", largeBody}, func(s *site, _ *stage.Visitor) {
			s.pour(fmt.Sprintf("GET /.number-verify/ HTTP/1.1\r\nHost: SITE\r\nContent-Length: %d\r\n\r\n", 50*mega), strings.Repeat("a", mega), 50)
		}},
		{vector{"50 MB for what is not open", largeBody}, func(s *site, _ *stage.Visitor) {
			s.pour(fmt.Sprintf("POST /account/ HTTP/1.1\r\nHost: SITE\r\nContent-Length: %d\r\n\r\n", 50*mega), strings.Repeat("a", mega), 50)
		}},

		{vector{"JSON, 100,000 deep", costlyBody}, pressing(jsonKind, strings.Repeat(`{"number":`, 100_000))},
		{vector{"JSON of 1 MB", costlyBody}, pressing(jsonKind, `{"number":"`+strings.Repeat("6", mega)+`"}`)},
		{vector{"JSON with a large number", costlyBody}, pressing(jsonKind, `{"number":1e999999999}`)},
		{vector{"JSON with 100,000 names", costlyBody}, pressing(jsonKind, "{"+strings.Join(many(100_000, `"n%d":1`), ",")+"}")},
		{vector{"50 MB in a few bytes", costlyBody}, pressing(formKind, zipped(50*mega), "Content-Encoding: gzip")},
		{vector{"a form of 10,000 parts", costlyBody}, pressing("multipart/form-data; boundary=b", strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"number\"\r\n\r\n06\r\n", 10_000)+"--b--\r\n")},
		{vector{"a form with a file", costlyBody}, pressing("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"number\"; filename=\"../../x\"\r\n\r\n"+strings.Repeat("6", mega)+"\r\n--b--\r\n")},
		{vector{"a boundary of 100 kB", costlyBody}, pressing("multipart/form-data; boundary="+a(100_000), "--b")},
		{vector{"a kind of 100 kB", costlyBody}, pressing("text/"+strings.Repeat("a;b=c;", 20_000), "number=06")},

		{vector{"200 headers that never end", slow}, func(s *site, _ *stage.Visitor) {
			for range 200 {
				s.leave("GET /account/ HTTP/1.1\r\nHost: SITE\r\nX: ")
			}
		}},
		{vector{"200 bodies that never end", slow}, func(s *site, v *stage.Visitor) {
			for range 200 {
				s.leave("POST " + startPath + " HTTP/1.1\r\nHost: SITE\r\n" + v.CookieField() + "\r\n" + sameOrigin + "\r\n" + formType + "\r\nContent-Length: 100\r\n\r\nnumber=06")
			}
		}},
		{vector{"200 handshakes that never end", slow}, func(s *site, _ *stage.Visitor) {
			for range 200 {
				s.leave("\x16\x03\x01")
			}
		}},

		{vector{"headers in 10,000 frames", continued}, frames(func(f *http2.Framer, head []byte) error {
			err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head})
			for i := 0; err == nil && i < 10_000; i++ {
				err = f.WriteContinuation(1, false, packedField("x-"+strconv.Itoa(i), "a"))
			}
			return err
		})},
		{vector{"10,000 streams that are reset", rapidReset}, frames(func(f *http2.Framer, head []byte) error {
			var err error
			for i := 0; err == nil && i < 10_000; i++ {
				id := uint32(2*i + 1)
				if err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndStream: true, EndHeaders: true}); err == nil {
					err = f.WriteRSTStream(id, http2.ErrCodeCancel)
				}
			}
			return err
		})},
		{vector{"10,000 pings", control}, frames(func(f *http2.Framer, _ []byte) error {
			var err error
			for i := 0; err == nil && i < 10_000; i++ {
				err = f.WritePing(false, [8]byte{})
			}
			return err
		})},
		{vector{"10,000 settings", control}, frames(func(f *http2.Framer, _ []byte) error {
			var err error
			for i := 0; err == nil && i < 10_000; i++ {
				err = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
			}
			return err
		})},
		{vector{"headers that unpack to 100 MB", packedHead}, frames(func(f *http2.Framer, _ []byte) error {
			var block bytes.Buffer
			encoder := hpack.NewEncoder(&block)
			_ = encoder.WriteField(hpack.HeaderField{Name: "x", Value: a(4000)}) // to memory; the next ones are a byte each
			for range 15_000 {
				_ = encoder.WriteField(hpack.HeaderField{Name: "x", Value: a(4000)})
			}
			return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes()[:min(block.Len(), 16<<10)], EndStream: true, EndHeaders: true})
		})},
	}
}

func zipped(n int) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.Copy(z, io.LimitReader(zeros{}, int64(n))) // to memory
	_ = z.Close()
	return b.String()
}

type zeros struct{}

// Read implements io.Reader.
func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// pour sends a beginning and then a part, many times, and listens to nothing.
func (s *site) pour(begin, part string, times int) {
	conn, err := s.Dial(false, "")
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(stage.Patience))
	_, err = io.WriteString(conn, s.Fill(begin))
	for i := 0; err == nil && i < times; i++ {
		_, err = io.WriteString(conn, part)
	}
}

// leave sends a beginning and holds the connection until the test ends.
func (s *site) leave(begin string) {
	conn, err := s.Dial(false, "")
	if err != nil {
		return
	}
	s.T.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, s.Fill(begin))
}

// frames sends frames of HTTP/2, as long as the server takes them. They get the
// block of an honest request.
func frames(write func(f *http2.Framer, head []byte) error) func(*site, *stage.Visitor) {
	return func(s *site, _ *stage.Visitor) {
		for _, secure := range []bool{false, true} {
			conn, err := s.Dial(secure, "h2")
			if err != nil {
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(stage.Patience))
			go func() { _, _ = io.Copy(io.Discard, conn) }() // ends with the connection
			_, _ = io.WriteString(conn, http2.ClientPreface)
			f := http2.NewFramer(conn, nil)
			f.AllowIllegalWrites = true
			if f.WriteSettings() != nil {
				continue
			}
			var head bytes.Buffer
			encoder := hpack.NewEncoder(&head)
			r := stage.Request{Path: "/account/", Host: s.Host(stage.Wire{IsSecure: secure})}
			for _, p := range r.HeaderOf("https") {
				_ = encoder.WriteField(hpack.HeaderField{Name: p[0], Value: p[1]})
			}
			_ = write(f, head.Bytes())
		}
	}
}

func packedField(name, value string) []byte {
	var b bytes.Buffer
	_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: name, Value: value}) // to memory
	return b.Bytes()
}

// mostMemory is what Caddy may need beyond what it needs at rest. The race
// detector takes several times as much as what it watches.
const mostMemory = 400 << 20

func TestOversizedRequests(t *testing.T) {
	s := newSite(t, account)
	v := s.verifiedAt(t, s.Origin(stage.HTTP11))
	stranger := s.VisitorAt(t, s.Origin(stage.HTTP11))
	stranger.Open("/.number-verify/")
	s.Upstream.Take()
	before, calls := s.memory(t), s.Provider.Calls()
	attack(t, "Oversized and endless requests", loads(), func(t *testing.T, l load) {
		l.send(s, stranger)
		s.unverified(t)
		// who is verified goes on meanwhile
		if a := v.Open("/account/"); a.StatusCode != http.StatusOK {
			t.Errorf("the visitor gets %d", a.StatusCode)
		}
		s.verified(t)
	})
	if after := s.Provider.Calls(); after != calls {
		t.Errorf("the provider was called: %+v, before %+v", after, calls)
	}
	if used := s.memory(t) - before; used > mostMemory {
		t.Errorf("Caddy needed %d MB more", used>>20)
	} else {
		t.Logf("Caddy needed %d MB more", used>>20)
	}
}

// memory is the most that Caddy has needed so far, in bytes.
func (s *site) memory(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.caddy.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kB, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kB << 10
}
