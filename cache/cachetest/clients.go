package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

// historyRecords is the number of records that the clients of a history share. It is
// small, so that they get in each other's way.
const historyRecords = 2

// historyLimits are the limits by which the clients of a history count.
var historyLimits = [2]cache.Limit{
	limit("of a history", 3, time.Hour),
	limit("of a history too", 5, 2*time.Hour),
}

// counters is the call.On of all calls that count: one call may change two counters.
const counters = "counters"

// client makes calls one after the other.
type client struct {
	*History
	cache cache.Cache
	ctx   context.Context
	// seen are the records as this client last read or stored them.
	seen [historyRecords]*cache.Record
	// counted are the events that it has not yet taken back.
	counted []countedBy
	own     cache.Key // of a record that no other client uses
}

// countedBy is an event and the index of the limit that counts it.
type countedBy struct {
	limit int
	event cache.Counted
}

// Run has some clients use c at the same time, and records what they do. Each makes a
// few more than the given number of calls, or fewer if ctx ends. Call Run again to go
// on, for example after a fault.
//
// A client stops if a call fails in such a way that nobody knows whether it was done.
// The end of ctx interrupts no call. Each client reads all records first and stores
// all of them last, so that the next Run notices if something was lost in between.
func (h *History) Run(ctx context.Context, c cache.Cache, clients, calls int) {
	var running sync.WaitGroup
	for range clients {
		caller := &client{
			History: h, cache: c, ctx: context.WithoutCancel(ctx),
			own: key(cache.KindAttempt, fmt.Sprint("of client ", h.number())),
		}
		running.Go(func() { caller.work(ctx, calls) })
	}
	running.Wait()
}

func (c *client) work(ctx context.Context, calls int) {
	known := c.all(c.label) && c.all(c.get)
	for n := 0; known && n < calls && ctx.Err() == nil; n++ {
		known = c.next()
	}
	if known {
		c.all(c.put)
	}
}

// all calls do for each record, until an outcome is unknown.
func (c *client) all(do func(on int) bool) bool {
	for on := range historyRecords {
		if !do(on) {
			return false
		}
	}
	return true
}

// next makes a random call. It returns false if the outcome is unknown.
func (c *client) next() bool {
	on := rand.IntN(historyRecords)
	switch n := rand.IntN(12); {
	case n < 3:
		return c.get(on)
	case n < 4:
		return c.look(on)
	case n < 5:
		return c.put(on)
	case n < 8:
		return c.replace(on)
	case n < 9:
		return c.delete(on)
	case n < 11 || len(c.counted) == 0:
		return c.count()
	default:
		return c.uncount()
	}
}

// ask records a call, which do makes, and its answer. It returns false if the outcome
// is unknown: then it records no answer, since the call may still be carried out.
func (c *client) ask(what call, do func(*answer) error) bool {
	id := c.begin(what)
	var a answer
	a.Error = outcomeOf(do(&a))
	if a.Error == unknown {
		return false
	}
	c.end(id, a)
	return true
}

func (c *client) key(on int) cache.Key {
	kind := c.Kind
	if kind == 0 {
		kind = cache.KindAttempt
	}
	return key(kind, recordName(on))
}

func recordName(on int) string { return fmt.Sprint("record ", on) }

func (c *client) record() *cache.Record {
	n := c.number()
	return &cache.Record{Value: value(n), Label: labelOf(n), Expires: time.Now().Add(time.Hour)}
}

func labelOf(n int) []byte { return strconv.AppendInt(nil, int64(n), 10) }

// numberOf returns the number of a record's value: 0 for no record, -1 for a value
// that nobody has stored.
func numberOf(rec *cache.Record) int {
	if rec == nil {
		return 0
	}
	if v, ok := rec.Value.(*Value); ok && v.whole() && bytes.Equal(rec.Label, labelOf(v.N)) {
		return v.N
	}
	return -1
}

func (c *client) get(on int) bool {
	return c.ask(call{Method: "Get", On: recordName(on)}, func(a *answer) error {
		rec, err := c.cache.Get(c.ctx, c.key(on))
		if errors.Is(err, cache.ErrNotFound) {
			err = nil
		}
		if err == nil {
			c.seen[on], a.Value = rec, numberOf(rec)
		}
		return err
	})
}

// look finds out about a record without its key.
func (c *client) look(on int) bool {
	if c.key(on).Kind == cache.KindSession && rand.IntN(2) == 0 {
		return c.walk(on)
	}
	return c.label(on)
}

func (c *client) label(on int) bool {
	return c.ask(call{Method: "Label", On: recordName(on)}, func(a *answer) error {
		label, err := c.cache.Label(c.ctx, c.key(on).Ref())
		switch {
		case errors.Is(err, cache.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		if a.Value, err = strconv.Atoi(string(label)); err != nil {
			a.Value = -1
		}
		return nil
	})
}

func (c *client) walk(on int) bool {
	return c.ask(call{Method: "Walk", On: recordName(on)}, func(a *answer) error {
		return c.cache.Walk(c.ctx, func(ref cache.Ref) error {
			if ref == c.key(on).Ref() {
				a.Value = visited
			}
			return nil
		})
	})
}

func (c *client) put(on int) bool {
	rec := c.record()
	return c.ask(call{Method: "Put", On: recordName(on), New: numberOf(rec)}, func(*answer) error {
		err := c.cache.Put(c.ctx, c.key(on), rec)
		if err == nil {
			c.seen[on] = rec
		}
		return err
	})
}

// replace tries to replace the record that the client has seen, which may have changed
// since.
func (c *client) replace(on int) bool {
	old, rec := c.seen[on], c.record()
	what := call{Method: "Replace", On: recordName(on), Old: numberOf(old), New: numberOf(rec)}
	return c.ask(what, func(*answer) error {
		err := c.cache.Replace(c.ctx, c.key(on), old, rec)
		if err == nil {
			c.seen[on] = rec
		}
		return err
	})
}

func (c *client) delete(on int) bool {
	return c.ask(call{Method: "Delete", On: recordName(on)}, func(*answer) error {
		return c.cache.Delete(c.ctx, c.key(on).Ref())
	})
}

func (c *client) count() bool {
	which := [][]int{{0}, {1}, {0, 1}}[rand.IntN(3)]
	var limits []cache.Limit
	for _, i := range which {
		limits = append(limits, historyLimits[i])
	}
	return c.ask(call{Method: "Count", On: counters, Limits: which}, func(a *answer) error {
		events, err := c.cache.Count(c.ctx, limits)
		if outcomeOf(err) == unknown {
			return err
		}
		for n, event := range events {
			a.Totals[which[n]] = event.Total
			c.counted = append(c.counted, countedBy{which[n], event})
		}
		if failed := c.settle(); failed != nil {
			return failed
		}
		return err
	})
}

func (c *client) uncount() bool {
	last := c.counted[len(c.counted)-1]
	c.counted = slices.Delete(c.counted, len(c.counted)-1, len(c.counted))
	return c.ask(call{Method: "Uncount", On: counters, Limits: []int{last.limit}}, func(*answer) error {
		if err := c.cache.Uncount(c.ctx, []cache.Counted{last.event}); err != nil {
			return err
		}
		return c.settle()
	})
}

// settle stores a record, because a crash may undo counts until that is done.
func (c *client) settle() error {
	err := c.cache.Put(c.ctx, c.own, c.record())
	if errors.Is(err, cache.ErrFull) {
		return errors.New("full") // the count is not yet safe
	}
	return err
}
