package xapi

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestUploadsDoNotAllocatePerRead: what an import allocates does not grow with the disk.
func TestUploadsDoNotAllocatePerRead(t *testing.T) {
	_, end := context.WithCancelCause(t.Context())
	defer end(nil)
	up := newUpload(endless{}, 1<<40)
	up.dog, up.limit = newWatchdog(time.Minute, end), time.Minute
	defer up.dog.rest()
	up.flow()
	body := up.body()
	defer func() { _ = body.Close() }()
	buffer := make([]byte, 32<<10)
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = body.Read(buffer) }))
}

// A redirect leaves two bodies for one source: the first one is closed, and reads on all the same.
func TestAClosedBodyLeavesTheSourceToTheNextOne(t *testing.T) {
	_, end := context.WithCancelCause(t.Context())
	defer end(nil)
	for range 200 {
		up := newUpload(endless{}, 1<<40)
		up.dog, up.limit = newWatchdog(time.Minute, end), time.Minute
		first := up.body()
		require.NoError(t, first.Close())
		require.NoError(t, first.Close())
		require.False(t, up.touched())
		up.flow()
		n, err := first.Read(make([]byte, 10))
		require.ErrorIs(t, err, ErrClosed)
		require.Zero(t, n)
		require.False(t, up.touched())
		n, err = up.body().Read(make([]byte, 10))
		require.NoError(t, err)
		require.Equal(t, 10, n)
		up.dog.rest()
	}
}
