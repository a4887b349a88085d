package live

import "time"

const (
	window = 10 * time.Second       // the rate is that of so long
	step   = 200 * time.Millisecond // between what is remembered
)

// speed is how fast a number grows.
type speed struct {
	past []mark
	last mark
}

type mark struct {
	at   time.Time
	done int64
}

// note says that it has grown to done.
func (s *speed) note(at time.Time, done int64) {
	s.last = mark{at, done}
	switch n := len(s.past); {
	case n == 0 || at.Sub(s.past[n-1].at) >= step:
		s.past = append(s.past, s.last)
	case at.Equal(s.past[n-1].at):
		s.past[n-1] = s.last
	}
	for len(s.past) > 2 && at.Sub(s.past[1].at) >= window {
		s.past = s.past[1:]
	}
}

// rate is per second; 0 until it is known.
func (s *speed) rate() float64 {
	if len(s.past) == 0 {
		return 0
	}
	spent := s.last.at.Sub(s.past[0].at)
	if spent <= 0 {
		return 0
	}
	return float64(s.last.done-s.past[0].done) / spent.Seconds()
}
