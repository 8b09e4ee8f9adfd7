package adversary

import (
	"fmt"
	"net/http"
	"testing"

	"golang.org/x/net/http2"

	"github.com/numberverify/caddy-number-verify/test/stage"
)

// stream is bytes that two servers may split into requests in two ways. They go
// out as they stand.
type stream struct {
	vector
	text string
}

// The kinds of mistakes that streams imitate.
const (
	twoLengths  = "CVE-2022-1705 (Go) and its kind, request smuggling: two parsers take different lengths for the body"
	badChunks   = "CVE-2025-22871 (Go) and its kind, request smuggling: chunked bodies that are malformed"
	badLine     = "request lines that are read leniently"
	connection  = "a decision that was made for one request of a connection, used for the next"
	badProtocol = "another protocol or version than the server expects"
)

// smuggled is the request that must not arrive.
const smuggled = "GET /account/smuggled HTTP/1.1\r\nHost: SITE\r\nX-Verified-Number: forged\r\n\r\n"

func post(fields, body string) string {
	return "POST /public HTTP/1.1\r\nHost: SITE\r\n" + fields + "\r\n" + body
}

var streams = []stream{
	{vector{"a length and chunks (CL.TE)", twoLengths}, post("Content-Length: 200\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+smuggled)},
	{vector{"chunks and a length (TE.CL)", twoLengths}, post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\n"+smuggled+"\r\n0\r\n\r\n")},
	{vector{"chunks in an unknown coding", twoLengths}, post("Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n", smuggled)},
	{vector{"chunked behind a tab", twoLengths}, post("Transfer-Encoding:\tchunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"+smuggled)},
	{vector{"chunked behind a vertical tab", twoLengths}, post("Transfer-Encoding: \x0bchunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"+smuggled)},
	{vector{"chunked with a blank before the colon", twoLengths}, post("Transfer-Encoding : chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"+smuggled)},
	{vector{"chunked on a folded line", twoLengths}, post("Transfer-Encoding:\r\n chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"+smuggled)},
	{vector{"chunked twice", twoLengths}, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+smuggled)},
	{vector{"chunked and identity", twoLengths}, post("Transfer-Encoding: chunked, identity\r\nContent-Length: 0\r\n", "0\r\n\r\n"+smuggled)},
	{vector{"identity and chunked on two lines", twoLengths}, post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"+smuggled)},
	{vector{"chunked in quotes", twoLengths}, post("Transfer-Encoding: \"chunked\"\r\nContent-Length: 0\r\n", "0\r\n\r\n"+smuggled)},
	{vector{"two lengths", twoLengths}, post("Content-Length: 0\r\nContent-Length: 100\r\n", smuggled)},
	{vector{"a list of lengths", twoLengths}, post("Content-Length: 0, 100\r\n", smuggled)},
	{vector{"a length with a sign", twoLengths}, post("Content-Length: +0\r\n", smuggled)},
	{vector{"a negative length", twoLengths}, post("Content-Length: -1\r\n", smuggled)},
	{vector{"a length in hexadecimal", twoLengths}, post("Content-Length: 0x10\r\n", smuggled)},
	{vector{"a length with an underscore", twoLengths}, post("Content-Length: 1_0\r\n", smuggled)},
	{vector{"a length that overflows", twoLengths}, post("Content-Length: 18446744073709551616\r\n", smuggled)},
	{vector{"an empty length", twoLengths}, post("Content-Length:\r\n", smuggled)},
	{vector{"a length of a name with an underscore", twoLengths}, post("Content_Length: 100\r\n", smuggled)},
	{vector{"a body of GET (CL.0)", twoLengths}, "GET /public HTTP/1.1\r\nHost: SITE\r\nContent-Length: 40\r\n\r\n" + smuggled},
	{vector{"a body of an endpoint that reads none (CL.0)", twoLengths}, fmt.Sprintf("GET /.number-verify/status HTTP/1.1\r\nHost: SITE\r\nContent-Length: %d\r\n\r\nX", 1) + smuggled},
	{vector{"a body that is refused, and is a request", twoLengths}, "POST /account/ HTTP/1.1\r\nHost: SITE\r\nContent-Length: 10\r\n\r\n" + smuggled},
	{vector{"a body in chunks that is refused, and more", twoLengths}, "POST /account/ HTTP/1.1\r\nHost: SITE\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n" + smuggled},
	{vector{"a websocket that is refused, and more", connection}, "GET /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + smuggled},
	{vector{"a body of HTTP/1.0 in chunks", twoLengths}, "POST /public HTTP/1.0\r\nHost: SITE\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled},

	{vector{"a chunk with an extension that breaks its line", badChunks}, post("Transfer-Encoding: chunked\r\n", "1;a\nb\r\nx\r\n0\r\n\r\n"+smuggled)},
	{vector{"a chunk size that ends in a bare line feed", badChunks}, post("Transfer-Encoding: chunked\r\n", "1\nx\r\n0\r\n\r\n"+smuggled)},
	{vector{"a chunk size with 0x", badChunks}, post("Transfer-Encoding: chunked\r\n", "0x1\r\nx\r\n0\r\n\r\n"+smuggled)},
	{vector{"a negative chunk size", badChunks}, post("Transfer-Encoding: chunked\r\n", "-1\r\nx\r\n0\r\n\r\n"+smuggled)},
	{vector{"a chunk size that overflows", badChunks}, post("Transfer-Encoding: chunked\r\n", "10000000000000000\r\nx\r\n0\r\n\r\n"+smuggled)},
	{vector{"a chunk size with blanks", badChunks}, post("Transfer-Encoding: chunked\r\n", " 1 \r\nx\r\n0\r\n\r\n"+smuggled)},
	{vector{"no chunk size", badChunks}, post("Transfer-Encoding: chunked\r\n", "\r\n0\r\n\r\n"+smuggled)},
	{vector{"a last chunk of many zeros", badChunks}, post("Transfer-Encoding: chunked\r\n", "0000000000000000000\r\n\r\n"+smuggled)},
	{vector{"trailers that are a request", badChunks}, post("Transfer-Encoding: chunked\r\n", "0\r\nGET /account/smuggled HTTP/1.1\r\nX-Verified-Number: forged\r\n\r\n")},

	{vector{"no Host", badLine}, "GET /account/ HTTP/1.1\r\nConnection: close\r\n\r\n"},
	{vector{"two Hosts", badLine}, "GET /account/ HTTP/1.1\r\nHost: SITE\r\nHost: evil.example\r\nConnection: close\r\n\r\n"},
	{vector{"blanks around the path", badLine}, "GET  /account/  HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"a tab in the request line", badLine}, "GET\t/account/\tHTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"a blank in the path", badLine}, "GET /public /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"empty lines before", badLine}, "\r\n\r\nGET /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"line feeds alone", badLine}, "GET /account/ HTTP/1.1\nHost: SITE\nConnection: close\n\n"},
	{vector{"carriage returns alone", badLine}, "GET /account/ HTTP/1.1\rHost: SITE\rConnection: close\r\r"},
	{vector{"a method in lower case", badLine}, "get /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"a method that nobody knows", badLine}, "VERIFIED /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"HEAD", badLine}, "HEAD /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"PUT", badLine}, "PUT /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"PATCH", badLine}, "PATCH /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"DELETE", badLine}, "DELETE /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"PROPFIND", badLine}, "PROPFIND /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"CONNECT", badLine}, "CONNECT SITE HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"CONNECT to a path", badLine}, "CONNECT /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"TRACE", badLine}, "TRACE /account/ HTTP/1.1\r\nHost: SITE\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n"},
	{vector{"an asterisk", badLine}, "OPTIONS * HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},

	{vector{"two requests at once, the first one open", connection}, "GET /public HTTP/1.1\r\nHost: SITE\r\n\r\nGET /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"a body that looks like the headers", connection}, post("Content-Length: 62\r\nConnection: close\r\n", "X-Verified-Number: forged\r\nCookie: number-verify=AAAAAAAAAAAAAAAA")},
	{vector{"an expectation, and more", connection}, post("Expect: 100-continue\r\nContent-Length: 0\r\n", smuggled)},
	{vector{"an upgrade, and more", connection}, "GET /public HTTP/1.1\r\nHost: SITE\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n" + smuggled},

	{vector{"HTTP/0.9", badProtocol}, "GET /account/\r\n"},
	{vector{"HTTP/1.2", badProtocol}, "GET /account/ HTTP/1.2\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"HTTP/2.0 in words", badProtocol}, "GET /account/ HTTP/2.0\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"HTTP/9.9", badProtocol}, "GET /account/ HTTP/9.9\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"http in lower case", badProtocol}, "GET /account/ http/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"HTTP/1.0 without a Host", badProtocol}, "GET /account/ HTTP/1.0\r\n\r\n"},
	{vector{"the preface of HTTP/2, then HTTP/1", badProtocol}, http2.ClientPreface + "GET /account/ HTTP/1.1\r\nHost: SITE\r\n\r\n"},
	{vector{"a PROXY line", badProtocol}, "PROXY TCP4 127.0.0.1 127.0.0.1 1 80\r\nGET /account/ HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"},
	{vector{"TLS to the port of plain HTTP", badProtocol}, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"},
}

func TestDesynchronisedRequests(t *testing.T) {
	s := newSite(t, account)
	attack(t, "Requests that two servers read differently", streams, func(t *testing.T, v stream) {
		s.Raw(v.text)
		s.unverified(t)
	})
}

// A connection of the proxy to the site may be shared by visitors, one of the
// visitor to the proxy by requests: each is decided on its own.
func TestSessionOfOneRequestIsNotThatOfTheNext(t *testing.T) {
	s := newSite(t, account)
	v := s.verifiedAt(t, s.Origin(stage.HTTP11))
	s.Upstream.Take()
	first := "GET /account/mine HTTP/1.1\r\nHost: SITE\r\n" + v.CookieField() + "\r\n\r\n"
	conn, err := s.Dial(false, "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer, err := stage.Talk(conn, s.Fill(first+"GET /account/other HTTP/1.1\r\nHost: SITE\r\nConnection: close\r\n\r\n"), stage.Patience)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%d, %v", answer.StatusCode, err)
	}
	if got := s.Upstream.Take(); len(got) != 1 || got[0].RequestURI != "/account/mine" {
		t.Errorf("arrived: %v", got)
	}
}

// Pseudo-headers are HTTP/2's and HTTP/3's request line: what they say twice, or
// wrongly, must not reach the site either.
func TestPseudoHeaders(t *testing.T) {
	type pseudo struct {
		vector
		header [][2]string
	}
	line := func(path string, more ...[2]string) [][2]string {
		return append([][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "SECURE"}, {":path", path}}, more...)
	}
	const like = "HTTP/2 and HTTP/3 requests that become another one in HTTP/1"
	vectors := []pseudo{
		{vector{"two paths", like}, line("/public", [2]string{":path", "/account/"})},
		{vector{"two methods", like}, line("/account/", [2]string{":method", "OPTIONS"})},
		{vector{"two authorities", like}, line("/account/", [2]string{":authority", "evil.example"})},
		{vector{"an authority and another Host", like}, line("/account/", [2]string{"host", "evil.example"})},
		{vector{"no authority, a Host", like}, [][2]string{{":method", "GET"}, {":scheme", "https"}, {":path", "/account/"}, {"host", "SECURE"}}},
		{vector{"no path", like}, [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "SECURE"}}},
		{vector{"an empty path", like}, line("")},
		{vector{"a path without its slash", like}, line("account/")},
		{vector{"a whole address as path", like}, line("https://SECURE/account/")},
		{vector{"a line break in the path", like}, line("/public HTTP/1.1\r\nX-Verified-Number: forged\r\nX: ")},
		{vector{"a line break in the method", like}, [][2]string{{":method", "GET /account/ HTTP/1.1\r\nX: "}, {":scheme", "https"}, {":authority", "SECURE"}, {":path", "/public"}}},
		{vector{"a line break in a value", like}, line("/public", [2]string{"x-other", "a\r\nX-Verified-Number: forged"})},
		{vector{"a line break in a name", like}, line("/public", [2]string{"x-other: a\r\nx-verified-number", "forged"})},
		{vector{"an upper case name", like}, line("/public", [2]string{"X-Verified-Number", forged})},
		{vector{"a pseudo-header at the end", like}, line("/public", [2]string{"x-other", "a"}, [2]string{":path", "/account/"})},
		{vector{"a pseudo-header that nobody knows", like}, line("/account/", [2]string{":verified", "true"})},
		{vector{"an extended CONNECT", like}, [][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"}, {":authority", "SECURE"}, {":path", "/account/"}}},
		{vector{"an extended CONNECT of another protocol", like}, [][2]string{{":method", "CONNECT"}, {":protocol", "connect-udp"}, {":scheme", "https"}, {":authority", "SECURE"}, {":path", "/account/"}}},
		{vector{"the scheme of another site", like}, [][2]string{{":method", "GET"}, {":scheme", "file"}, {":authority", "SECURE"}, {":path", "/account/"}}},
		{vector{"connection headers", like}, line("/public", [2]string{"connection", "x-verified-number"}, [2]string{"transfer-encoding", "chunked"})},
		{vector{"a length that lies", like}, line("/account/", [2]string{"content-length", "100"})},
		{vector{"cookie crumbs", like}, line("/account/", [2]string{"cookie", "number-verify=A"}, [2]string{"cookie", "__Host-number-verify=B"})},
	}
	s := newSite(t, account)
	attack(t, "Pseudo-headers", vectors, func(t *testing.T, v pseudo) {
		header := make([][2]string, len(v.header))
		for i, p := range v.header {
			header[i] = [2]string{p[0], s.Fill(p[1])}
		}
		for _, w := range []stage.Wire{stage.HTTP2TLS, stage.HTTP3} {
			w.Send(s.Stage, stage.Request{Header: header})
			s.unverified(t)
		}
	})
}
