package journal

import (
	"sync"
	"time"
)

// sampler bounds the lines of the log that anybody can cause. Names are the
// code's own, so that there are only a few.
type sampler struct {
	mu    sync.Mutex
	lines map[string]*sampled
}

type sampled struct {
	last    time.Time
	leftOut int64
}

// take tells whether to log a line of that name, of which one a second is, and
// how many were left out since the last that was.
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
