package catalog_test

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// guard is a storage on which the files of some points cannot be changed, as Xen
// Orchestra's daemon makes it: directories beside those of disks can.
type guard struct {
	*remotetest.Faulty
	dates []string
}

func newGuard(fsys remote.Filesystem, points ...int) *guard {
	g := &guard{Faulty: remotetest.NewFaulty(fsys)}
	for _, n := range points {
		g.dates = append(g.dates, catalog.FormatDate(dateOf(n)))
	}
	return g
}

func (g *guard) refuse(op string, names ...string) error {
	for _, name := range names {
		for _, date := range g.dates {
			if strings.HasPrefix(name, testVMDir) && (strings.HasPrefix(path.Base(name), date) || strings.Contains(name, "/data/"+date)) {
				return &fs.PathError{Op: op, Path: name, Err: syscall.EPERM}
			}
		}
	}
	return nil
}

func (g *guard) Rename(ctx context.Context, oldname, newname string) error {
	if err := g.refuse("rename", oldname, newname); err != nil {
		return err
	}
	return g.Faulty.Rename(ctx, oldname, newname)
}

func (g *guard) Remove(ctx context.Context, name string) error {
	if err := g.refuse("remove", name); err != nil {
		return err
	}
	return g.Faulty.Remove(ctx, name)
}

func (g *guard) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	if flag&3 != 0 { // for writing
		if err := g.refuse("open", name); err != nil {
			return nil, err
		}
	}
	return g.Faulty.OpenFile(ctx, name, flag)
}

// The oldest point is free and expires, the others are guarded: its disks wait until those
// that would take them over are free too.
func TestMergesWaitForPointsThatAreGuarded(t *testing.T) {
	for _, format := range []catalog.DiskFormat{catalog.FormatFile, catalog.FormatPlain} {
		for _, said := range []bool{true, false} {
			opts := &catalog.Options{Format: format}
			m, fsys := repositoryOf(t, 4, opts)
			if said { // by the daemon: 2 and younger are guarded
				duration := time.Since(dateOf(1)) - 30*time.Minute
				text := fmt.Appendf(nil, `{"since":0,"immutable":true,"duration":%d}`, duration.Milliseconds())
				require.NoError(t, remote.WriteFile(t.Context(), fsys, "immutability.json", text))
			}
			guarded := newGuard(fsys, 2, 3, 4)
			before := filesIn(t.Context(), t, fsys, testVMDir)
			for range 2 {
				report := expireAndMerge(t, guarded, opts, 1)
				require.Empty(t, report.Merged)
				require.Empty(t, report.Unknown)
				require.NotEmpty(t, report.Left)
				require.ErrorIs(t, report.Left[0].Err, fs.ErrPermission)
				got, err := m.check(t.Context(), fsys)
				require.NoError(t, err)
				require.Equal(t, dates(2, 3, 4), got)
			}
			delete(before, pointName(1))
			if said {
				require.Equal(t, before, filesIn(t.Context(), t, fsys, testVMDir), "nothing was begun")
				require.NoError(t, fsys.Remove(t.Context(), "immutability.json"))
			}
			require.NotEmpty(t, expireAndMerge(t, fsys, &catalog.Options{Format: format}, 1).Merged)
			got, err := m.check(t.Context(), fsys)
			require.NoError(t, err)
			require.Equal(t, dates(4), got)
		}
	}
}
