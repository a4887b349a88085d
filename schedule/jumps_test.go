package schedule_test

import (
	"math/rand/v2"
	"time"
)

// jumps are random settings of a clock.
type jumps struct{ *rand.Rand }

func randomJumps(seed uint64) jumps { return jumps{rand.New(rand.NewPCG(seed, 8))} }

func (j jumps) jump() time.Duration {
	largest := []time.Duration{0, time.Minute, time.Hour, 3 * time.Hour, 5 * time.Hour, 1000 * time.Hour}[j.IntN(6)]
	return time.Duration((2*j.Float64() - 1) * float64(largest))
}
