package journal

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/numberverify/caddy-number-verify/internal/ledger"
	"github.com/numberverify/caddy-number-verify/internal/refusal"
)

const (
	// maxLines is how many lines each part of the memory keeps, maxLine the size of
	// one in bytes; a larger one is not remembered. Most take 300.
	maxLines = 2000
	maxLine  = 2 << 10
)

// Line is a line of the log or the audit, as a JSON object: time, level, logger, message,
// and its fields.
type Line = json.RawMessage

// Recall returns the lines that have a reference, in their order, as far as they are
// remembered, whatever the level of the log. The reference may be as somebody typed it.
func Recall(reference string) []Line { return remembered.recall(ledger.ReadReference(reference)) }

// remembered are the lines of this process. They live on when Caddy loads another
// configuration.
var remembered memory

// memory keeps the last lines that have a reference.
type memory struct {
	mu   sync.Mutex
	last uint64 // number of the last line
	// attempts are the lines about attempts. All others, which anybody can cause, are
	// kept apart, so that a flood of them pushes out no attempt.
	attempts, others ring
}

// ring is the last lines of a kind.
type ring struct {
	lines []recorded
	next  int // where the next line goes, once lines is full
}

type recorded struct {
	number    uint64
	reference string
	line      Line
}

func (r *ring) add(line recorded) {
	if len(r.lines) < maxLines {
		r.lines = append(r.lines, line)
		return
	}
	r.lines[r.next] = line
	r.next = (r.next + 1) % maxLines
}

func (m *memory) recall(reference string) (lines []Line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []recorded
	for _, r := range slices.Concat(m.attempts.lines, m.others.lines) {
		if r.reference == reference {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b recorded) int { return cmp.Compare(a.number, b.number) })
	for _, r := range found {
		lines = append(lines, r.line)
	}
	return lines
}

func (m *memory) add(reference string, isAttempt bool, line Line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	kind := &m.others
	if isAttempt {
		kind = &m.attempts
	}
	kind.add(recorded{m.last, reference, line})
}

// of returns a logger whose lines are remembered as well, without the fields that log
// adds to all of them.
func (m *memory) of(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewTee(c, rememberer{m, lineEncoder})
	}))
}

// rememberer is a zapcore.Core that remembers the lines of every level.
type rememberer struct {
	*memory
	encoder zapcore.Encoder
}

var lineEncoder = zapcore.NewJSONEncoder(zapcore.EncoderConfig{
	TimeKey: "time", LevelKey: "level", NameKey: "logger", MessageKey: "message", SkipLineEnding: true,
	EncodeTime:  func(t time.Time, to zapcore.PrimitiveArrayEncoder) { to.AppendString(t.UTC().Format(lineTime)) },
	EncodeLevel: zapcore.LowercaseLevelEncoder, EncodeDuration: zapcore.SecondsDurationEncoder,
})

// lineTime is RFC 3339 with milliseconds.
const lineTime = "2006-01-02T15:04:05.000Z07:00"

// Enabled implements zapcore.LevelEnabler.
func (rememberer) Enabled(zapcore.Level) bool { return true }

// With implements zapcore.Core.
func (r rememberer) With(fields []zapcore.Field) zapcore.Core {
	encoder := r.encoder.Clone()
	for _, field := range fields {
		field.AddTo(encoder)
	}
	return rememberer{r.memory, encoder}
}

// Check implements zapcore.Core.
func (r rememberer) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(entry, r)
}

// Write implements zapcore.Core.
func (r rememberer) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	has := func(name string) int {
		return slices.IndexFunc(fields, func(f zapcore.Field) bool { return f.Key == name })
	}
	reference := has("reference")
	if reference < 0 {
		return nil
	}
	line, err := r.encoder.EncodeEntry(entry, fields)
	if err != nil {
		return err
	}
	defer line.Free()
	if line.Len() <= maxLine {
		// A mistake may name an attempt that there never was, and so may a request while
		// the cache cannot tell.
		code := has("code")
		isKnown := entry.Level > zapcore.DebugLevel && (code < 0 || fields[code].String != string(refusal.CacheUnavailable))
		isAttempt := has("attempt") >= 0 && isKnown
		r.add(fields[reference].String, isAttempt, slices.Clone(line.Bytes()))
	}
	return nil
}

// Sync implements zapcore.Core.
func (rememberer) Sync() error { return nil }
