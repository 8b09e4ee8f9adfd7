package verifier

import (
	"context"
	"net/netip"
	"net/url"

	"github.com/numberverify/caddy-number-verify/internal/remote"
)

// Checker is a Verifier that can look whether it is set up well, for the command
// caddy number-verify check.
type Checker interface {
	// Check looks at the way to the provider and at what the provider says of the
	// configuration, without anything that may be billed. It returns what it found,
	// right or wrong, one thing each, and at least one. No finding holds a secret, a
	// token, or text that the other side sent. Check ends with ctx.
	Check(ctx context.Context) []Finding
}

// Finding is one thing that a check found, in words for the site's operator.
type Finding struct {
	// Subject is what was looked at, such as "TLS" or "licence".
	Subject string
	Grade   Grade
	// Text says how it is: a sentence without its full stop.
	Text string
	// Remedy says what to do about it: a sentence without its full stop. Empty if
	// nothing is to be done.
	Remedy string
}

// Grade says whether a finding is right. The zero value is Wrong.
type Grade uint8

// The grades.
const (
	// Wrong: it has to be mended.
	Wrong Grade = iota
	// Noted: it cannot be told, or is right in some cases only.
	Noted
	// Right: nothing is to be done.
	Right
)

// String names the grade.
func (g Grade) String() string {
	switch g {
	case Right:
		return "right"
	case Noted:
		return "noted"
	default:
		return "wrong"
	}
}

// Reached returns what a call to server tells of the way there: a finding for DNS,
// connection, TLS and HTTP, each as far as it applies, up to the one that failed. Err is
// the error of net/http, or nil if there was an answer. Nothing of err is repeated.
func Reached(server *url.URL, err error) []Finding {
	var found []Finding
	failed, d := false, remote.Diagnosis{}
	if err != nil {
		failed, d = true, remote.Diagnose(err)
	}
	for _, l := range []struct {
		layer remote.Layer
		right string
	}{
		{remote.NameLayer, "the server's name is found"},
		{remote.ConnectionLayer, "the server can be reached"},
		{remote.TLSLayer, "the server's certificate is valid"},
		{remote.HTTPLayer, "the server answers"},
	} {
		if failed && l.layer == d.Layer {
			return append(found, Finding{l.layer.String(), Wrong, d.Text, d.Remedy})
		}
		if applies(l.layer, server) {
			found = append(found, Finding{l.layer.String(), Right, l.right, ""})
		}
	}
	return found
}

func applies(layer remote.Layer, server *url.URL) bool {
	switch layer {
	case remote.NameLayer:
		_, err := netip.ParseAddr(server.Hostname())
		return err != nil
	case remote.TLSLayer:
		return server.Scheme == "https"
	default:
		return true
	}
}
