package numberverify

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/numberverify/caddy-number-verify/internal/option"
	"github.com/numberverify/caddy-number-verify/internal/quota"
)

// Limits bound how often verifications are started, since each start may be
// billed and may trouble a person. They are counted per verifier account, in the
// cache, so that they outlive a reload and are shared where it is; directives of
// one account that set other windows count each other's starts. Starts that reach
// the provider count, whatever it answers; one that ends verified is taken off its
// number's, its client's and its network's counts, for one number 20 times in 24h
// at most. What is left out holds by default.
type Limits struct {
	// Starts of one number. Default: 5 in 1h from one client (an IPv4 address or
	// an IPv6 /64; a /48 may twice as often), 30 from all.
	Number *NumberLimit `json:"number,omitempty"`

	// Starts from one client address, as Caddy's `client_ip` has it; of IPv6 a /64
	// counts as one, and a /48 may start ten times as much. Default: 60 in 10m and
	// 600 in 24h.
	Client *ClientLimit `json:"client,omitempty"`

	// Starts in all: the budget. At 80 % a warning is logged. Of starts that are
	// not verified one network (an IPv4 /16 or an IPv6 /32) may use up a quarter,
	// or ten times what `client` lets one client start in its longer window (of
	// IPv6 twice what it lets a /48), whichever is more. A `max` of 0 is no limit. Default: 20000 in 24h.
	Global *RateLimit `json:"global,omitempty"`

	// How many attempts may be in flight; of them at most 200 from one client
	// address and 5 from one browser. Past it visitors get `busy`. Default: 10000.
	Attempts int64 `json:"attempts,omitempty"`

	// How many sessions the memory or bolt cache may hold. Past it new attempts
	// get `busy`; no live session is dropped. Default: 1000000.
	Sessions int64 `json:"sessions,omitempty"`
}

// NumberLimit is how often one number may be tried.
type NumberLimit struct {
	// Starts from one client; an IPv6 /48 may start twice as many.
	PerClient int64 `json:"per_client"`
	// Starts from all addresses.
	Max int64 `json:"max"`
	// Within how long.
	Window caddy.Duration `json:"window"`
}

// ClientLimit is how often one client may start, in two windows.
type ClientLimit struct {
	// How often.
	Max int64 `json:"max"`
	// Within how long.
	Window caddy.Duration `json:"window"`
	// How often within the longer window. Left out with it, there is none.
	LongMax int64 `json:"long_max,omitempty"`
	// The longer window.
	LongWindow caddy.Duration `json:"long_window,omitempty"`
}

// RateLimit is how often something may happen.
type RateLimit struct {
	// How often.
	Max int64 `json:"max"`
	// Within how long.
	Window caddy.Duration `json:"window,omitempty"`
}

// withDefaults fills in what is not set. It may be called on nil.
func (l *Limits) withDefaults() *Limits {
	full := Limits{}
	if l != nil {
		full = *l
	}
	if full.Number == nil {
		full.Number = &NumberLimit{PerClient: 5, Max: 30, Window: caddy.Duration(time.Hour)}
	}
	if full.Client == nil {
		full.Client = &ClientLimit{
			Max: 60, Window: caddy.Duration(10 * time.Minute),
			LongMax: 600, LongWindow: caddy.Duration(24 * time.Hour),
		}
	}
	if full.Global == nil {
		full.Global = &RateLimit{Max: 20_000, Window: caddy.Duration(24 * time.Hour)}
	}
	full.Attempts = cmp.Or(full.Attempts, 10_000)
	full.Sessions = cmp.Or(full.Sessions, 1_000_000)
	return &full
}

// gate returns them as the gate takes them. They have their defaults.
func (l *Limits) gate() quota.Limits {
	rate := func(most int64, window caddy.Duration) quota.Rate {
		return quota.Rate{Max: most, Window: time.Duration(window).Truncate(time.Millisecond)}
	}
	client := []quota.Rate{rate(l.Client.Max, l.Client.Window)}
	if l.Client.LongMax > 0 {
		client = append(client, rate(l.Client.LongMax, l.Client.LongWindow))
	}
	number := rate(l.Number.Max, l.Number.Window)
	return quota.Limits{
		NumberEach: l.Number.PerClient, NumberAll: number.Max, NumberWindow: number.Window,
		Client: client, Global: rate(l.Global.Max, l.Global.Window),
		Attempts: l.Attempts, Sessions: l.Sessions,
	}
}

// check returns the first mistake, or nil.
func (l *Limits) check() *option.Mistake {
	wrong := func(text string) *option.Mistake { return &option.Mistake{Option: "limits", Text: text} }
	full := l.withDefaults()
	client := full.Client
	switch {
	case full.Number.PerClient < 1 || full.Number.Max < 1 || full.Client.Max < 1 || full.Global.Max < 0 || full.Attempts < 1 || full.Sessions < 1:
		return wrong("must be numbers from 1; only global can be off")
	case isShort(full.Number.Window), isShort(client.Window), full.Global.Max > 0 && isShort(full.Global.Window):
		return wrong("need windows of a second or more; write them like 10m, 1h or 24h")
	case full.Number.PerClient > full.Number.Max:
		return wrong("a number may not be started more often from one client than from all; write 'number 5 1h 30', the last being the larger one")
	case client.LongMax == 0 && client.LongWindow == 0:
		return nil
	case client.LongWindow <= client.Window, client.LongMax < client.Max:
		return wrong("the client's second window must be longer than the first, and its number no smaller; write 'client 60 10m 600 24h', or 'client 60 10m' for one window")
	default:
		return nil
	}
}

// isShort tells whether a window is none.
func isShort(window caddy.Duration) bool { return time.Duration(window) < time.Second }

// readLimits reads the block
//
//	limits {
//		number   <starts from one client> <window> <starts from all>
//		client   <starts> <window> [<starts> <longer window>]
//		global   <starts> <window> | off
//		attempts <in flight>
//		sessions <held>
//	}
func readLimits(l *option.Line, value **Limits) error {
	read := new(Limits)
	block, err := l.Block(read.options()...)
	if err != nil {
		return err
	}
	if block.IsEmpty() {
		return l.Errf("needs a block with number, client, global, attempts or sessions; leave it out for the defaults")
	}
	*value = read
	return nil
}

func (l *Limits) options() []option.Option {
	return []option.Option{
		limit("number", "number 5 1h 30", func(args []string) error {
			l.Number = new(NumberLimit)
			return readAll(args, &l.Number.PerClient, &l.Number.Window, &l.Number.Max)
		}),
		limit("client", "client 60 10m 600 24h", func(args []string) error {
			l.Client = new(ClientLimit)
			values := []any{&l.Client.Max, &l.Client.Window, &l.Client.LongMax, &l.Client.LongWindow}
			if len(args) != 2 && len(args) != 4 {
				return errors.New("takes 2 or 4 values")
			}
			return readAll(args, values[:len(args)]...)
		}),
		limit("global", "global 20000 24h', or 'global off", func(args []string) error {
			l.Global = new(RateLimit)
			if len(args) == 1 && args[0] == "off" {
				return nil
			}
			return readAll(args, &l.Global.Max, &l.Global.Window)
		}),
		limit("attempts", "attempts 10000", func(args []string) error { return readAll(args, &l.Attempts) }),
		limit("sessions", "sessions 1000000", func(args []string) error { return readAll(args, &l.Sessions) }),
	}
}

// limit is one line of the block; example shows how it is written.
func limit(name, example string, read func(args []string) error) option.Option {
	return option.Custom(name, func(l *option.Line) error {
		args, err := l.Args()
		if err != nil {
			return err
		}
		if err := read(args); err != nil {
			return l.Errf("%v; write '%s'", err, example)
		}
		return nil
	})
}

// maxCount is the largest number that the JSON of a configuration holds exactly.
const maxCount = 1 << 53

// readAll reads counts and durations, each longer than nothing.
func readAll(args []string, values ...any) error {
	if len(args) != len(values) {
		return fmt.Errorf("takes %d values", len(values))
	}
	for i, arg := range args {
		switch value := values[i].(type) {
		case *int64:
			n, err := strconv.ParseInt(arg, 10, 64)
			if err != nil || n < 1 || n > maxCount {
				return fmt.Errorf("has %q where a number from 1 to %d must be", arg, int64(maxCount))
			}
			*value = n
		case *caddy.Duration:
			parsed, err := caddy.ParseDuration(arg)
			if err != nil || parsed < time.Second {
				return fmt.Errorf("has %q where a duration of a second or more must be", arg)
			}
			*value = caddy.Duration(parsed)
		}
	}
	return nil
}
