package journal

import (
	"sync"
	"time"
)

// sampler limits how often lines are logged that anybody can cause. The names of
// lines are constants of the code, so the map stays small.
type sampler struct {
	mu    sync.Mutex
	lines map[string]*sampled
}

type sampled struct {
	last    time.Time
	leftOut int64
}

// take allows one line of a name a second. It tells whether this one is logged, and
// how many were left out since the last.
func (s *sampler) take(name string) (leftOut int64, ok bool) {
	return s.takeEvery(time.Second, name)
}

func (s *sampler) takeEvery(pause time.Duration, name string) (leftOut int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := s.lines[name]
	if line == nil {
		if s.lines == nil {
			s.lines = make(map[string]*sampled)
		}
		line = new(sampled)
		s.lines[name] = line
	}
	now := time.Now()
	if since := now.Sub(line.last); 0 <= since && since < pause {
		line.leftOut++
		return 0, false
	}
	leftOut, line.leftOut, line.last = line.leftOut, 0, now
	return leftOut, true
}
