package nfs_test

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/nfs"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// Whatever call the connection breaks at, before the server has carried it out or
// after, a Filesystem does what it was asked to, once.
func TestNothingIsDoneTwiceOrNotAtAllWhenConnectionsBreak(t *testing.T) {
	t.Run("go-nfs", func(t *testing.T) {
		port := testenv.GoNFS(t, t.TempDir())
		breakEverywhere(t, port, port, "/")
	})
	t.Run("ganesha", func(t *testing.T) {
		g, _ := ganesha(t)
		breakEverywhere(t, g.Port, g.MountPort, testenv.ExportData)
	})
}

func breakEverywhere(t *testing.T, port, mountPort int, dir string) {
	t.Helper()
	r := newRelay(t, port, 0)
	fsys := open(t, dir, &nfs.Options{Port: r.port, MountPort: mountPort, Options: remote.Options{Timeout: 10 * time.Second}})
	for _, how := range []loss{loseCall, loseAnswer} {
		for at := int32(1); ; at++ {
			var calls atomic.Int32
			r.lose(func(uint32) loss {
				if calls.Add(1) == at {
					return how
				}
				return keep
			})
			require.NoError(t, everyChange(t.Context(), fsys), "loss %d at call %d", how, at)
			r.lose(nil)
			if calls.Load() < at {
				require.Greater(t, at, int32(30))
				break
			}
		}
	}
}

// everyChange changes the storage in every way, and checks and removes the result.
func everyChange(ctx context.Context, fsys *nfs.FS) error {
	if err := fsys.Mkdir(ctx, "d"); err != nil {
		return err
	}
	if err := fsys.Mkdir(ctx, "d"); !errors.Is(err, fs.ErrExist) {
		return errors.Join(errors.New("a second Mkdir did not fail"), err)
	}
	f, err := fsys.OpenFile(ctx, "d/new", remotetest.CreateNew)
	if err != nil {
		return err
	}
	_, writeErr := f.WriteAt([]byte("content"), 0)
	if err := errors.Join(writeErr, f.Truncate(7), f.Sync(), f.Close()); err != nil {
		return err
	}
	_, createErr := fsys.OpenFile(ctx, "d/new", remotetest.CreateNew)
	if !errors.Is(createErr, fs.ErrExist) {
		return errors.Join(errors.New("a second creation did not fail"), createErr)
	}
	if err := fsys.Rename(ctx, "d/new", "d/renamed"); err != nil {
		return err
	}
	if err := fsys.Rename(ctx, "d/new", "d/again"); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errors.New("a second Rename did not fail"), err)
	}
	if err := remote.RenameNoReplace(ctx, fsys, "d/renamed", "d/linked"); err != nil {
		return err
	}
	got, err := remote.ReadFile(ctx, fsys, "d/linked", 100)
	if err != nil || string(got) != "content" {
		return errors.Join(errors.New("the file has another content"), err)
	}
	entries, err := fsys.ReadDir(ctx, "d")
	if err != nil || len(entries) != 1 {
		return errors.Join(errors.New("the directory has other entries"), err)
	}
	if err := errors.Join(fsys.Touch(ctx, "d/linked", time.Unix(1e9, 0)), fsys.Remove(ctx, "d/linked")); err != nil {
		return err
	}
	if err := fsys.Remove(ctx, "d/linked"); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errors.New("a second Remove did not fail"), err)
	}
	if err := fsys.Remove(ctx, "d"); err != nil {
		return err
	}
	_, err = fsys.Stat(ctx, "d")
	if !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errors.New("the directory is still there"), err)
	}
	return nil
}
