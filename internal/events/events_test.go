package events

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// handler notes what it is given, and takes its time.
type handler struct {
	took time.Duration
	// hangs says that it goes on for ever, whatever its context says.
	hangs bool

	mu    sync.Mutex
	given []string
}

func (h *handler) handle(ctx context.Context, e Event) {
	h.mu.Lock()
	h.given = append(h.given, e.Name+fmt.Sprint(e.Data["n"]))
	h.mu.Unlock()
	if h.hangs {
		ctx = context.Background()
	}
	timer := time.NewTimer(h.took)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (h *handler) was(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.given, want) {
		t.Errorf("the handler was given %v, want %v", h.given, want)
	}
}

func started(hub *Hub, h *handler) *Queue {
	q := NewQueue(h.handle)
	hub.Open(q)
	q.Run()
	return q
}

func emit(t *testing.T, hub *Hub, n int) {
	t.Helper()
	if !hub.Emit("event ", func() map[string]any { return map[string]any{"n": n} }) {
		t.Errorf("event %d is dropped", n)
	}
}

func TestNobodyWaitsForAHandlerAndWhatIsTooMuchIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, slow := new(Hub), &handler{took: time.Hour}
		q := started(hub, slow)
		began := time.Now()
		emit(t, hub, 0)
		slow.was(t, "event 0")
		for n := range room {
			emit(t, hub, n)
		}
		for range 3 {
			if hub.Emit("one too many", func() map[string]any { return nil }) {
				t.Error("a full queue takes another event")
			}
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it took %v", waited)
		}
		if dropped := hub.Close(q); dropped != room {
			t.Errorf("%d are dropped in the end, want all but the one that is being handled", dropped)
		}
		if waited := time.Since(began); waited != patience {
			t.Errorf("the end took %v", waited)
		}
	})
}

func TestEventsAreHandledInTheirOrderBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, h := new(Hub), &handler{took: time.Second}
		q := started(hub, h)
		emit(t, hub, 1)
		emit(t, hub, 2)
		q.Drain()
		h.was(t, "event 1", "event 2")
		emit(t, hub, 3) // its request ran on after the apps were stopped
		if dropped := hub.Close(q); dropped != 0 {
			t.Errorf("%d are dropped", dropped)
		}
		h.was(t, "event 1", "event 2", "event 3")
		if q.ctx.Err() != nil {
			t.Error("what a handler does in the background was stopped")
		}
		hub.Emit("nobody", func() map[string]any {
			t.Error("data are made that nobody wants")
			return nil
		})
	})
}

func TestHandlerThatHangsDoesNotHoldTheEndForEver(t *testing.T) {
	for name, hangs := range map[string]bool{"for ever": true, "until its context ends": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub, h := new(Hub), &handler{took: 24 * time.Hour, hangs: hangs}
				q := started(hub, h)
				for n := range 4 {
					emit(t, hub, n)
				}
				synctest.Wait()
				began := time.Now()
				q.Drain()
				if dropped := hub.Close(q); dropped != 3 {
					t.Errorf("%d are dropped, want 3", dropped)
				}
				if took := time.Since(began); took != patience {
					t.Errorf("the end took %v, want %v", took, patience)
				}
				<-q.done // a day later, if it does hang
				h.was(t, "event 0")
			})
		})
	}
}

func TestFullQueueOfAHandlerThatHangsDoesNotHoldTheEndForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, h := new(Hub), &handler{took: 24 * time.Hour, hangs: true}
		q := started(hub, h)
		emit(t, hub, 0)
		synctest.Wait()
		for n := range room {
			emit(t, hub, n)
		}
		began := time.Now()
		q.Drain()
		hub.Close(q)
		if took := time.Since(began); took != patience {
			t.Errorf("the end took %v, want %v", took, patience)
		}
		<-q.done
	})
}

// A request that still runs after a reload belongs to the configuration that has ended.
func TestEventsAfterAReloadGoToTheNewHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, before, now := new(Hub), new(handler), new(handler)
		old := started(hub, before)
		emit(t, hub, 1)
		next := NewQueue(now.handle)
		hub.Open(next)
		emit(t, hub, 2)
		before.was(t, "event 1")
		now.was(t) // until all apps have started
		next.Run()
		now.was(t, "event 2")
		hub.Close(old)
		emit(t, hub, 3)
		now.was(t, "event 2", "event 3")
		hub.Close(next)
		before.was(t, "event 1")
	})
}

func TestEventsWhileAConfigurationFailsToStartGoToTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, before, never := new(Hub), new(handler), new(handler)
		old := started(hub, before)
		broken := NewQueue(never.handle)
		hub.Open(broken)
		emit(t, hub, 1)
		broken.Drain() // Caddy stops the apps that did start
		for range 2 {
			if dropped := hub.Close(broken); dropped != 0 {
				t.Errorf("%d are dropped", dropped)
			}
		}
		emit(t, hub, 2)
		hub.Close(old)
		before.was(t, "event 1", "event 2")
		never.was(t)
	})
}

func TestManyEmitWhileConfigurationsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub, h := new(Hub), new(handler)
		q := started(hub, h)
		var emitting sync.WaitGroup
		for range 8 {
			emitting.Go(func() {
				for n := range 100 {
					emit(t, hub, n)
				}
			})
		}
		for range 20 {
			next := started(hub, h)
			q.Drain()
			if dropped := hub.Close(q); dropped != 0 {
				t.Errorf("%d are dropped", dropped)
			}
			q = next
		}
		emitting.Wait()
		hub.Close(q)
		if len(h.given) != 800 {
			t.Errorf("%d events were handled, want 800", len(h.given))
		}
	})
}
