package gate

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// What takes the lines for one list, as CGI does, reads both.
func TestUpgradeToATunnelBesideAWebSocketIsRemoved(t *testing.T) {
	for _, lines := range [][]string{{"websocket", "h2c"}, {"h2c", "websocket"}, {"websocket, h2c"}, {"h2c"}, {""}} {
		v := NewVisit(http.MethodGet, nil)
		h := http.Header{"Upgrade": lines}
		v.stripHeaders(h, "X-Verified-")
		if len(h) != 0 {
			t.Errorf("%q stays", lines)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Upgrade", " WebSocket")
	NewVisit(r.Method, r.URL).stripHeaders(r.Header, "X-Verified-")
	if r.Header.Get("Upgrade") == "" {
		t.Error("a WebSocket alone is removed")
	}
}
