package cachetest

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkTime is how long to look for an order of the calls on one record.
const checkTime = time.Minute

// state is the content of a cache that does one call after the other: the number of
// the value of one record, and the totals of the limits.
type state struct {
	held   int
	counts [len(historyLimits)]int64
}

// do returns the state after a call, and the answer that such a cache gives.
func (s state) do(c call) (state, answer) {
	switch c.Method {
	case "Get", "Label":
		return s, answer{Value: s.held}
	case "Walk":
		if s.held == 0 {
			return s, answer{}
		}
		return s, answer{Value: visited}
	case "Put":
		s.held = c.New
	case "Replace":
		if s.held != c.Old {
			return s, answer{Error: conflicts}
		}
		s.held = c.New
	case "Delete":
		s.held = 0
	case "Count":
		return s.count(c.Limits)
	case "Uncount":
		for _, i := range c.Limits {
			s.counts[i]--
		}
	default:
		return s, answer{Error: "no such method"}
	}
	return s, answer{}
}

func (s state) count(limits []int) (state, answer) {
	with, told := s, answer{}
	for _, i := range limits {
		if s.counts[i] == historyLimits[i].Max {
			return s, answer{Error: limited}
		}
		with.counts[i]++
		told.Totals[i] = with.counts[i]
	}
	return with, told
}

// step returns the possible states after a call that was given this answer. There are
// none if such a cache would have given another.
func (s state) step(c call, told answer) []any {
	after, would := s.do(c)
	switch told.Error {
	case unknown:
		return []any{s, after} // it may or may not have been done
	case isFull:
		return []any{s}
	default:
		if told != would {
			return nil
		}
		return []any{after}
	}
}

// model describes state to porcupine.
var model = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{}} },
	Step: func(s, c, told any) []any { return s.(state).step(c.(call), told.(answer)) },
}).ToModel()

// Check returns nil if there is an order of the calls that explains all answers.
// Otherwise its error names the first answer that no order explains, and the calls on
// the same record, or on the counters, that came before it.
func (h *History) Check() error {
	h.mu.Lock()
	events := slices.Clone(h.events)
	h.mu.Unlock()
	on := make(map[int]string) // by call
	apart := make(map[string][]event)
	for _, e := range events {
		if e.Call != nil {
			on[e.ID] = e.Call.On
		}
		apart[on[e.ID]] = append(apart[on[e.ID]], e)
	}
	for _, name := range slices.Sorted(maps.Keys(apart)) {
		events := apart[name]
		if result := explain(events); result == porcupine.Unknown {
			return fmt.Errorf("%s: no order of %d events was found within %v, nor that there is none", name, len(events), checkTime)
		} else if result == porcupine.Ok {
			continue
		}
		n := sort.Search(len(events), func(n int) bool { return explain(events[:n+1]) == porcupine.Illegal })
		return fmt.Errorf("%s: no order of the calls explains the last answer of:%s", name, describe(events[:n+1]))
	}
	return nil
}

// explain looks for an order of the calls on one record that explains all answers.
func explain(events []event) porcupine.CheckResult {
	history := make([]porcupine.Event, 0, 2*len(events))
	open := make(map[int]bool)
	for _, e := range events {
		if open[e.ID] = e.Call != nil; e.Call != nil {
			history = append(history, porcupine.Event{Kind: porcupine.CallEvent, Id: e.ID, Value: *e.Call})
			continue
		}
		history = append(history, porcupine.Event{Kind: porcupine.ReturnEvent, Id: e.ID, Value: *e.Answer})
	}
	for id, isOpen := range open {
		if isOpen { // it may be done at any time
			history = append(history, porcupine.Event{Kind: porcupine.ReturnEvent, Id: id, Value: answer{Error: unknown}})
		}
	}
	return porcupine.CheckEventsTimeout(model, history, checkTime)
}

// describe writes the last of some events, a line each.
func describe(events []event) string {
	const most = 30
	calls := make(map[int]call)
	var lines []string
	for _, e := range events {
		if e.Call != nil {
			calls[e.ID] = *e.Call
			lines = append(lines, fmt.Sprintf("\n\t%d begins: %s", e.ID, calls[e.ID]))
			continue
		}
		lines = append(lines, fmt.Sprintf("\n\t%d answers: %s: %s", e.ID, calls[e.ID], calls[e.ID].told(*e.Answer)))
	}
	return strings.Join(lines[max(0, len(lines)-most):], "")
}

func (c call) String() string {
	switch c.Method {
	case "Put":
		return fmt.Sprintf("Put %d", c.New)
	case "Replace":
		return fmt.Sprintf("Replace %d by %d", c.Old, c.New)
	case "Count", "Uncount":
		return fmt.Sprintf("%s by limits %v", c.Method, c.Limits)
	default:
		return c.Method
	}
}

func (c call) told(a answer) string {
	switch {
	case a.Error != done:
		return string(a.Error)
	case c.Method == "Get", c.Method == "Label", c.Method == "Walk":
		return fmt.Sprint(a.Value)
	case c.Method == "Count":
		return fmt.Sprintf("totals %v", a.Totals)
	default:
		return "done"
	}
}
