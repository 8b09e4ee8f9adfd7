package guest

import (
	"context"
	"os/exec"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

// Listener is a handler of events that plays what the test says.
type Listener struct {
	// Name tells handlers of several configurations apart.
	Name string `json:"name,omitempty"`

	over chan struct{}
}

// Hearing is what all Listeners do with an event; nil: nothing.
type Hearing func(l *Listener, e caddy.Event)

var hearing struct {
	sync.RWMutex
	do Hearing
}

// Hear has all Listeners call do from now on.
func Hear(do Hearing) {
	hearing.Lock()
	defer hearing.Unlock()
	hearing.do = do
}

// CaddyModule implements caddy.Module.
func (*Listener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_listener", New: func() caddy.Module { return new(Listener) }}
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler.
func (l *Listener) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&l.Name) // or none
	return nil
}

// Provision implements caddy.Provisioner.
func (l *Listener) Provision(caddy.Context) error {
	l.over = make(chan struct{})
	return nil
}

// Cleanup implements caddy.CleanerUpper.
func (l *Listener) Cleanup() error {
	close(l.over)
	return nil
}

// Over is closed when Caddy has ended the listener.
func (l *Listener) Over() <-chan struct{} { return l.over }

// Handle implements caddyevents.Handler.
func (l *Listener) Handle(_ context.Context, e caddy.Event) error {
	hearing.RLock()
	do := hearing.do
	hearing.RUnlock()
	if do != nil {
		do(l, e)
	}
	return nil
}

// Exec plays github.com/mholt/caddy-events-exec, which is no part of Caddy: it runs a
// command for each event, in the background, with placeholders in its arguments.
type Exec struct {
	Command string   `json:"command,omitempty"`
	Args    []string `json:"args,omitempty"`

	log *zap.Logger
}

// CaddyModule implements caddy.Module.
func (*Exec) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.exec", New: func() caddy.Module { return new(Exec) }}
}

// Provision implements caddy.Provisioner.
func (h *Exec) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	return nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler.
func (h *Exec) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.NextArg() {
		return d.ArgErr()
	}
	h.Command = d.Val()
	h.Args = d.RemainingArgs()
	return nil
}

// Handle implements caddyevents.Handler.
func (h *Exec) Handle(ctx context.Context, _ caddy.Event) error {
	repl := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	args := make([]string, len(h.Args))
	for i, arg := range h.Args {
		args[i] = repl.ReplaceAll(arg, "")
	}
	command := exec.CommandContext(ctx, h.Command, args...)
	go func() {
		if err := command.Run(); err != nil {
			h.log.Error("command failed", zap.Error(err))
		}
	}()
	return nil
}
