package journal

import (
	"context"
	"maps"
	"testing"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/events"
)

func TestEventOfARevocationTellsWhatWasEnded(t *testing.T) {
	for name, c := range map[string]struct {
		act  Act
		want map[string]any
	}{
		"a number":               {Act{Number: "+33639980001", Sessions: 2}, map[string]any{"scope": "number", "number": "+33 6 •• •• •• 01", "sessions": int64(2)}},
		"a number of nobody":     {Act{Number: "+33639980001"}, map[string]any{"scope": "number", "number": "+33 6 •• •• •• 01", "sessions": int64(0)}},
		"a session":              {Act{Session: "a1b2c3d4e5f6", Sessions: 1}, map[string]any{"scope": "session", "session": "a1b2c3d4e5f6", "sessions": int64(1)}},
		"a session that is none": {Act{Session: "+33639980001"}, map[string]any{"scope": "session", "sessions": int64(0)}},
		"a realm":                {Act{Realm: "www.example.com", Sessions: -1}, map[string]any{"scope": "realm", "realm": "www.example.com"}},
		"all, in part":           {Act{Sessions: -1, Failed: true}, map[string]any{"scope": "all", "failed": true}},
	} {
		t.Run(name, func(t *testing.T) {
			var got map[string]any
			hub := new(events.Hub)
			q := events.NewQueue(func(_ context.Context, e events.Event) { got = e.Data })
			hub.Open(q)
			j := New(zap.NewNop())
			j.events = hub
			j.Revoked(t.Context(), c.act)
			q.Run()
			hub.Close(q)
			if !maps.Equal(got, c.want) {
				t.Errorf("it tells %v, want %v", got, c.want)
			}
		})
	}
}
