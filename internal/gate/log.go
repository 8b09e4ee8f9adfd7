package gate

import (
	"context"
	"net/http"
	"net/netip"
	"slices"

	"go.uber.org/zap"
)

// mistakes are the refusals that a visitor causes, which nothing else logs. A
// request without a verification is none of them: every stranger's first is one.
var mistakes = []Code{
	NumberInvalid, NumberUnsupported, NumberUnknown, AttemptExpired, AttemptUnknown, BrowserMismatch, CookiesRequired, CrossOrigin,
}

// logRefusal notes that a visitor was refused for a mistake. The attempt's id is
// "" where there is none.
func (g *Gate) logRefusal(r *http.Request, code Code, id string) {
	if !slices.Contains(mistakes, code) {
		return
	}
	fields := []zap.Field{zap.String("code", string(code)), zap.String("client", loggedAddress(g.cfg.ClientIP(r)))}
	if id != "" {
		fields = append(fields, zap.String("attempt", publicID(id)))
	}
	g.log.Debug("visitor refused", fields...)
}

// Refused notes that verdict refuses a request; Refuse does so itself.
func (g *Gate) Refused(r *http.Request, verdict Verdict) { g.logRefusal(r, verdict.Code, "") }

// clientKey is under which a context has the client's network.
type clientKey struct{}

// withClient puts the client's network into the context, for clientField.
func (g *Gate) withClient(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), clientKey{}, loggedAddress(g.cfg.ClientIP(r))))
}

// clientField tells where the request of ctx comes from.
func clientField(ctx context.Context) zap.Field {
	if client, ok := ctx.Value(clientKey{}).(string); ok {
		return zap.String("client", client)
	}
	return zap.Skip()
}

// loggedAddress is as much of an address as may be logged: the /24 of IPv4, the
// /48 of IPv6. It is not the network of the limits: see client.
func loggedAddress(address string) string {
	addr, err := parseAddress(address)
	if err != nil {
		return "unknown"
	}
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	return netip.PrefixFrom(addr, bits).Masked().String()
}

// parseAddress reads an address; one of IPv4 in an IPv6 one is the former.
func parseAddress(address string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(address)
	return addr.Unmap().WithZone(""), err
}
