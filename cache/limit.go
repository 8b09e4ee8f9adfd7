package cache

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// parts is the number of slots in a window. Events are forgotten a slot at a time,
// so a counter stays small however many events it holds.
const parts = 64

// Limit is how often something may happen: Max times in any Window.
type Limit struct {
	// Key is of KindCount. Its Secret is an HMAC of the number or address that
	// the limit is for, so that a stolen store does not reveal it.
	Key Key
	// Max is the most events in a Window.
	Max int64
	// Window is how long an event counts, in whole milliseconds. It may count
	// longer by up to a 64th.
	Window time.Duration
}

// Counted is an event that a limit counts. Its zero value is none.
type Counted struct {
	// Counter is the key of the counter that holds the event, Slot its place
	// there.
	Counter Key
	Slot    int64
	// Total is the number of events in the window, this one included.
	Total int64
}

// LimitError is what Count returns where a limit is reached.
type LimitError struct {
	// Limit is the index of the limit that is reached; of several, the index of
	// the one with the longest Retry.
	Limit int
	// Retry is how long it takes until that limit has room for an event.
	Retry time.Duration
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("cache: limit %d reached, free again in %v", e.Limit, e.Retry)
}

// Count is what a counter holds, the oldest slot first.
type Count struct {
	Slots []Slot
}

// Slot is a part of a window: N events that fell into its At-th part of all time.
type Slot struct {
	At, N int64
}

// Counters returns the key of each limit's counter. It is an error if two limits
// share one: an event counts once.
func Counters(limits []Limit) ([]Key, error) {
	keys := make([]Key, len(limits))
	for i := range limits {
		keys[i] = limits[i].Counter()
		if slices.Contains(keys[:i], keys[i]) {
			return nil, errors.New("cache: two limits count by the same key and window")
		}
	}
	return keys, nil
}

// Counter returns the key of the limit's counter. With another Window the limit has
// another counter.
func (l *Limit) Counter() Key {
	key := l.Key
	key.Secret += " " + strconv.FormatInt(l.Window.Milliseconds(), 10)
	return key
}

// Part is the length of a slot in milliseconds.
func (l *Limit) Part() int64 {
	return max(1, (l.Window.Milliseconds()+parts-1)/parts)
}

// Slot returns the number of the slot that an event at now falls into.
func (l *Limit) Slot(now time.Time) int64 { return now.UnixMilli() / l.Part() }

// Leaves returns when the events of a slot stop counting.
func (l *Limit) Leaves(slot int64) time.Time {
	return time.UnixMilli((slot + 1) * l.Part()).Add(l.Window)
}

// Total returns how many events of a counter count at now. The counter may be nil.
func (l *Limit) Total(count *Count, now time.Time) int64 {
	endless := Limit{Max: math.MaxInt64, Window: l.Window}
	_, total, _ := endless.Add(count, now)
	return total - 1
}

// Add returns the counter with one more event, at now, and the total that it then
// holds. Where the limit is reached the counter is nil, and retry is how long it
// takes until there is room. Old may be nil for an empty counter; Add does not
// change it.
func (l *Limit) Add(old *Count, now time.Time) (with *Count, total int64, retry time.Duration) {
	with = &Count{}
	slot := l.Slot(now)
	if old != nil {
		for _, s := range old.Slots {
			// a clock that was wrong has counted what is more than a window ahead
			if now.Before(l.Leaves(s.At)) && s.At <= slot+parts {
				with.Slots = append(with.Slots, s)
				total += s.N
			}
		}
	}
	if total >= l.Max {
		return nil, total, l.retry(with, total, now)
	}
	i, found := slices.BinarySearchFunc(with.Slots, slot, func(s Slot, at int64) int { return cmp.Compare(s.At, at) })
	if !found {
		with.Slots = slices.Insert(with.Slots, i, Slot{At: slot})
	}
	with.Slots[i].N++
	return with, total + 1, 0
}

// retry returns how long it takes until enough events have left to make room.
func (l *Limit) retry(held *Count, total int64, now time.Time) time.Duration {
	for _, s := range held.Slots {
		total -= s.N
		if total < l.Max {
			return l.Leaves(s.At).Sub(now)
		}
	}
	return l.Window
}

// Without returns the counter without one event of that slot.
func (c *Count) Without(slot int64) *Count {
	without := &Count{}
	for _, s := range c.Slots {
		if s.At == slot {
			s.N--
		}
		if s.N > 0 {
			without.Slots = append(without.Slots, s)
		}
	}
	return without
}
