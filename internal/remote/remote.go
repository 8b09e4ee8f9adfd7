// Package remote makes connections to servers that are not trusted (transport.go), and
// turns their errors into a few fixed causes that are safe to log (diagnosis.go: into
// sentences for the site's operator). The errors of net/http, crypto/tls and others are
// not: they quote what the other side sent, which may repeat a number or a secret.
package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
)

// Cause is the reason why a call failed: one of the constants below.
type Cause string

// The causes.
const (
	Canceled    Cause = "canceled"
	Timeout     Cause = "timeout"
	Refused     Cause = "connection refused"
	Reset       Cause = "connection reset"
	Closed      Cause = "connection closed early"
	Unreachable Cause = "host unreachable"
	DNS         Cause = "DNS: the host's name is not found"
	Certificate Cause = "TLS: the certificate is not trusted"
	TLS         Cause = "TLS failed"
	TooLong     Cause = "the answer is too long"
	Transport   Cause = "transport failed"
	Protocol    Cause = "protocol: the answer is not understood"
)

// Error implements error.
func (c Cause) Error() string { return string(c) }

// Is makes Canceled and Timeout match the errors of a context that has ended.
func (c Cause) Is(target error) bool {
	return (c == Canceled && target == context.Canceled) || (c == Timeout && target == context.DeadlineExceeded)
}

// causes maps errors to causes. The first match counts, so the most specific come
// first.
var causes = []struct {
	cause Cause
	of    func(error) bool
}{
	{Canceled, is(context.Canceled)},
	{Timeout, is(context.DeadlineExceeded, os.ErrDeadlineExceeded, syscall.ETIMEDOUT)},
	{Timeout, isTimeout},
	{DNS, as[*net.DNSError]},
	{Refused, is(syscall.ECONNREFUSED)},
	{Reset, is(syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED)},
	{Unreachable, is(syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN)},
	{Certificate, as[*tls.CertificateVerificationError]},
	{Certificate, as[x509.UnknownAuthorityError]},
	{Certificate, as[x509.HostnameError]},
	{Certificate, as[x509.CertificateInvalidError]},
	{TLS, as[tls.RecordHeaderError]},
	{TLS, as[tls.AlertError]},
	{TLS, is(http.ErrSchemeMismatch)},
	{TLS, isAlert},
	{Closed, is(io.EOF, io.ErrUnexpectedEOF, net.ErrClosed)},
	{Transport, as[*net.OpError]},
}

// Plain returns the cause of err, or nil if err is nil. An unknown error counts as
// Protocol: the other side did not keep to it.
func Plain(err error) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[Cause](err); ok {
		return known
	}
	for _, c := range causes {
		if c.of(err) {
			return c.cause
		}
	}
	return Protocol
}

func is(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// isAlert tells whether one side ended TLS with an alert, for which there is no
// error type.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "remote error" || op.Op == "local error")
}
