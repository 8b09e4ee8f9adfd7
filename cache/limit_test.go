package cache

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// However events come, no window holds more than the limit, and none is refused
// without so many in the window and a 64th of it before; and Retry is right.
func TestLimitHoldsInEveryWindowAndRefusesNoneTooMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := Limit{
			Max:    rapid.Int64Range(1, 6).Draw(t, "max"),
			Window: time.Duration(rapid.Int64Range(1, 200_000).Draw(t, "window")) * time.Millisecond,
		}
		part := time.Duration(limit.Part()) * time.Millisecond
		now := time.UnixMilli(rapid.Int64Range(0, 1<<41).Draw(t, "now"))
		within := func(events []time.Time, d time.Duration) (n int64) {
			for _, at := range events {
				if now.Sub(at) < d {
					n++
				}
			}
			return n
		}
		var held *Count
		var passed []time.Time
		for _, pause := range rapid.SliceOfN(rapid.Int64Range(0, limit.Window.Milliseconds()), 1, 60).Draw(t, "pauses") {
			now = now.Add(time.Duration(pause) * time.Millisecond)
			with, total, retry := limit.Add(held, now)
			if with == nil {
				if n := within(passed, limit.Window+part); n < limit.Max {
					t.Fatalf("refused with %d of %d", n, limit.Max)
				}
				if again, _, _ := limit.Add(held, now.Add(retry)); again == nil || retry <= 0 {
					t.Fatalf("refused still after %v", retry)
				}
				if early, _, _ := limit.Add(held, now.Add(retry-time.Millisecond)); early != nil {
					t.Fatalf("free before %v", retry)
				}
				continue
			}
			if len(with.Slots) > parts+2 {
				t.Fatalf("%d slots", len(with.Slots))
			}
			passed, held = append(passed, now), with
			if n := within(passed, limit.Window); n > limit.Max || total > limit.Max {
				t.Fatalf("%d of %d in a window, told %d", n, limit.Max, total)
			}
		}
	})
}
