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

// Limits bound how often verifications are started: each start may be billed and may
// trouble a person. Every start that reaches the provider counts, whatever it answers.
// One that ends verified is taken off the counts of its number, its client and its
// network, for one number at most 20 times in 24h.
//
// Starts are counted for each verifier account, in the cache, so that the counts
// outlive a reload, and nodes share them if they share the cache. Directives of one
// account count each other's starts, even where their windows differ.
type Limits struct {
	// Starts of one number. Default: 5 in 1h from one client (an IPv4 address or
	// an IPv6 /64; twice as many from a /48), and 30 from all.
	Number *NumberLimit `json:"number,omitempty"`

	// Starts from one client address, which is Caddy's `client_ip`. An IPv6 /64
	// counts as one client; ten times as many may come from a /48. Default: 60 in
	// 10m and 600 in 24h.
	Client *ClientLimit `json:"client,omitempty"`

	// Starts in all: the budget. At 80 % a warning is logged. One network (an IPv4
	// /16 or an IPv6 /32) may use up a quarter of it with starts that are not
	// verified; or, if that is more, ten times what `client` allows in its longer
	// window (of IPv6, twice what it allows a /48). A `max` of 0 is no limit.
	// Default: 20000 in 24h.
	Global *RateLimit `json:"global,omitempty"`

	// How many attempts may be in flight, of which at most 200 from one client
	// address and 5 from one browser. Beyond that visitors get `busy`. Default:
	// 10000.
	Attempts int64 `json:"attempts,omitempty"`

	// How many sessions the memory or bolt cache may hold. Beyond that new attempts
	// get `busy`; no live session is dropped. Default: 1000000.
	Sessions int64 `json:"sessions,omitempty"`
}

// NumberLimit is how often verifications of one number may be started.
type NumberLimit struct {
	// Starts from one client; an IPv6 /48 may start twice as many.
	PerClient int64 `json:"per_client"`
	// Starts from all addresses.
	Max int64 `json:"max"`
	// Within how long.
	Window caddy.Duration `json:"window"`
}

// ClientLimit is how often one client may start verifications, in two windows.
type ClientLimit struct {
	// How often.
	Max int64 `json:"max"`
	// Within how long.
	Window caddy.Duration `json:"window"`
	// How often within the longer window. Without it there is one window.
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

// quota returns the limits in the form that the gate takes. The defaults must be filled
// in.
func (l *Limits) quota() quota.Limits {
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

// isShort tells whether a window is too short.
func isShort(window caddy.Duration) bool { return time.Duration(window) < time.Second }

// readLimits reads the block
//
//	limits {
//		number   <starts from one client> <window> <starts from all>
//		client   <starts> <window> [<starts> <longer window>]
//		global   <starts> <window> | off
//		attempts <in flight>
//		sessions <in the cache>
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
		limitLine("number", "number 5 1h 30", func(args []string) error {
			l.Number = new(NumberLimit)
			return readAll(args, &l.Number.PerClient, &l.Number.Window, &l.Number.Max)
		}),
		limitLine("client", "client 60 10m 600 24h", func(args []string) error {
			l.Client = new(ClientLimit)
			values := []any{&l.Client.Max, &l.Client.Window, &l.Client.LongMax, &l.Client.LongWindow}
			if len(args) != 2 && len(args) != 4 {
				return errors.New("takes 2 or 4 values")
			}
			return readAll(args, values[:len(args)]...)
		}),
		limitLine("global", "global 20000 24h', or 'global off", func(args []string) error {
			l.Global = new(RateLimit)
			if len(args) == 1 && args[0] == "off" {
				return nil
			}
			return readAll(args, &l.Global.Max, &l.Global.Window)
		}),
		limitLine("attempts", "attempts 10000", func(args []string) error { return readAll(args, &l.Attempts) }),
		limitLine("sessions", "sessions 1000000", func(args []string) error { return readAll(args, &l.Sessions) }),
	}
}

// limitLine is one line of the block; example shows how it is written.
func limitLine(name, example string, read func(args []string) error) option.Option {
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

// readAll reads counts and durations, which must not be 0.
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
