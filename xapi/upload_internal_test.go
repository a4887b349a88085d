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
