package cache

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// parts is into how many parts a window is divided: events are forgotten a part
// at a time, so that a counter of any number of events stays small.
const parts = 64

// Limit is how often something may happen: Max times in any Window.
type Limit struct {
	// Key is of KindCount. Its Secret is an HMAC of what is counted, so that a
	// store outside this process tells nothing of it.
	Key Key
	// Max is the most events that count at once.
	Max int64
	// Window is how long an event counts, to the millisecond; it may count up
	// to a 64th longer.
	Window time.Duration
}

// Counted is an event that a limit counts. Its zero value is none.
type Counted struct {
	// Counter is what it is counted by, and Slot as part of what.
	Counter Key
	Slot    int64
	// Total is how many the limit counted with it.
	Total int64
}

// LimitError is what Count returns where a limit is reached.
type LimitError struct {
	// Limit is the index of the one that takes longest.
	Limit int
	// Retry is how long it takes until it counts fewer than its Max.
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

// Slot is how many events fell into one part of a window.
type Slot struct {
	At, N int64
}

// Counters returns the keys of the counters of limits. Two of one counter are an
// error: an event counts once.
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

// Counter is the key of what the limit counts. Another Window counts anew.
func (l *Limit) Counter() Key {
	key := l.Key
	key.Secret += " " + strconv.FormatInt(l.Window.Milliseconds(), 10)
	return key
}

// Part is the length of a slot in milliseconds.
func (l *Limit) Part() int64 {
	return max(1, (l.Window.Milliseconds()+parts-1)/parts)
}

// Slot is the slot of an event at now.
func (l *Limit) Slot(now time.Time) int64 { return now.UnixMilli() / l.Part() }

// Leaves is when the events of a slot count no more.
func (l *Limit) Leaves(slot int64) time.Time {
	return time.UnixMilli((slot + 1) * l.Part()).Add(l.Window)
}

// Add returns what the counter holds with one more event at now, or how long it
// takes until there is room for one. Old may be nil; it is not changed.
func (l *Limit) Add(old *Count, now time.Time) (with *Count, total int64, retry time.Duration) {
	with = &Count{}
	slot := l.Slot(now)
	if old != nil {
		for _, s := range old.Slots {
			// what lies ahead by more than a window was counted by a clock
			// that was wrong
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

// retry is how long it takes until so many events have left that there is room.
func (l *Limit) retry(held *Count, total int64, now time.Time) time.Duration {
	for _, s := range held.Slots {
		total -= s.N
		if total < l.Max {
			return l.Leaves(s.At).Sub(now)
		}
	}
	return l.Window
}

// Without returns what the counter holds without one event of that slot.
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
