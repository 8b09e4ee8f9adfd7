package numberverify

import (
	"context"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/numberverify/caddy-number-verify/internal/events"
	"github.com/numberverify/caddy-number-verify/internal/journal"
)

// outlet hands events to the handlers of Caddy's events app.
type outlet struct {
	app   *caddyevents.App
	ctx   caddy.Context
	queue *events.Queue
}

// newOutlet returns the outlet of a configuration; nil where nobody can be told of events.
func newOutlet(ctx caddy.Context) (*outlet, error) {
	module, err := ctx.AppIfConfigured("events")
	if err != nil {
		return nil, nil
	}
	// A context of its own, without a module that events come from: contexts of Caddy share
	// the memory for that, so it would be any module that was loaded after the app.
	own, _ := caddy.NewContext(ctx) // ends with ctx
	o := &outlet{app: module.(*caddyevents.App), ctx: own}
	o.queue = events.NewQueue(o.emit)
	return o, o.app.On("started", onStarted{o, new(sync.Once)})
}

// emit hands an event to its handlers. It does not do so in the configuration's context,
// which has ended when the last events are handled.
func (o *outlet) emit(ctx context.Context, e events.Event) {
	_, _ = guarded("handler of "+e.Name, func() (any, error) {
		own := o.ctx
		own.Context = ctx
		o.app.Emit(own, e.Name, e.Data)
		return nil, nil
	})
}

// onStarted is told, once, when all apps have started, the events app too: it must not be asked
// for its handlers before. Then it begins to hand out events, if anybody listens.
type onStarted struct {
	outlet *outlet
	once   *sync.Once // any module may call an event of its own "started"
}

// Handle implements caddyevents.Handler.
func (s onStarted) Handle(context.Context, caddy.Event) error {
	s.once.Do(func() {
		if slices.ContainsFunc(journal.Events, s.outlet.app.ShouldEmit) {
			s.outlet.queue.Run()
		} else {
			s.outlet.close()
		}
	})
	return nil
}

// open has events wait in the outlet.
func (o *outlet) open() {
	if o != nil {
		events.Process.Open(o.queue)
	}
}

// drain waits for the handlers of what has happened so far.
func (o *outlet) drain() {
	if o != nil {
		o.queue.Drain()
	}
}

// close ends the outlet, and returns how many events are dropped.
func (o *outlet) close() (dropped int) {
	if o == nil {
		return 0
	}
	return events.Process.Close(o.queue)
}

// Interface guard
var _ caddyevents.Handler = onStarted{}
