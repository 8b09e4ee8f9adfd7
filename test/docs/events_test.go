package docs_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/numberverify/caddy-number-verify/internal/events"
	"github.com/numberverify/caddy-number-verify/internal/journal"
	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
	"github.com/numberverify/caddy-number-verify/test/manual"
)

// TestEventsPageTellsEveryEventAndItsData holds the tables of events to what the journal
// emits.
func TestEventsPageTellsEveryEventAndItsData(t *testing.T) {
	section := manual.Section(t, manual.Page(t, "docs/events.md"), "## What is told")
	var told, toldEvents []string
	for _, row := range manual.Rows(section) {
		if strings.HasPrefix(row[0], "`number_verify.") {
			toldEvents = append(toldEvents, strings.Trim(row[0], "`"))
		} else {
			told = append(told, strings.Join(row[:3], " "))
		}
	}
	if !slices.Equal(toldEvents, journal.Events) {
		t.Errorf("the page tells of %v, there are %v", toldEvents, journal.Events)
	}
	emitted := everyEvent()
	var want []string
	for field, in := range emitted {
		slices.Sort(in)
		want = append(want, field+" "+strings.Join(slices.Compact(in), ", "))
	}
	slices.Sort(told)
	slices.Sort(want)
	if !slices.Equal(told, want) {
		t.Errorf("docs/events.md has\n%s\nthere are\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

// everyEvent emits one event of each kind, and returns the events that have a field, by
// the field's name and type.
func everyEvent() map[string][]string {
	found := make(map[string][]string)
	q := events.NewQueue(func(_ context.Context, e events.Event) {
		for name, value := range e.Data {
			field := fmt.Sprintf("`%s` %T", name, value)
			found[field] = append(found[field], "`"+strings.TrimPrefix(e.Name, "number_verify.")+"`")
		}
	})
	events.Process.Open(q)
	j, ctx := journal.New(zap.NewNop()), context.Background()
	j.Verified(ctx, new(ledger.Attempt), &ledger.Session{PublicID: "a1b2c3d4e5f6"})
	j.NotVerified(ctx, new(ledger.Attempt), refusal.NumberMismatch)
	j.AttemptFailed(ctx, new(ledger.Attempt), context.DeadlineExceeded)
	j.AttemptBurned(ctx, new(ledger.Attempt), "another browser came back")
	j.Revoked(ctx, journal.Act{Number: "+33639980001", Sessions: 1})
	j.Revoked(ctx, journal.Act{Session: "a1b2c3d4e5f6", Sessions: 1})
	j.Revoked(ctx, journal.Act{Realm: "www.example.com", Sessions: -1, Failed: true})
	q.Run()
	events.Process.Close(q)
	return found
}
