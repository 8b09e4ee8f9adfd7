package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

// messages returns the messages of lines.
func messages(t *testing.T, lines []Line) (all []string) {
	t.Helper()
	for _, line := range lines {
		var object struct {
			Time, Level, Message string
			Reference            string
		}
		if err := json.Unmarshal(line, &object); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if _, err := time.Parse(time.RFC3339, object.Time); err != nil || object.Level == "" || object.Reference == "" {
			t.Errorf("%s", line)
		}
		all = append(all, object.Message)
	}
	return all
}

// newAttempt returns the context of an attempt, and its reference.
func newAttempt(t *testing.T) (context.Context, string) {
	t.Helper()
	id := ledger.AttemptID(ledger.NewID())
	return WithAttempt(WithClient(t.Context(), "192.0.2.1"), id), ledger.Reference(id)
}

func TestAttemptIsRecalledInOrderWhateverTheLevelOfTheLog(t *testing.T) {
	j := New(zap.NewNop())
	j.Audit(zap.NewNop(), func(string) string { return "hash" })
	ctx, reference := newAttempt(t)
	a := &ledger.Attempt{Number: "+33639980001"}
	j.AttemptStarted(ctx, a)
	j.Refused(ctx, refusal.BrowserMismatch)
	j.AttemptBurned(ctx, a, "another browser came back")
	other, _ := newAttempt(t)
	j.AttemptStarted(other, a)
	j.NotDone(t.Context(), "a line without a reference", errors.New("x"))
	for _, typed := range []string{reference, " " + strings.ToLower(reference[:4]) + "-" + reference[4:]} {
		lines := Recall(typed)
		if got := fmt.Sprint(messages(t, lines)); got != "[attempt started visitor refused attempt burned attempt ended]" {
			t.Errorf("%q recalls %s", typed, got)
		}
		if strings.Contains(fmt.Sprintf("%s", lines), "39980001") {
			t.Errorf("%s", lines)
		}
	}
	if lines := append(Recall(""), Recall("00000000")...); len(lines) != 0 {
		t.Errorf("nothing recalls %s", lines)
	}
}

// Each refusal is remembered, also where only samples are logged.
func TestRefusalThatWasLeftOutOfTheLogIsRecalled(t *testing.T) {
	j := New(zap.NewNop())
	for range 3 {
		ctx := WithClient(t.Context(), "192.0.2.1")
		j.LimitReached(ctx, "number", "+33639980001", refusal.RateLimited)
		if got := messages(t, Recall(Reference(ctx))); len(got) != 1 || got[0] != "start refused by a limit" {
			t.Errorf("recalled: %v", got)
		}
		ctx = WithClient(t.Context(), "192.0.2.1")
		j.StartNotCalled(ctx, refusal.New(refusal.Busy, errors.New("x")))
		if got := messages(t, Recall(Reference(ctx))); len(got) != 1 || got[0] != "provider not called" {
			t.Errorf("recalled: %v", got)
		}
	}
}

func TestFloodOfMistakesNeitherGrowsTheMemoryNorPushesOutAnAttempt(t *testing.T) {
	j := New(zap.NewNop())
	ctx, reference := newAttempt(t)
	j.AttemptStarted(ctx, &ledger.Attempt{Number: "+33639980001"})
	first := WithClient(t.Context(), "192.0.2.1")
	j.Refused(first, refusal.CookiesRequired)
	var last string
	for range maxLines {
		made, madeUp := newAttempt(t)
		j.Refused(made, refusal.AttemptUnknown)
		last = madeUp
	}
	if len(Recall(reference)) != 1 || len(Recall(last)) != 1 {
		t.Errorf("recalled: %s, %s", Recall(reference), Recall(last))
	}
	if lines := Recall(Reference(first)); len(lines) != 0 {
		t.Errorf("the oldest mistake is still there: %s", lines)
	}
	if n := len(remembered.others.lines); n != maxLines {
		t.Errorf("%d lines are kept", n)
	}
}

func TestLineOfAnySizeDoesNotGrowTheMemory(t *testing.T) {
	j := New(zap.NewNop())
	ctx, reference := newAttempt(t)
	j.NotDone(ctx, "a long error", errors.New(strings.Repeat("x", maxLine)))
	if lines := Recall(reference); len(lines) != 0 {
		t.Errorf("%d bytes are kept", len(lines[0]))
	}
}

func TestMemoryLeavesTheLogAsItWas(t *testing.T) {
	var log strings.Builder
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"}), zapcore.AddSync(&log), zapcore.InfoLevel)
	j := New(zap.New(core))
	ctx, _ := newAttempt(t)
	j.Refused(ctx, refusal.AttemptUnknown) // at DEBUG
	j.AttemptStarted(ctx, &ledger.Attempt{Number: "+33639980001"})
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "attempt started") {
		t.Errorf("logged: %s", &log)
	}
}

func BenchmarkRemember(b *testing.B) {
	j := New(zap.NewNop())
	ctx := WithAttempt(WithClient(b.Context(), "192.0.2.1"), ledger.AttemptID("nonce"))
	b.ReportAllocs()
	for b.Loop() {
		j.Refused(ctx, refusal.AttemptUnknown)
	}
}
