package cachetest

import (
	"testing"
	"time"

	"github.com/numberverify/caddy-number-verify/cache"
)

const hour, minute, moment = time.Hour, time.Minute, time.Millisecond

// lives are lives of records, and the moves of the clock until each ends.
var lives = []struct {
	name    string
	life    time.Duration
	idle    time.Duration
	touched time.Duration   // as seen from the time of Put
	moves   []time.Duration // of the clock; the record lives after all but the last
}{
	{"the absolute end", hour, 0, 0, []time.Duration{hour - moment, moment}},
	{"well past the absolute end", hour, 0, 0, []time.Duration{1000 * hour}},
	{"the idle end", hour, minute, 0, []time.Duration{minute - moment, moment}},
	{"the idle end after an earlier touch", hour, minute, -30 * time.Second, []time.Duration{30*time.Second - moment, moment}},
	{"the absolute end before the idle one", minute, hour, 0, []time.Duration{minute - moment, moment}},
	{"a clock set back and forth again", hour, 0, 0, []time.Duration{minute, -2 * hour, 3*hour - minute - moment, moment}},
	{"a clock set back past the touch does not lengthen the absolute end", hour, minute, 0, []time.Duration{-hour, hour, 2 * hour}},
	{"a clock set back and forth to the idle end", hour, minute, 0, []time.Duration{-hour, hour + minute - moment, moment}},
	{"a touch in the future does not lengthen the absolute end", hour, minute, 24 * hour, []time.Duration{hour - moment, moment}},
	{"a clock set far forth", hour, 0, 0, []time.Duration{100 * 365 * 24 * hour}},
}

// lifeTests test that each of lives ends when it should.
func lifeTests() (tests []scenario) {
	for _, test := range lives {
		tests = append(tests, scenario{test.name, func(t *testing.T, b bench) {
			b.put(t, sessionKey, &cache.Record{
				Value: value(1), Expires: b.in(test.life), Idle: test.idle, Touched: b.in(test.touched),
			})
			last := len(test.moves) - 1
			for _, move := range test.moves[:last] {
				b.get(t, sessionKey)
				b.add(move)
			}
			b.get(t, sessionKey)
			b.add(test.moves[last])
			b.misses(t, sessionKey)
			b.add(time.Hour)
			b.misses(t, sessionKey)
		}})
	}
	return tests
}

// idle returns a record that ends if it is not used for a minute.
func (b bench) idle() *cache.Record {
	return &cache.Record{Value: value(1), Expires: b.in(hour), Idle: minute, Touched: b.now()}
}

var touchTests = []scenario{
	{"a read does not touch", func(t *testing.T, b bench) {
		b.put(t, sessionKey, b.idle())
		for range 3 {
			b.add(20*time.Second - moment)
			b.get(t, sessionKey)
		}
		b.add(3 * moment)
		b.misses(t, sessionKey)
	}},
	{"a replacement that was touched lives on", func(t *testing.T, b bench) {
		old := b.put(t, sessionKey, b.idle())
		for range 59 {
			b.add(minute - moment)
			touched := &cache.Record{Value: value(1), Expires: old.Expires, Idle: minute, Touched: b.now()}
			b.replaces(t, sessionKey, old, touched, nil)
			old = touched
		}
		b.add(minute + 59*moment)
		b.misses(t, sessionKey)
	}},
	{"a new record may live longer or shorter than the old one", func(t *testing.T, b bench) {
		for _, life := range []time.Duration{minute, hour, minute} {
			b.put(t, attemptKey, &cache.Record{Value: value(1), Expires: b.in(life)})
			b.add(life - moment)
			b.holds(t, attemptKey, value(1))
			if life == hour {
				continue // replaced while it lives
			}
			b.add(moment)
			b.misses(t, attemptKey)
		}
	}},
}
