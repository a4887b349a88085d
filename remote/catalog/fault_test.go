package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// cycle is a backup with retention and merges, and then a clean.
func (m *machine) cycle(ctx context.Context, fsys remote.Filesystem) (committed bool, err error) {
	if committed, err = m.backup(ctx, fsys, 2); err != nil {
		return committed, err
	}
	return committed, m.cleanOnce(ctx, fsys)
}

func (m *machine) cleanOnce(ctx context.Context, fsys remote.Filesystem) error {
	c, err := catalog.Open(ctx, fsys, m.opts)
	if err != nil {
		return err
	}
	s, err := c.LockVM(ctx, testVM)
	if err != nil {
		return err
	}
	_, err = s.Clean(ctx, nil)
	return errors.Join(err, s.Close(ctx))
}

// worn is a repository of three points with garbage that one clean has seen, and
// some that none has.
func worn(t *testing.T) (*machine, *remotetest.Crash) {
	t.Helper()
	m, fsys := newRepository(t, 3)
	plant(t, fsys, path.Dir(diskName(0, 1))+"/.1767000000000.20270101T000000Z.vhd", "half")
	plant(t, fsys, path.Dir(diskName(0, 1))+"/data/20270101T000000Z.vhd/header", "half")
	require.NoError(t, m.cleanOnce(t.Context(), fsys))
	plant(t, fsys, testVMDir+"/20270101T000000Z.xva", "archive")
	plant(t, fsys, testVMDir+"/.x.0123456789abcdef.tmp", "half")
	return m, durable(fsys)
}

// Whatever operation of a backup, its retention, its merges and a clean fails, for
// once or from then on, or is the last one: nothing is lost, what is acknowledged
// stays, and two cleans later nothing is left over. With XENBACKUP_SWEEP set each
// operation has its turn.
func TestCycleSurvivesAnyFault(t *testing.T) {
	stride := 37
	if os.Getenv("XENBACKUP_SWEEP") != "" {
		stride = 1
	}
	t.Parallel()
	m, base := worn(t)
	type setter func(f *remotetest.Faulty, n int)
	once := func(err error) setter { return func(f *remotetest.Faulty, n int) { f.FailAt(n, err) } }
	from := func(err error) setter { return func(f *remotetest.Faulty, n int) { f.FailFrom(n, err) } }
	death := func(f *remotetest.Faulty, n int) { f.FailFrom(n, syscall.ENODEV, remotetest.Mutating()...) }
	for name, v := range map[string]struct {
		set setter
		cut bool
		at  int // the one that the race detector allows
	}{
		"EIO once": {once(syscall.EIO), false, 97}, "EIO for good": {from(syscall.EIO), false, 251},
		"ESTALE once": {once(syscall.ESTALE), false, 173}, "ESTALE for good": {from(syscall.ESTALE), false, 60},
		"EACCES once": {once(syscall.EACCES), false, 210}, "EACCES for good": {from(syscall.EACCES), false, 310},
		"full": {func(f *remotetest.Faulty, n int) { f.FailFrom(n, syscall.ENOSPC, remotetest.Write) }, false, 9},
		"sync fails once, then a power cut": {func(f *remotetest.Faulty, n int) {
			f.FailAt(n, syscall.EIO, remotetest.Sync, remotetest.SyncDir)
		}, true, 13},
		"death": {death, false, 40}, "power cut": {death, true, 90},
	} {
		t.Run(name, func(t *testing.T) {
			n := 1
			if underRace {
				n = v.at
			}
			for ; ; n += stride {
				fsys := durable(base)
				faulty := remotetest.NewFaulty(fsys)
				run := m.clone()
				v.set(faulty, n)
				committed, err := run.cycle(t.Context(), faulty)
				fired := faulty.Fired() > 0
				faulty.Heal()
				if v.cut {
					fsys = fsys.PowerCut(rand.New(rand.NewPCG(20260301, uint64(n))))
				}
				requireMended(t, run, unlocked(fsys), committed, err, fmt.Sprintf("%s at %d", name, n))
				if underRace {
					require.True(t, fired)
					return
				}
				if !fired {
					break
				}
			}
			require.Greater(t, n, stride)
		})
	}
}

// requireMended checks what a cycle left, and what another and two cleans make of it.
func requireMended(t *testing.T, m *machine, fsys *remotetest.Crash, committed bool, err error, what string) {
	t.Helper()
	ctx := t.Context()
	require.True(t, committed || err != nil, what)
	got, checkErr := m.check(ctx, fsys)
	require.NoError(t, checkErr, what)
	required := dates(2, 3) // retention may count a point whose commit seemed to fail
	if committed {
		required = dates(3, 4)
	}
	require.Subset(t, got, required, what)
	_, err = m.cycle(ctx, fsys)
	require.NoError(t, err, what)
	for range 2 {
		require.NoError(t, m.cleanOnce(ctx, fsys), what)
	}
	got, err = m.check(ctx, fsys)
	require.NoError(t, err, what)
	require.Len(t, got, 2, what)
	require.Contains(t, got, dates(m.now)[0], what)
	left, err := leavings(ctx, fsys)
	require.NoError(t, err, what)
	require.Empty(t, left, what)
	require.Len(t, disksOf(ctx, t, fsys), 4, what)
}

// forgetful is storage on which the nth sync of a file fails, and which then takes
// what was written for written, as Linux does: until that is written again, later
// syncs of the file succeed and do nothing.
type forgetful struct {
	*remotetest.Crash
	n     int
	syncs int
	files map[string]*unsynced
}

// unsynced are the sectors of a file that were written since its last sync, and
// those that are lost since that failed.
type unsynced struct{ written, lost map[int64]bool }

func (f *forgetful) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	file, err := f.Crash.OpenFile(ctx, name, flag)
	if err != nil {
		return nil, err
	}
	if f.files[name] == nil || flag&os.O_CREATE != 0 {
		f.files[name] = &unsynced{map[int64]bool{}, map[int64]bool{}}
	}
	return &forgetfulFile{File: file, fs: f, name: name, state: f.files[name]}, nil
}

func (f *forgetful) Rename(ctx context.Context, oldname, newname string) error {
	err := f.Crash.Rename(ctx, oldname, newname)
	f.move(err, oldname, newname)
	return err
}

func (f *forgetful) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	err := f.Crash.RenameNoReplace(ctx, oldname, newname)
	f.move(err, oldname, newname)
	return err
}

func (f *forgetful) move(err error, oldname, newname string) {
	if state := f.files[oldname]; err == nil && state != nil {
		f.files[newname] = state
		delete(f.files, oldname)
	}
}

type forgetfulFile struct {
	remote.File
	fs    *forgetful
	name  string
	state *unsynced
}

func (f *forgetfulFile) WriteAt(p []byte, off int64) (int, error) {
	for sector := off / 512; sector*512 < off+int64(len(p)); sector++ {
		f.state.written[sector] = true
		delete(f.state.lost, sector)
	}
	return f.File.WriteAt(p, off)
}

func (f *forgetfulFile) Sync() error {
	f.fs.syncs++
	switch {
	case f.fs.syncs == f.fs.n:
		maps.Copy(f.state.lost, f.state.written)
		return remote.PathError("sync", f.name, syscall.EIO)
	case len(f.state.lost) > 0:
		return nil
	}
	clear(f.state.written)
	return f.File.Sync()
}

// A file whose sync failed is lost, whatever a later sync of it says.
func TestFileWhoseSyncFailedIsWrittenAnew(t *testing.T) {
	m, base := newRepository(t, 3)
	for n := 1; ; n++ {
		fsys := &forgetful{Crash: durable(base), n: n, files: map[string]*unsynced{}}
		run := m.clone()
		committed, err := run.cycle(t.Context(), fsys)
		if fsys.syncs < n {
			break
		}
		what := fmt.Sprintf("sync %d", n)
		if committed {
			committed = err == nil // of a merge that failed, the next run knows
		}
		for seed := range uint64(2) {
			after := unlocked(fsys.PowerCut(rand.New(rand.NewPCG(seed, uint64(n)))))
			got, checkErr := run.check(t.Context(), after)
			require.NoError(t, checkErr, what)
			if committed {
				require.Equal(t, dates(3, 4), got, what)
			}
		}
		_, err = run.cycle(t.Context(), fsys)
		require.NoError(t, err, what)
		after := unlocked(fsys.PowerCut(rand.New(rand.NewPCG(9, uint64(n)))))
		got, err := run.check(t.Context(), after)
		require.NoError(t, err, what)
		require.Contains(t, got, dates(run.now)[0], what)
		if underRace {
			n += 3 // of some twenty
		}
	}
}
