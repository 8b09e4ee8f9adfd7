package adversary

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// patience is how long one exchange may take, brief how long one may of which
	// the server may not understand that it is over.
	patience = 5 * time.Second
	brief    = time.Second
)

// request is one that goes out as it stands, however wrong it is.
type request struct {
	method, path string
	// host is what it is sent to: by default the site's own.
	host string
	// fields and trailers are "Name: value".
	fields, trailers []string
	body             string
	// header replaces all of this in HTTP/2 and 3.
	header [][2]string
}

// with returns the request with more fields.
func (r request) with(fields ...string) request {
	r.fields = append(r.fields[:len(r.fields):len(r.fields)], fields...)
	return r
}

// reply is what came back; status is 0 where nothing did.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) location() string { return r.header.Get("Location") }

// wire is a way to send a request.
type wire struct {
	name string
	// isSecure says that it goes to the https listener.
	isSecure bool
	exchange func(s *site, r request) (reply, error)
}

var (
	http10   = wire{"HTTP/1.0", false, overHTTP1("HTTP/1.0", false)}
	http11   = wire{"HTTP/1.1", false, overHTTP1("HTTP/1.1", false)}
	http11S  = wire{"HTTP/1.1 over TLS", true, overHTTP1("HTTP/1.1", true)}
	h2c      = wire{"h2c", false, overHTTP2(false)}
	http2TLS = wire{"HTTP/2", true, overHTTP2(true)}
	http3    = wire{"HTTP/3", true, overHTTP3}
	wires    = []wire{http10, http11, http11S, h2c, http2TLS, http3}
)

// send sends a request and returns the answer, if any.
func (w wire) send(s *site, r request) reply {
	if r.host == "" {
		r.host = s.host(w)
	}
	a, err := w.exchange(s, r)
	if err != nil {
		return reply{}
	}
	return a
}

// host is the site's own, as reached by that wire.
func (s *site) host(w wire) string {
	if w.isSecure {
		return s.secure
	}
	return s.plain
}

// origin is the site's, as reached by that wire.
func (s *site) origin(w wire) string {
	if w.isSecure {
		return "https://" + s.secure
	}
	return "http://" + s.plain
}

// raw sends bytes to the http listener, and returns the first answer. It waits
// for more that may come, so that all of it has happened.
func (s *site) raw(t *testing.T, text string) reply {
	t.Helper()
	conn, err := net.Dial("tcp", s.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a, err := talk(conn, s.fill(text), brief)
	if err != nil {
		return reply{}
	}
	return a
}

// fill puts the site's own values into a request's text.
func (s *site) fill(text string) string {
	return strings.NewReplacer("PLAIN", s.plain, "SECURE", s.secure).Replace(text)
}

func talk(conn net.Conn, text string, lasts time.Duration) (reply, error) {
	if err := conn.SetDeadline(time.Now().Add(lasts)); err != nil {
		return reply{}, err
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
		return reply{}, err
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
	return reply{answer.StatusCode, answer.Header, string(body)}, nil
}

func overHTTP1(version string, secure bool) func(*site, request) (reply, error) {
	return func(s *site, r request) (reply, error) {
		conn, err := dial(s, secure, "http/1.1")
		if err != nil {
			return reply{}, err
		}
		defer conn.Close()
		return talk(conn, r.text(version), patience)
	}
}

// text is the request in HTTP/1.
func (r request) text(version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s\r\nHost: %s\r\n", r.method, r.path, version, r.host)
	isOpen := true
	for _, f := range r.fields {
		if strings.HasPrefix(strings.ToLower(f), "connection:") {
			isOpen = false
		}
		b.WriteString(f + "\r\n")
	}
	if isOpen {
		b.WriteString("Connection: close\r\n")
	}
	switch {
	case len(r.trailers) > 0:
		b.WriteString("Trailer: " + names(r.trailers) + "\r\nTransfer-Encoding: chunked\r\n\r\n")
		fmt.Fprintf(&b, "%x\r\n%s\r\n0\r\n%s\r\n\r\n", len(r.body), r.body, strings.Join(r.trailers, "\r\n"))
	case r.body != "":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(r.body), r.body)
	default:
		b.WriteString("\r\n")
	}
	return b.String()
}

func names(fields []string) string {
	all := make([]string, len(fields))
	for i, f := range fields {
		all[i], _, _ = strings.Cut(f, ":")
	}
	return strings.Join(all, ", ")
}

func dial(s *site, secure bool, protocol string) (net.Conn, error) {
	if !secure {
		return net.DialTimeout("tcp", s.plain, patience)
	}
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: trusting(protocol)}
	return dialer.Dial("tcp", "127.0.0.1:"+port(s.secure))
}

// trusting accepts the certificate of Caddy's own CA, which is of this test.
func trusting(protocol string) *tls.Config {
	return &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{protocol}}
}

// headerOf are the request's fields as HTTP/2 and 3 have them: the first ones say
// what is asked for.
func (r request) headerOf(scheme string) [][2]string {
	if r.header != nil {
		return r.header
	}
	all := [][2]string{{":method", r.method}, {":scheme", scheme}, {":authority", r.host}, {":path", r.path}}
	if len(r.trailers) > 0 {
		all = append(all, [2]string{"trailer", names(r.trailers)})
	}
	return append(all, pairs(r.fields)...)
}

func pairs(fields []string) [][2]string {
	all := make([][2]string, len(fields))
	for i, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		all[i] = [2]string{strings.ToLower(name), strings.TrimPrefix(value, " ")}
	}
	return all
}

func overHTTP2(secure bool) func(*site, request) (reply, error) {
	return func(s *site, r request) (reply, error) {
		conn, err := dial(s, secure, "h2")
		if err != nil {
			return reply{}, err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return reply{}, err
		}
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			return reply{}, err
		}
		scheme := "http"
		if secure {
			scheme = "https"
		}
		f := http2.NewFramer(conn, conn)
		f.AllowIllegalWrites = true
		if err := writeHTTP2(f, r, scheme); err != nil {
			return reply{}, err
		}
		return readHTTP2(f)
	}
}

func writeHTTP2(f *http2.Framer, r request, scheme string) error {
	if err := f.WriteSettings(); err != nil {
		return err
	}
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	write := func(fields [][2]string, isLast bool) error {
		block.Reset()
		for _, p := range fields {
			if err := encoder.WriteField(hpack.HeaderField{Name: p[0], Value: p[1]}); err != nil {
				return err
			}
		}
		const most = 16 << 10
		rest := block.Bytes()
		first := rest[:min(most, len(rest))]
		rest = rest[len(first):]
		err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: isLast, EndHeaders: len(rest) == 0})
		for err == nil && len(rest) > 0 {
			part := rest[:min(most, len(rest))]
			rest = rest[len(part):]
			err = f.WriteContinuation(1, len(rest) == 0, part)
		}
		return err
	}
	hasMore := r.body != "" || len(r.trailers) > 0
	if err := write(r.headerOf(scheme), !hasMore); err != nil || !hasMore {
		return err
	}
	if err := f.WriteData(1, len(r.trailers) == 0, []byte(r.body)); err != nil || len(r.trailers) == 0 {
		return err
	}
	return write(pairs(r.trailers), true)
}

func readHTTP2(f *http2.Framer) (reply, error) {
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	a := reply{header: make(http.Header)}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return a, err
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			for _, field := range frame.Fields {
				a.add(field.Name, field.Value)
			}
			if frame.StreamEnded() {
				return a, nil
			}
		case *http2.DataFrame:
			a.body += string(frame.Data())
			if frame.StreamEnded() {
				return a, nil
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return a, nil
		}
	}
}

// add puts a field of HTTP/2 or 3 into the answer.
func (a *reply) add(name, value string) {
	if name == ":status" {
		a.status, _ = strconv.Atoi(value)
		return
	}
	a.header.Add(name, value)
}

// Frames of HTTP/3, RFC 9114.
const (
	frameData    = 0
	frameHeaders = 1
)

func overHTTP3(s *site, r request) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := quic.DialAddr(ctx, "127.0.0.1:"+port(s.secure), trusting("h3"), nil)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = conn.CloseWithError(0x100, "") }()
	control, err := conn.OpenUniStream()
	if err != nil {
		return reply{}, err
	}
	if _, err := control.Write([]byte{0, 4, 0}); err != nil { // a control stream, with no settings
		return reply{}, err
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return reply{}, err
	}
	_ = stream.SetDeadline(time.Now().Add(patience))
	out := frameHTTP3(frameHeaders, packed(r.headerOf("https")))
	if r.body != "" || len(r.trailers) > 0 {
		out = append(out, frameHTTP3(frameData, []byte(r.body))...)
	}
	if len(r.trailers) > 0 {
		out = append(out, frameHTTP3(frameHeaders, packed(pairs(r.trailers)))...)
	}
	if _, err := stream.Write(out); err != nil {
		return reply{}, err
	}
	_ = stream.Close()
	return readHTTP3(bufio.NewReader(stream))
}

func packed(fields [][2]string) []byte {
	var block bytes.Buffer
	encoder := qpack.NewEncoder(&block)
	for _, p := range fields {
		_ = encoder.WriteField(qpack.HeaderField{Name: p[0], Value: p[1]}) // to memory
	}
	return block.Bytes()
}

func frameHTTP3(kind uint64, payload []byte) []byte {
	return append(quicvarint.Append(quicvarint.Append(nil, kind), uint64(len(payload))), payload...)
}

func readHTTP3(in *bufio.Reader) (reply, error) {
	a := reply{header: make(http.Header)}
	for {
		kind, err := quicvarint.Read(in)
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return a, err
		}
		size, err := quicvarint.Read(in)
		if err != nil {
			return a, err
		}
		payload := make([]byte, min(size, 1<<20))
		if _, err := io.ReadFull(in, payload); err != nil {
			return a, err
		}
		switch kind {
		case frameHeaders:
			next := qpack.NewDecoder().Decode(payload)
			for field, err := next(); err == nil; field, err = next() {
				a.add(field.Name, field.Value)
			}
		case frameData:
			a.body += string(payload)
		}
	}
}
