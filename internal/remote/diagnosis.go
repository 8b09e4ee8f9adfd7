package remote

import (
	"crypto/x509"
	"errors"
	"net"
)

// Layer is a part of a connection. Each is reached after the one before it.
type Layer int

// The layers.
const (
	NameLayer Layer = iota
	ConnectionLayer
	TLSLayer
	HTTPLayer
)

// String names the layer.
func (l Layer) String() string {
	return [...]string{"DNS", "connection", "TLS", "HTTP"}[l]
}

// Diagnosis says at which layer a call failed, in a sentence without end, and what to
// do about it.
type Diagnosis struct {
	Layer        Layer
	Text, Remedy string
}

var diagnoses = map[Cause]Diagnosis{
	DNS:         {NameLayer, "the server's name is not found", "check how it is written, and the name servers of this machine"},
	Canceled:    {ConnectionLayer, "it was broken off before there was an answer", "try again"},
	Timeout:     {ConnectionLayer, "there is no answer in time", "see whether a firewall drops the connection; if the server is only slow, allow it more time"},
	Refused:     {ConnectionLayer, "the connection is refused: nothing listens there, or a firewall says so", "check host and port"},
	Unreachable: {ConnectionLayer, "there is no way to that host", "check the network and the firewall of this machine"},
	Reset:       {ConnectionLayer, "the connection is cut before there is an answer", "see whether a firewall or a proxy in between does it; otherwise ask who runs the server"},
	Closed:      {ConnectionLayer, "the connection is closed before there is an answer", "see whether a firewall or a proxy in between does it; otherwise ask who runs the server"},
	Transport:   {ConnectionLayer, "the connection failed", "check the network of this machine"},
	Certificate: {TLSLayer, "the server's certificate is not valid", "ask who runs the server"},
	TLS:         {TLSLayer, "the server does not speak TLS on this port, or not as this Caddy does", "check the port, and whether the address really begins with https"},
	TooLong:     {HTTPLayer, "the answer is far too long", "check the address: something else answers there"},
	Protocol:    {HTTPLayer, "what answers does not speak HTTP", "check host and port"},
}

// Diagnose returns the diagnosis of the error of a call. Like Plain it repeats nothing
// of the error.
func Diagnose(err error) Diagnosis {
	cause, _ := errors.AsType[Cause](Plain(err))
	d := diagnoses[cause]
	switch {
	case cause == Certificate && isExpired(err):
		d.Text = "the server's certificate has expired, or is not valid yet"
		d.Remedy = "look at this machine's clock; if it is right, whoever runs the server has to renew the certificate"
	case cause == Certificate && as[x509.HostnameError](err):
		d.Text, d.Remedy = "the server's certificate is for another name", "check the host; something else may answer in its place"
	case cause == Certificate && as[x509.UnknownAuthorityError](err):
		d.Text = "the server's certificate comes from an authority that this machine does not know"
		d.Remedy = "see whether the package ca-certificates is installed, and whether a proxy that reads TLS is in between"
	case isDNSFailure(err): // also a timeout
		d = Diagnosis{NameLayer, "the name servers of this machine do not answer", "check its network and its name servers"}
	}
	return d
}

func isExpired(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

func isDNSFailure(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && !dns.IsNotFound
}
