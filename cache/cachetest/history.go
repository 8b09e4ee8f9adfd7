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

// History records what concurrent callers asked of a cache and what they were
// told. Check tells whether the cache may have done one call after the other,
// each at some moment between its beginning and its answer: then no caller can
// tell that there are others, and each can rely on what any has been told.
//
// Run records calls in this process; Read takes over what another process has
// traced, which may have been killed. The zero value is an empty history. Expiry
// is left out: the records live for an hour, by the clock of the machine.
type History struct {
	// Kind is that of the records. Default: cache.KindAttempt.
	Kind cache.Kind
	// Trace, where set, gets a line for each event when it happens, for Read.
	Trace io.Writer

	mu     sync.Mutex
	events []event
	calls  int
	// numbers are those of the values that were stored, from a random one: other
	// processes with the same store have others.
	numbers int
}

// event is the beginning of a call, or its answer. A call without an answer may
// have been done, may be done still, or never.
type event struct {
	ID     int     // of the call
	Call   *call   `json:",omitempty"`
	Answer *answer `json:",omitempty"`
}

// call is one method with its arguments.
type call struct {
	Method string
	On     string // the record, or all counters
	// Old and New are the numbers of values, 0 for none.
	Old, New int
	// Limits are the indexes of the limits that are counted, or taken back.
	Limits []int
}

// answer is what a call returned.
type answer struct {
	// Value is the number of the value that was read, 0 for none.
	Value int
	// Totals are those of the limits, by their index.
	Totals [len(historyLimits)]int64
	Error  outcome
}

// outcome is what a call came to.
type outcome string

const (
	done      outcome = ""
	conflicts outcome = "conflict"
	limited   outcome = "limit"
	isFull    outcome = "full"
	unknown   outcome = "unknown"
)

// outcomeOf tells what an error of a cache means: where it is none of those that
// mean something, nobody knows whether the call was done.
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

// Calls is how many calls have begun.
func (h *History) Calls() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls
}

// begin records the beginning of a call, before it is made.
func (h *History) begin(c call) (id int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	h.add(event{ID: h.calls, Call: &c})
	return h.calls
}

// end records an answer, after it has come.
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
	_, _ = h.Trace.Write(append(line, '\n')) // the reader sees what is missing
}

// number returns one that no other value has.
func (h *History) number() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.numbers == 0 {
		h.numbers = rand.IntN(1<<40) * 1_000_000
	}
	h.numbers++
	return h.numbers
}

// Read appends what another process has traced, until its end. A call without an
// answer ended with that process: it was done before anything that is recorded
// later, or never.
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
