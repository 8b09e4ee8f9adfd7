package cachetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/numberverify/caddy-number-verify/cache"
)

// History records the calls of concurrent callers of a cache, and the answers that
// they got. Check tells whether the history is linearizable: whether there is an order
// of the calls, each at some moment between its beginning and its answer, in which a
// cache that does one call after the other would have given the same answers.
//
// Run makes and records calls in this process. Read adds the calls of another process,
// which may have been killed. The zero value is an empty history. All records live for
// an hour by the machine's clock, so that none expires.
type History struct {
	// Kind is the kind of the records. Default: cache.KindAttempt. Sessions are walked
	// over as well.
	Kind cache.Kind
	// Trace, if set, gets a line for each event as it happens, which Read reads.
	Trace io.Writer

	mu     sync.Mutex
	events []event
	calls  int
	// numbers is the number of the last value. Numbers start at a random one, so
	// that processes that use the same store have different ones.
	numbers int
}

// event is the beginning of a call, or its answer. A call without an answer may have
// been done, or may be done later, or never.
type event struct {
	ID     int     // of the call
	Call   *call   `json:",omitempty"`
	Answer *answer `json:",omitempty"`
}

// call is one method with its arguments.
type call struct {
	Method string
	On     string // the record that it is about, or counters
	// Old and New are the numbers of values, 0 for none.
	Old, New int
	// Limits are the indexes of the limits by which an event counts.
	Limits []int
}

// answer is what a call returned.
type answer struct {
	// Value is the number of the value that was read, 0 for none. After a walk it is
	// visited, or 0.
	Value int
	// Totals are the totals of the limits, by index.
	Totals [len(historyLimits)]int64
	Error  outcome
}

const visited = 1

// outcome is the way in which a call ended.
type outcome string

const (
	done      outcome = ""
	conflicts outcome = "conflict"
	limited   outcome = "limit"
	isFull    outcome = "full"
	unknown   outcome = "unknown"
)

// outcomeOf returns the outcome of a call that returned err. It is unknown if err is
// none of the errors with a meaning: nobody knows then whether the call was done.
func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return done
	case errors.Is(err, cache.ErrConflict):
		return conflicts
	case errors.As(err, new(*cache.LimitError)):
		return limited
	case errors.Is(err, cache.ErrFull):
		return isFull
	default:
		return unknown
	}
}

// Calls returns how many calls have begun.
func (h *History) Calls() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls
}

// begin records the beginning of a call. It is called before the call is made.
func (h *History) begin(c call) (id int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	h.add(event{ID: h.calls, Call: &c})
	return h.calls
}

// end records the answer of a call. It is called after the answer has come.
func (h *History) end(id int, a answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.add(event{ID: id, Answer: &a})
}

// add records an event. h is locked.
func (h *History) add(e event) {
	h.events = append(h.events, e)
	if h.Trace == nil {
		return
	}
	line, err := json.Marshal(e)
	if err != nil {
		panic(err) // numbers and texts
	}
	_, _ = h.Trace.Write(append(line, '\n')) // Read notices a line that is cut
}

// number returns a number that no other value has.
func (h *History) number() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.numbers == 0 {
		h.numbers = rand.IntN(1<<40) * 1_000_000
	}
	h.numbers++
	return h.numbers
}

// Read adds the trace of another process, until the end of r. That process has then
// ended: each of its calls without an answer was done before anything that is recorded
// later, or will never be done.
func (h *History) Read(r io.Reader) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.calls
	open := make(map[int]bool)
	for lines := json.NewDecoder(r); ; {
		var e event
		if err := lines.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("cachetest: reading a history: %w", err)
		}
		e.ID += before
		h.calls = max(h.calls, e.ID)
		open[e.ID] = e.Call != nil
		h.events = append(h.events, e)
	}
	for id, isOpen := range open {
		if isOpen {
			h.events = append(h.events, event{ID: id, Answer: &answer{Error: unknown}})
		}
	}
	return nil
}
