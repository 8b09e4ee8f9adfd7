package remote

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// quoted is what the other side sends. No error may repeat it.
const quoted = "number0639980001"

// serve answers each connection to it with text.
func serve(t *testing.T, answer func(net.Conn)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			answer(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return listener.Addr().String()
}

func says(text string) func(net.Conn) {
	return func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1<<12))
		_, _ = io.WriteString(conn, text)
	}
}

// certificate returns a self-signed certificate for another name.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: quoted}, DNSNames: []string{quoted + ".example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func reset(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1<<12))
	_ = conn.(*net.TCPConn).SetLinger(0)
}

func TestErrorsOfRealConnectionsBecomeWordsThatQuoteNothing(t *testing.T) {
	secure := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	refused := serve(t, func(net.Conn) {})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	_ = closed.Close()
	impostor := serve(t, func(conn net.Conn) { _ = tls.Server(conn, secure).Handshake() })
	plain := serve(t, says("HTTP/1.1 200 "+quoted+"\r\n\r\n"))
	garbage := serve(t, says(quoted+"\r\n\r\n"))
	old := serve(t, func(conn net.Conn) {
		_ = tls.Server(conn, &tls.Config{Certificates: secure.Certificates, MaxVersion: tls.VersionTLS10, MinVersion: tls.VersionTLS10}).Handshake()
	})
	for name, c := range map[string]struct {
		url  string
		want Cause
	}{
		"nobody listens":            {"http://" + nobody, Refused},
		"the end":                   {"http://" + refused, ""},
		"a reset":                   {"http://" + serve(t, reset), Reset},
		"an unknown host":           {"http://" + quoted + ".invalid", DNS},
		"no HTTP":                   {"http://" + garbage, Protocol},
		"another name":              {"https://" + strings.Replace(impostor, "127.0.0.1", "localhost", 1), Certificate},
		"HTTP in place of TLS":      {"https://" + plain, TLS},
		"no TLS":                    {"https://" + garbage, TLS},
		"a version that is too old": {"https://" + old, TLS},
		"an answer that is cut off": {"http://" + serve(t, says("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"+quoted)), Closed},
		"a bad length":              {"http://" + serve(t, says("HTTP/1.1 200 OK\r\nContent-Length: "+quoted+"\r\n\r\n")), Protocol},
		"headers that are too long": {"http://" + serve(t, says("HTTP/1.1 200 OK\r\n"+quoted+": "+strings.Repeat("a", 5000)+"\r\n\r\n")), Protocol},
	} {
		t.Run(name, func(t *testing.T) {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 1000}, Timeout: 5 * time.Second}
			resp, err := client.Get(c.url)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			got := Plain(err)
			if got == nil || strings.Contains(got.Error(), "0639980001") {
				t.Errorf("%v becomes %v", err, got)
			}
			if c.want != "" && got != c.want {
				t.Errorf("%v becomes %q, want %q", err, got, c.want)
			}
		})
	}
}

func TestTimesThatRunOut(t *testing.T) {
	hanging := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	brief, end := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer end()
	for want, ctx := range map[Cause]context.Context{Canceled: gone, Timeout: brief} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+hanging+"/?"+quoted, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = http.DefaultTransport.RoundTrip(r)
		if got := Plain(err); got != want || !errors.Is(got, ctx.Err()) {
			t.Errorf("%v becomes %v, want %v", err, got, want)
		}
	}
	if errors.Is(Canceled, context.DeadlineExceeded) || errors.Is(Timeout, context.Canceled) || errors.Is(Reset, context.Canceled) {
		t.Error("a cause is taken for another")
	}
}

func TestWhatIsNotKnownIsToldByAFixedWord(t *testing.T) {
	for _, err := range []error{errors.New(quoted), fmt.Errorf("x: %w", errors.New(quoted)), errors.Join(errors.New(quoted), errors.New(quoted))} {
		if got := Plain(err); got != Protocol {
			t.Errorf("%v becomes %v", err, got)
		}
	}
	if Plain(nil) != nil || Plain(fmt.Errorf("%s: %w", quoted, Reset)) != Reset || Plain(&net.OpError{Op: "dial", Err: errors.New(quoted)}) != Transport {
		t.Error("nil, a cause or a failure to connect becomes something else")
	}
}
