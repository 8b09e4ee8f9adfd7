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
	fields := []zap.Field{zap.String("code", string(code)), zap.String("client", network(g.cfg.ClientIP(r)))}
	if id != "" {
		fields = append(fields, zap.String("attempt", publicID(id)))
	}
	g.log.Debug("visitor refused", fields...)
}

// Refused notes that verdict refuses a request that the gate does not answer itself.
func (g *Gate) Refused(r *http.Request, verdict Verdict) { g.logRefusal(r, verdict.Code, "") }

// clientKey is under which a context has the client's network.
type clientKey struct{}

// withClient has what is done for the request log where it comes from.
func (g *Gate) withClient(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), clientKey{}, network(g.cfg.ClientIP(r))))
}

// clientField tells where the request of ctx comes from.
func clientField(ctx context.Context) zap.Field {
	if client, ok := ctx.Value(clientKey{}).(string); ok {
		return zap.String("client", client)
	}
	return zap.Skip()
}

// network is as much of an address as may be logged: the /24 of IPv4, the /48 of
// IPv6.
func network(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return "unknown"
	}
	addr = addr.Unmap().WithZone("")
	bits := 48
	if addr.Is4() {
		bits = 24
	}
	return netip.PrefixFrom(addr, bits).Masked().String()
}

// toProblem sends a visitor to the page of a problem; see logRefusal.
func (g *Gate) toProblem(w http.ResponseWriter, r *http.Request, code Code, id string) {
	g.logRefusal(r, code, id)
	g.redirect(w, g.problemURL(code))
}
