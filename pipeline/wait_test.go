package pipeline_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
)

// An observer is told what a VM waits for, when it does, and how long it did.
func TestObserverHearsOfWaitsForSlots(t *testing.T) {
	w := newWorld(t, "r")
	limiter := pipeline.NewLimiter(pipeline.DefaultLimits())
	key := pipeline.Key{Pool: "lab", Op: pipeline.OpSnapshot}
	var held []func()
	for range pipeline.DefaultLimits().Snapshot {
		_, release, err := limiter.Acquire(t.Context(), key)
		require.NoError(t, err)
		held = append(held, release)
	}
	w.opts.Limiter = limiter
	waited := map[string]time.Duration{}
	var free sync.Once
	w.opts.Observer = task.ObserverFunc(func(e task.Event) {
		if e.Kind != task.EventWait {
			return
		}
		require.Equal(t, "backup VM", e.Name)
		waited[e.Limit] += e.Waited
		if e.Limit == string(pipeline.OpSnapshot) && e.Waited == 0 {
			free.Do(func() {
				for _, release := range held {
					release()
				}
			})
		}
	})
	w.mustRun()
	for _, op := range []pipeline.Op{pipeline.OpVM, pipeline.OpSnapshot, pipeline.OpDiskExport} {
		require.Positive(t, waited[string(op)], op)
	}
}
