package stage

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// Patience is how long one exchange may take.
	Patience = 5 * time.Second
	// brief is how long an exchange may take if the server may not notice that it
	// is over.
	brief = time.Second
)

// Request is a request that is sent exactly as it is, even if it is malformed.
type Request struct {
	// Method is GET by default.
	Method, Path string
	// Host is the host that the request names. Default: the site's own.
	Host string
	// Fields and Trailers are "Name: value".
	Fields, Trailers []string
	Body             string
	// Header replaces all of this, except Trailers and Body, in HTTP/2 and 3.
	Header [][2]string
}

// With returns a copy of the request with more fields.
func (r Request) With(fields ...string) Request {
	r.Fields = append(r.Fields[:len(r.Fields):len(r.Fields)], fields...)
	return r
}

func (r Request) method() string { return cmp.Or(r.Method, http.MethodGet) }

// Wire is a way to send a request.
type Wire struct {
	Name string
	// IsSecure says that it goes to the https listener.
	IsSecure bool
	exchange func(s *Stage, r Request) (*Answer, error)
}

// The wires of Caddy, by default and with protocols h1 h2 h2c h3.
var (
	HTTP10   = Wire{"HTTP/1.0", false, overHTTP1("HTTP/1.0", false)}
	HTTP11   = Wire{"HTTP/1.1", false, overHTTP1("HTTP/1.1", false)}
	HTTP11S  = Wire{"HTTP/1.1 over TLS", true, overHTTP1("HTTP/1.1", true)}
	H2C      = Wire{"h2c", false, overHTTP2(false)}
	HTTP2TLS = Wire{"HTTP/2", true, overHTTP2(true)}
	HTTP3    = Wire{"HTTP/3", true, overHTTP3}
	Wires    = []Wire{HTTP10, HTTP11, HTTP11S, H2C, HTTP2TLS, HTTP3}
)

// Send sends a request and returns the answer; its status is 0 if none came.
func (w Wire) Send(s *Stage, r Request) *Answer {
	if r.Host == "" {
		r.Host = s.Host(w)
	}
	return orNothing(w.exchange(s, r))
}

func orNothing(a *Answer, err error) *Answer {
	if err != nil {
		return answerOf(0, http.Header{}, "")
	}
	return a
}

// Host returns the host:port of the site for a wire.
func (s *Stage) Host(w Wire) string {
	if w.IsSecure {
		return s.Secure
	}
	return s.Addr
}

// Origin returns the origin of the site for a wire.
func (s *Stage) Origin(w Wire) string {
	if w.IsSecure {
		return "https://" + s.Secure
	}
	return "http://" + s.Addr
}

// Get sends a GET whose path and fields are neither cleaned nor encoded.
func (s *Stage) Get(path string, fields ...string) *Answer {
	return HTTP11.Send(s, Request{Path: path, Fields: fields})
}

// Raw sends text, after Fill, to the http listener, and returns the first answer. It
// then waits for further answers, so that the server has handled all of the text.
func (s *Stage) Raw(text string) *Answer {
	s.T.Helper()
	conn, err := s.Dial(false, "")
	if err != nil {
		s.T.Error(err)
		return orNothing(nil, err)
	}
	defer conn.Close()
	return orNothing(Talk(conn, s.Fill(text), brief))
}

// Dial connects to the site: if secure, by TLS with the given ALPN protocol.
func (s *Stage) Dial(secure bool, protocol string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: Patience}
	if !secure {
		return dialer.Dial("tcp", s.Addr)
	}
	return (&tls.Dialer{NetDialer: dialer, Config: trusting(protocol)}).Dial("tcp", s.secureAddr())
}

func (s *Stage) secureAddr() string { return "127.0.0.1:" + Port(s.Secure) }

// trusting returns a TLS configuration that accepts any certificate, such as that of
// Caddy's own CA.
func trusting(protocol string) *tls.Config {
	return &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{protocol}}
}

// Talk sends text and returns the first answer of HTTP/1. It also reads what comes
// after it. lasts bounds the time for all of it.
func Talk(conn net.Conn, text string, lasts time.Duration) (*Answer, error) {
	if err := conn.SetDeadline(time.Now().Add(lasts)); err != nil {
		return nil, err
	}
	written := make(chan struct{})
	go func() { // a server that has heard enough stops reading
		defer close(written)
		_, _ = io.WriteString(conn, text)
	}()
	defer func() {
		_ = conn.Close()
		<-written
	}()
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var body []byte
	if answer.StatusCode == http.StatusSwitchingProtocols {
		body, _ = io.ReadAll(in)
	} else {
		body, _ = io.ReadAll(answer.Body)
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = io.Copy(io.Discard, in)
	}
	return &Answer{answer, string(body)}, nil
}

func overHTTP1(version string, secure bool) func(*Stage, Request) (*Answer, error) {
	return func(s *Stage, r Request) (*Answer, error) {
		conn, err := s.Dial(secure, "http/1.1")
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return Talk(conn, r.Text(version), Patience)
	}
}

// Text returns the request in HTTP/1. It adds "Connection: close", unless the fields
// hold a Connection.
func (r Request) Text(version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\r\nHost: %s\r\n", r.method(), r.Path, version, r.Host)
	isOpen := true
	for _, f := range r.Fields {
		if strings.HasPrefix(strings.ToLower(f), "connection:") {
			isOpen = false
		}
		b.WriteString(f + "\r\n")
	}
	if isOpen {
		b.WriteString("Connection: close\r\n")
	}
	switch {
	case len(r.Trailers) > 0:
		b.WriteString("Trailer: " + names(r.Trailers) + "\r\nTransfer-Encoding: chunked\r\n\r\n")
		fmt.Fprintf(&b, "%x\r\n%s\r\n0\r\n%s\r\n\r\n", len(r.Body), r.Body, strings.Join(r.Trailers, "\r\n"))
	case r.Body != "":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(r.Body), r.Body)
	default:
		b.WriteString("\r\n")
	}
	return b.String()
}

// HeaderOf returns the request's fields for HTTP/2 and 3, pseudo-header fields first.
func (r Request) HeaderOf(scheme string) [][2]string {
	if r.Header != nil {
		return r.Header
	}
	all := [][2]string{{":method", r.method()}, {":scheme", scheme}, {":authority", r.Host}, {":path", r.Path}}
	if len(r.Trailers) > 0 {
		all = append(all, [2]string{"trailer", names(r.Trailers)})
	}
	return append(all, pairs(r.Fields)...)
}

func names(fields []string) string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i], _, _ = strings.Cut(f, ":")
	}
	return strings.Join(all, ", ")
}

func pairs(fields []string) [][2]string {
	all := make([][2]string, len(fields))
	for i, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		all[i] = [2]string{strings.ToLower(name), strings.TrimPrefix(value, " ")}
	}
	return all
}
