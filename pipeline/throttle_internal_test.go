package pipeline

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestExportsShareTheRateOfTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 10 << 20
		v := &vmRun{rate: newRate(1 << 20)}
		start := time.Now()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				data, err := io.ReadAll(v.throttled(t.Context(), bytes.NewReader(make([]byte, each))))
				if err != nil || len(data) != each {
					t.Errorf("%d bytes: %v", len(data), err)
				}
			})
		}
		wg.Wait()
		require.InDelta(t, 20, time.Since(start).Seconds(), 1)
	})
}

func TestThrottledReadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, ErrVMTimeout)
		defer cancel()
		v := &vmRun{rate: newRate(1)}
		_, err := io.ReadAll(v.throttled(ctx, bytes.NewReader(make([]byte, 10))))
		require.ErrorIs(t, err, ErrVMTimeout)
	})
}
