package remote

import (
	"context"
	"io/fs"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// lockTime is a storage with nothing but a modification time.
type lockTime struct {
	Filesystem
	mtime time.Time
}

func (l *lockTime) Stat(context.Context, string) (fs.FileInfo, error) {
	return fs.Stat(fstest.MapFS{"vm.lock": {Mode: fs.ModeDir, ModTime: l.mtime}}, "vm.lock")
}

func (l *lockTime) Touch(_ context.Context, _ string, mtime time.Time) error {
	l.mtime = mtime
	return nil
}

// When the clock of this machine is set back by as much as has passed since the last
// refresh, others must see the time of the lock move all the same.
func TestEachRefreshMovesTheTimeOfTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock stands still
		storage := &lockTime{}
		d := &dirLock{fsys: storage, toucher: storage, dir: "vm.lock", fraction: 100}
		d.lock, _ = NewLock(d.check, d.release)
		require.NoError(t, d.touch(t.Context()))
		first := storage.mtime
		require.NoError(t, d.touch(t.Context()))
		require.NotEqual(t, first, storage.mtime)
		require.Less(t, storage.mtime.Sub(first).Abs(), 2*time.Second)
	})
}
