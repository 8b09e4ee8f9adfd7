// Package events hands what happens to handlers of others. A handler may take as long as
// it likes: events wait for it in a queue, and nobody waits for the queue.
package events

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// room is how many events may wait for handlers.
	room = 1000
	// patience is how long the end of a configuration waits for its handlers.
	patience = 5 * time.Second
)

// Event is something that happened. Its data holds nothing that a log may not hold.
type Event struct {
	Name string
	Data map[string]any
}

// Hub hands events to the newest of its queues. Each configuration has a queue, and the
// next one begins before the one before ends, whose requests go on: what happens to them
// is told to the handlers that are configured now.
type Hub struct {
	mu     sync.RWMutex
	queues []*Queue
}

// Process is the hub of this process.
var Process Hub

// Emit puts an event into the queue and never waits. It calls data only where there is a
// queue. It returns false if the queue is full: the event is dropped then.
func (h *Hub) Emit(name string, data func() map[string]any) (ok bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if len(h.queues) == 0 {
		return true
	}
	select {
	case h.queues[len(h.queues)-1].waiting <- waiting{Event: Event{name, data()}}:
		return true
	default:
		return false
	}
}

// Open has events go to q from now on, until Close. They wait there until q runs.
func (h *Hub) Open(q *Queue) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queues = append(h.queues, q)
}

// Close ends q after its events have been handled. It waits as Drain does, and not at all
// if a handler has made Drain wait in vain. If q has never run, its events go to the queue
// before. It returns how many events are dropped. The second time it does nothing.
func (h *Hub) Close(q *Queue) (dropped int) {
	if q.isClosed {
		return 0
	}
	q.isClosed = true
	h.mu.Lock()
	h.queues = slices.DeleteFunc(h.queues, func(other *Queue) bool { return other == q })
	h.mu.Unlock()
	close(q.waiting) // nobody sends any more: Emit looks for a queue under the lock
	if q.done == nil {
		for w := range q.waiting {
			if !h.Emit(w.Name, func() map[string]any { return w.Data }) {
				dropped++
			}
		}
		return dropped
	}
	if q.isDone() {
		return 0 // without stop: what a handler has begun in the background goes on
	}
	for w := range q.waiting {
		if w.mark == nil {
			dropped++
		}
	}
	q.stop() // only now, so that the handler is given no more
	return dropped
}

// Queue hands events to handlers, one after another. Its methods, and Close of its hub,
// are not called at the same time.
type Queue struct {
	emit    func(context.Context, Event)
	waiting chan waiting
	ctx     context.Context
	stop    context.CancelFunc
	// done is closed when all events have been handled after Close; nil until Run.
	done chan struct{}
	// isStuck says that a handler took too long.
	isStuck, isClosed bool
}

// waiting is an event in a queue, or the mark up to which a queue is drained.
type waiting struct {
	Event
	mark chan<- struct{}
}

// NewQueue returns a queue that hands events to emit, which must not panic. Its context
// ends if the queue is closed and emit does not return.
func NewQueue(emit func(context.Context, Event)) *Queue {
	q := &Queue{emit: emit, waiting: make(chan waiting, room)}
	q.ctx, q.stop = context.WithCancel(context.Background())
	return q
}

// Run begins to hand events out.
func (q *Queue) Run() {
	q.done = make(chan struct{})
	go func() {
		defer close(q.done)
		for w := range q.waiting {
			if w.mark != nil {
				close(w.mark)
				continue
			}
			q.emit(q.ctx, w.Event)
		}
	}()
}

// isDone waits until all events of a closed queue have been handled. It returns false if a
// handler takes too long, or did so before.
func (q *Queue) isDone() bool {
	if q.isStuck {
		return false
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-q.done:
		return true
	case <-timer.C:
		return false
	}
}

// Drain waits until the events that are in the queue have been handled, but not for ever.
func (q *Queue) Drain() {
	if q.done == nil {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	mark := make(chan struct{})
	select {
	case q.waiting <- waiting{mark: mark}:
	case <-timer.C:
		q.isStuck = true
		return
	}
	select {
	case <-mark:
	case <-timer.C:
		q.isStuck = true
	}
}
