package redis

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/numberverify/caddy-number-verify/cache"
	"github.com/numberverify/caddy-number-verify/test/stage/redistest"
)

// wrong returns a clock that is off by the given time.
func wrong(by time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(by) }
}

func TestNodeWhoseClockIsOffEmptiesNoCounter(t *testing.T) {
	for _, off := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			server := redistest.Start(t)
			right, other := node(t, Options{}, server), node(t, Options{Now: wrong(off)}, server)
			limit := []cache.Limit{{Key: key(cache.KindCount, "number"), Max: 3, Window: time.Hour}}
			for range 3 {
				_, err := right.Count(t.Context(), limit)
				must(t, err)
			}
			for name, c := range map[string]*Cache{"right": right, "wrong": other} {
				var reached *cache.LimitError
				if _, err := c.Count(t.Context(), limit); !errors.As(err, &reached) || reached.Retry > limit[0].Window+limit[0].Window/64 {
					t.Errorf("with a clock that is %s: %v", name, err)
				}
			}
		})
	}
}

func TestNodeWhoseClockIsOffTakesBackWhatItCounted(t *testing.T) {
	server := redistest.Start(t)
	c := node(t, Options{Now: wrong(2 * time.Hour)}, server)
	limit := []cache.Limit{{Key: key(cache.KindCount, "number"), Max: 1, Window: time.Hour}}
	for range 3 {
		counted, err := c.Count(t.Context(), limit)
		must(t, err)
		must(t, c.Uncount(t.Context(), counted))
	}
}

func TestNodeWhoseClockIsOffListsAndHidesNothing(t *testing.T) {
	for _, off := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			server := redistest.Start(t)
			now := wrong(off)
			right, other := node(t, Options{}, server), node(t, Options{Now: now}, server)
			must(t, right.Put(t.Context(), sessionKey, sessionRecord()))
			rec := sessionRecord()
			rec.Expires = now().Add(time.Hour)
			must(t, other.Put(t.Context(), key(cache.KindSession, "other"), rec))
			for name, c := range map[string]*Cache{"right": right, "wrong": other} {
				if found, err := c.Find(t.Context(), rec.Tags[0]); err != nil || len(found) != 2 {
					t.Errorf("with a clock that is %s: %d found, %v", name, len(found), err)
				}
			}
		})
	}
}

// The script counts as cache.Limit.Add does, whatever the clock does.
func TestScriptCountsAsALimitDoes(t *testing.T) {
	now := time.UnixMilli(1 << 40)
	c := node(t, Options{serverNow: func() time.Time { return now }}, redistest.Start(t))
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		limit := cache.Limit{
			Key: key(cache.KindCount, fmt.Sprint("run ", runs)), Max: rapid.Int64Range(1, 6).Draw(rt, "max"),
			Window: 64 * time.Duration(rapid.Int64Range(1_000, 60_000).Draw(rt, "part")) * time.Millisecond,
		}
		var held *cache.Count
		window := limit.Window.Milliseconds()
		for _, move := range rapid.SliceOfN(rapid.Int64Range(-2*window, window), 1, 20).Draw(rt, "moves") {
			now = now.Add(time.Duration(move) * time.Millisecond)
			with, total, retry := limit.Add(held, now)
			counted, err := c.Count(t.Context(), []cache.Limit{limit})
			var reached *cache.LimitError
			switch {
			case with == nil && (!errors.As(err, &reached) || reached.Retry != retry):
				rt.Fatalf("Count = %v, %v, want a retry in %v", counted, err, retry)
			case with != nil && (err != nil || counted[0].Total != total || counted[0].Slot != limit.Slot(now)):
				rt.Fatalf("Count = %+v, %v, want %d in slot %d", counted, err, total, limit.Slot(now))
			case with != nil:
				held = with
			}
		}
	})
}
