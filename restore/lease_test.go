package restore_test

import (
	"context"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xapi"
)

// patientPool takes the content of a disk only when it is told to stop.
type patientPool struct {
	restore.Pool
	begun func()
}

func (p patientPool) ImportVDI(ctx context.Context, _ xapi.Ref[xapi.VDI], _ int64, body io.Reader, _ *xapi.ImportVDIOptions) error {
	if _, err := io.CopyN(io.Discard, body, 4096); err != nil {
		return err
	}
	p.begun()
	<-ctx.Done()
	return ctx.Err()
}

// loseLeases takes away the leases of all readers.
func (w *world) loseLeases(t *testing.T) {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(w.repo.Dir, ".xenbackup", "leases")))
}

// A restore whose lease is lost reads no further, whatever merges may do to the disks
// from then on: it says so, and leaves nothing.
func TestRestoreStopsWhenItsLeaseIsLost(t *testing.T) {
	w := newWorld(t).withPool(t)
	pool := patientPool{w.client, func() { w.loseLeases(t) }}
	_, err := restore.VM(t.Context(), pool, w.cat, w.point(t, secondPoint), nil)
	require.ErrorIs(t, err, catalog.ErrLeaseLost)
	require.ErrorIs(t, err, remote.ErrLockLost)
	w.requireNothing(t)
}

// inMemory is a copy of the repository that lives in the time of a bubble.
func (w *world) inMemory(t *testing.T) (*catalog.Catalog, remote.Filesystem) {
	t.Helper()
	fsys := remotetest.NewCrash()
	require.NoError(t, filepath.WalkDir(w.repo.Dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		rel, err := filepath.Rel(w.repo.Dir, name)
		require.NoError(t, err)
		rel = filepath.ToSlash(rel)
		require.NoError(t, remote.MkdirAll(t.Context(), fsys, path.Dir(rel)))
		return remote.WriteFile(t.Context(), fsys, rel, content)
	}))
	c, err := catalog.Open(t.Context(), fsys, nil)
	require.NoError(t, err)
	return c, fsys
}

// losing is where an archive goes: with its first bytes the leases are taken away, and
// it takes the next only when that was noticed.
type losing struct {
	t    *testing.T
	fsys remote.Filesystem
	n    int
}

func (l *losing) Write(p []byte) (int, error) {
	if l.n == 0 {
		require.NoError(l.t, remote.RemoveAll(l.t.Context(), l.fsys, ".xenbackup/leases"))
		<-time.After(6 * time.Second) // in the time of the bubble
	}
	l.n += len(p)
	return len(p), nil
}

func TestDisksAreNotReadAfterTheLeaseIsLost(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		c, fsys := w.inMemory(t)
		p, err := c.Point(ctx, secondPoint)
		require.NoError(t, err)
		d, err := restore.OpenDisk(ctx, c, p, systemDisk)
		require.NoError(t, err)
		content := make([]byte, 4096)
		_, err = d.ReadAt(content, 0)
		require.NoError(t, err)
		require.NotZero(t, d.Links())
		require.NoError(t, remote.RemoveAll(ctx, fsys, ".xenbackup/leases"))
		<-time.After(6 * time.Second)
		_, err = d.ReadAt(content, 0)
		require.ErrorIs(t, err, catalog.ErrLeaseLost)
		require.NoError(t, d.Close())

		err = restore.ExportXVA(ctx, c, p, &losing{t: t, fsys: fsys}, nil)
		require.ErrorIs(t, err, catalog.ErrLeaseLost)
	})
}
