package catalog_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// plant writes a file, and the directories that it needs.
func plant(t *testing.T, fsys remote.Filesystem, name, content string) {
	t.Helper()
	require.NoError(t, remote.MkdirAll(t.Context(), fsys, path.Dir(name)))
	require.NoError(t, remote.WriteFile(t.Context(), fsys, name, []byte(content)))
}

// actions is what a plan has, by path.
func actions(p *catalog.CleanPlan) map[string]catalog.CleanAction {
	m := map[string]catalog.CleanAction{}
	for _, f := range p.Findings {
		m[f.Path] = f.Action
	}
	return m
}

// keepings is what cleans keep: their memory, and trash.
func keepings(t *testing.T, fsys remote.Filesystem) []string {
	t.Helper()
	return append(listFiles(t, fsys, ".xenbackup/clean"), listFiles(t, fsys, ".xenbackup/trash")...)
}

// everything is all that a clean could change.
func everything(t *testing.T, fsys remote.Filesystem) []string {
	t.Helper()
	return append(listFiles(t, fsys, "xo-vm-backups"), keepings(t, fsys)...)
}

// All kinds of garbage beside points of which nothing may change.
func TestCleanRemovesWhatTwoCleansHaveSeen(t *testing.T) {
	vdi := path.Dir(diskName(0, 1))
	gone := testVMDir + "/vdis/" + testJob + "/5f3c3c1e-0000-4000-8000-0000000001ff"
	for name, plants := range map[string]map[string]string{
		"a damaged disk":            {vdi + "/20260302T000000Z.vhd": "conectix, not"},
		"an empty disk":             {vdi + "/20260302T000000Z.vhd": ""},
		"an alias without its data": {vdi + "/20260302T000000Z.alias.vhd": "data/20260302T000000Z.vhd"},
		"a torn alias":              {vdi + "/20260302T000000Z.alias.vhd": ""},
		"data without alias":        {vdi + "/data/20260302T000000Z.vhd/blocks/0/1": "block"},
		"an unfinished disk of XO":  {vdi + "/.1767000000000.20260302T000000Z.vhd": "half"},
		"an unfinished archive":     {testVMDir + "/.1767000000000.20260302T000000Z.xva": "half"},
		"an archive and its sum":    {testVMDir + "/20260302T000000Z.xva": "xva", testVMDir + "/20260302T000000Z.xva.checksum": "$1$$0"},
		"a disk that left the VM":   {gone + "/20260302T000000Z.vhd": "conectix"},
		"a merge of nothing":        {vdi + "/.20260302T000000Z.vhd.merge.json": `{"child":{"uuid":"` + snapshotVDI(0, 9) + `"},"parent":{"uuid":"` + snapshotVDI(0, 8) + `"},"chain":["20260302T000000Z.vhd","20260302T010000Z.vhd"],"currentBlock":0,"step":"cleanup"}`},
	} {
		t.Run(name, func(t *testing.T) {
			m, fsys := newRepository(t, 3)
			for file, content := range plants {
				plant(t, fsys, file, content)
			}
			c := openCatalog(t, fsys)
			before := listFiles(t, fsys, testVMDir)
			step := func(want catalog.CleanAction) {
				t.Helper()
				planned := planOf(t, c, testVM)
				done := cleanVM(t, c, testVM, nil)
				require.NotEmpty(t, planned.Findings)
				for _, f := range planned.Findings {
					require.Equal(t, want, f.Action, done)
					require.Equal(t, want, actions(done)[f.Path], done)
				}
				for _, f := range done.Findings {
					require.True(t, f.Done, done)
				}
				_, err := m.check(t.Context(), fsys)
				require.NoError(t, err)
			}
			step(catalog.ActionRemember)
			require.Equal(t, before, listFiles(t, fsys, testVMDir))
			step(catalog.ActionTrash)
			left, err := leavings(t.Context(), fsys)
			require.NoError(t, err)
			require.Empty(t, left)
			require.Len(t, listFiles(t, fsys, ".xenbackup/trash"), len(plants))
			third := cleanVM(t, c, testVM, nil)
			require.Empty(t, keepings(t, fsys), "neither trash nor memory")
			require.NotEmpty(t, third.Findings)
			require.Empty(t, cleanVM(t, c, testVM, nil).Findings)
			_, err = fsys.Stat(t.Context(), gone)
			require.ErrorIs(t, err, fs.ErrNotExist, "the empty directory went too")
			got, err := m.check(t.Context(), fsys)
			require.NoError(t, err)
			require.Equal(t, dates(1, 2, 3), got)
		})
	}
}

// What has changed since is seen for the first time, and grace is time.
func TestCleanCountsOnlyWhatIsUnchangedAndOldEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, fsys := newRepository(t, 1)
		c := openCatalog(t, fsys)
		name := path.Dir(diskName(0, 1)) + "/.1767000000000.20260302T000000Z.vhd"
		plant(t, fsys, name, "half")
		see := func(opts *catalog.CleanOptions) catalog.CleanAction {
			return actions(cleanVM(t, c, testVM, opts))[name]
		}
		require.Equal(t, catalog.ActionRemember, see(nil))
		<-time.After(time.Hour)
		plant(t, fsys, name, "more")
		require.Equal(t, catalog.ActionRemember, see(nil))
		require.Equal(t, catalog.ActionRemember, see(&catalog.CleanOptions{Grace: 24 * time.Hour}))
		<-time.After(24 * time.Hour)
		require.Equal(t, catalog.ActionRemove, see(&catalog.CleanOptions{Grace: 24 * time.Hour, NoTrash: true}))
		require.Empty(t, keepings(t, fsys))
	})
}

func TestCleanChangesNothingWhileSomethingIsUnknown(t *testing.T) {
	vdi := path.Dir(diskName(0, 1))
	for name, spoil := range map[string]func(t *testing.T, fsys *remotetest.Crash) remote.Filesystem{
		"torn metadata": func(t *testing.T, fsys *remotetest.Crash) remote.Filesystem {
			t.Helper()
			plant(t, fsys, pointName(9), `{"mode":"del`)
			return fsys
		},
		"a disk that cannot be opened": func(_ *testing.T, fsys *remotetest.Crash) remote.Filesystem {
			return &unreadable{Crash: fsys, name: diskName(1, 1)}
		},
		"a directory that cannot be listed": func(_ *testing.T, fsys *remotetest.Crash) remote.Filesystem {
			return &unreadable{Crash: fsys, name: path.Dir(diskName(1, 1))}
		},
		"a point that a listing lacks": func(_ *testing.T, fsys *remotetest.Crash) remote.Filesystem {
			return &unreadable{Crash: fsys, name: pointName(3), hide: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, fsys := newRepository(t, 3)
			plant(t, fsys, vdi+"/20260302T000000Z.vhd", "")
			plant(t, fsys, vdi+"/.20260302T000000Z.vhd.0123456789abcdef.tmp", "")
			c := openCatalog(t, spoil(t, fsys))
			before := everything(t, fsys)
			for range 3 {
				plan := cleanVM(t, c, testVM, nil)
				require.True(t, plan.Stopped)
				require.True(t, slices.ContainsFunc(plan.Findings, func(f catalog.CleanFinding) bool { return f.State == catalog.StateUnknown }), plan)
			}
			require.Equal(t, before, everything(t, fsys))
		})
	}
}

// unreadable has one name that cannot be opened or listed, or that its directory
// does not list.
type unreadable struct {
	*remotetest.Crash
	name string
	hide bool
}

func (u *unreadable) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	if name == u.name && !u.hide {
		return nil, remote.PathError("open", name, syscall.EIO)
	}
	return u.Crash.OpenFile(ctx, name, flag)
}

func (u *unreadable) ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error) {
	if name == u.name && !u.hide {
		return nil, remote.PathError("readdir", name, syscall.EIO)
	}
	entries, err := u.Crash.ReadDir(ctx, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return u.hide && path.Join(name, e.Name()) == u.name }), err
}

// Xen Orchestra deletes point, parent and child when the parent cannot be opened:
// its second loss window.
func TestParentThatCannotBeOpenedCostsNothing(t *testing.T) {
	for name, err := range map[string]error{"EIO": syscall.EIO, "ESTALE": syscall.ESTALE, "EACCES": syscall.EACCES, "timeout": context.DeadlineExceeded} {
		t.Run(name, func(t *testing.T) {
			m, fsys := newRepository(t, 3)
			require.NoError(t, fsys.Remove(t.Context(), pointName(1)))
			before := everything(t, fsys)
			faulty := remotetest.NewFaulty(fsys)
			broken := &parentFails{Faulty: faulty, name: diskName(0, 1), err: err}
			c := openCatalog(t, broken)
			for range 2 {
				s := lockVM(t, c, testVM)
				report, _ := s.Merge(t.Context(), nil)
				require.Empty(t, report.Removed)
				require.Empty(t, report.Merged)
				plan, _ := s.Clean(t.Context(), nil)
				require.True(t, plan.Stopped)
				require.NoError(t, s.Close(t.Context()))
			}
			require.Equal(t, before, everything(t, fsys))
			got, checkErr := m.check(t.Context(), fsys)
			require.NoError(t, checkErr)
			require.Equal(t, dates(2, 3), got)
		})
	}
}

type parentFails struct {
	*remotetest.Faulty
	name string
	err  error
}

func (p *parentFails) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	if name == p.name {
		return nil, remote.PathError("open", name, p.err)
	}
	return p.Faulty.OpenFile(ctx, name, flag)
}

// Killed between removing the youngest disk and renaming the oldest, Xen Orchestra
// deletes the last copy at its next clean: its first loss window.
func TestCleanFinishesWhatXenOrchestraWouldDelete(t *testing.T) {
	m, fsys := xoWindow(t)
	c := openCatalog(t, fsys)
	for _, f := range planOf(t, c, testVM).Findings {
		require.Equal(t, catalog.ActionResume, f.Action)
	}
	for range 3 {
		plan := cleanVM(t, c, testVM, nil)
		for _, f := range plan.Findings {
			require.Equal(t, catalog.KindMerge, f.Kind, plan)
		}
		got, err := m.check(t.Context(), fsys)
		require.NoError(t, err)
		require.Equal(t, dates(2, 3), got)
	}
	require.Empty(t, planOf(t, c, testVM).Findings)
}

// And when even the state of the merge is lost, all stays where it is.
func TestCleanKeepsTheTrashWhileAPointLacksSomething(t *testing.T) {
	_, fsys := xoWindow(t)
	ctx := t.Context()
	for i := range 2 {
		require.NoError(t, fsys.Remove(ctx, path.Dir(diskName(i, 1))+"/."+path.Base(diskName(i, 1))+".merge.json"))
	}
	plant(t, fsys, ".xenbackup/trash/"+testVM+"/20260301T000000Z-0/vdis/x.vhd", "what is missed")
	plant(t, fsys, testVMDir+"/20260302T000000Z.xva", "garbage")
	c := openCatalog(t, fsys)
	disks := listFiles(t, fsys, testVMDir+"/vdis")
	for range 4 {
		plan := cleanVM(t, c, testVM, nil)
		require.Contains(t, actions(plan), diskName(0, 2))
		require.Equal(t, catalog.ActionNone, actions(plan)[diskName(0, 2)])
	}
	require.Equal(t, disks, listFiles(t, fsys, testVMDir+"/vdis"))
	require.Len(t, listFiles(t, fsys, ".xenbackup/trash"), 2)
}

func TestCleanTakesNoStepThatItsPlanDoesNotHave(t *testing.T) {
	_, fsys := newRepository(t, 2)
	c := openCatalog(t, fsys)
	first, second := path.Dir(diskName(0, 1))+"/20260302T000000Z.vhd", path.Dir(diskName(0, 1))+"/20260303T000000Z.vhd"
	plant(t, fsys, first, "")
	plan := planOf(t, c, testVM)
	plant(t, fsys, second, "")
	plant(t, fsys, path.Dir(first)+"/.20260302T000000Z.vhd.0123456789abcdef.tmp", "")
	cleanVM(t, c, testVM, &catalog.CleanOptions{Plan: plan})
	cleanVM(t, c, testVM, &catalog.CleanOptions{Plan: plan})
	left, err := leavings(t.Context(), fsys)
	require.NoError(t, err)
	require.Len(t, left, 2, "the second disk and the temporary file")
	require.Contains(t, left, relative(second))
}

func TestCleanPlanIsForPeopleAndPrograms(t *testing.T) {
	_, fsys := newRepository(t, 2)
	c := openCatalog(t, fsys)
	plant(t, fsys, testVMDir+"/20260302T000000Z.xva", "garbage")
	plan := planOf(t, c, testVM)
	data, err := json.Marshal(plan)
	require.NoError(t, err)
	again := new(catalog.CleanPlan)
	require.NoError(t, json.Unmarshal(data, again))
	require.Empty(t, cmp.Diff(plan, again))
	require.Equal(t, testVMDir+"/20260302T000000Z.xva: valid archive, no point needs it: remember (7 bytes)\n"+
		testVM+": 1 findings, 1 to be acted on, 0 bytes to be freed", plan.String())
}

// The order in which Xen Orchestra removes two disks with one parent can leave one
// of them without it.
func TestCleanRemovesChildrenWithoutTheirParent(t *testing.T) {
	m, fsys := newRepository(t, 3)
	ctx := t.Context()
	newest := path.Dir(diskName(0, 1))
	for k, name := range []string{newest + "/20260302T000000Z.vhd", newest + "/20260303T000000Z.vhd"} {
		content, err := remote.ReadFile(ctx, fsys, diskName(0, 3), 64<<20)
		require.NoError(t, err)
		plant(t, fsys, name, string(content))
		setParentName(t, fsys, name, "20260301T230000Z.vhd")
		setParentUUID(t, fsys, name, snapshotVDI(0, 200+k))
	}
	require.NotEmpty(t, mergeAll(t, openCatalog(t, fsys), testVM).Left)
	c := openCatalog(t, fsys)
	cleanVM(t, c, testVM, nil)
	cleanVM(t, c, testVM, nil)
	require.Empty(t, mergeAll(t, c, testVM).Left)
	left, err := leavings(ctx, fsys)
	require.NoError(t, err)
	require.Empty(t, left)
	_, err = m.check(ctx, fsys)
	require.NoError(t, err)
}

func TestCleanRemovesTemporaryFilesAmongBlocks(t *testing.T) {
	m, fsys := newDirectories(t, 2)
	name := dataOf(diskName(0, 1)) + "/blocks/0/.0.0123456789abcdef.tmp"
	plant(t, fsys, name, "half a block")
	plan := cleanVM(t, openCatalog(t, fsys), testVM, nil)
	require.Equal(t, map[string]catalog.CleanAction{name: catalog.ActionRemove}, actions(plan))
	require.NotContains(t, listFiles(t, fsys, testVMDir), name)
	_, err := m.check(t.Context(), fsys)
	require.NoError(t, err)
}

func TestCleanOfDirectoriesRemovesAliasAndDataTogether(t *testing.T) {
	m, fsys := newDirectories(t, 3)
	require.NoError(t, fsys.Remove(t.Context(), pointName(3)))
	c := openCatalog(t, fsys)
	cleanVM(t, c, testVM, nil)
	_, err := fsys.Stat(t.Context(), dataOf(diskName(0, 3)))
	require.NoError(t, err)
	cleanVM(t, c, testVM, nil)
	require.Empty(t, dataLeft(t, fsys))
	_, err = fsys.Stat(t.Context(), aliasOf(diskName(0, 3)))
	require.ErrorIs(t, err, fs.ErrNotExist)
	got, err := m.check(t.Context(), fsys)
	require.NoError(t, err)
	require.Equal(t, dates(1, 2), got)
}

func TestCleanCorrectsWhatAMergeDidNotComeToWrite(t *testing.T) {
	for _, r := range []struct {
		opts    *catalog.Options
		deleted int // of 1 what is merged is complete then, of 2 a difference still
	}{
		{&catalog.Options{}, 1},
		{&catalog.Options{Format: catalog.FormatBrotli}, 1},
		{&catalog.Options{Key: testKey}, 2},
	} {
		_, fsys := repositoryOf(t, 3, r.opts)
		ctx := t.Context()
		c, err := catalog.Open(ctx, fsys, r.opts)
		require.NoError(t, err)
		merged := pointName(r.deleted + 1)
		stale, err := remote.ReadFile(ctx, fsys, merged, 1<<20)
		require.NoError(t, err)
		require.NoError(t, lockAndDelete(t, c, pointName(r.deleted)))
		mergeAll(t, c, testVM)
		want, err := c.Point(ctx, merged)
		require.NoError(t, err)
		require.False(t, want.Metadata.IsVHDDifferencing[diskRef(0, r.deleted+1)])
		require.Empty(t, cleanVM(t, c, testVM, nil).Findings)

		plant(t, fsys, merged, string(stale))
		plan := cleanVM(t, c, testVM, nil)
		require.Equal(t, map[string]catalog.CleanAction{merged: catalog.ActionRewrite}, actions(plan))
		got, err := c.Point(ctx, merged)
		require.NoError(t, err)
		require.Equal(t, want.Metadata.Size, got.Metadata.Size)
		require.Equal(t, want.Metadata.IsVHDDifferencing, got.Metadata.IsVHDDifferencing)
		require.Empty(t, cleanVM(t, c, testVM, nil).Findings)
	}
}

func TestCleanRemovesACacheThatIsWrong(t *testing.T) {
	_, fsys := newRepository(t, 2)
	c := openCatalog(t, fsys)
	name := testVMDir + "/cache.json.gz"
	pack := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, err := z.Write([]byte(text))
		require.NoError(t, errors.Join(err, z.Close()))
		return b.String()
	}
	for content, stays := range map[string]bool{
		"not gzip":    false,
		pack(`{"a":`): false,
		pack(`{"/` + pointName(1) + `":{},"/` + pointName(9) + `":{}}`): false,
		pack(`{"/` + pointName(1) + `":{},"/` + pointName(2) + `":{}}`): true,
	} {
		plant(t, fsys, name, content)
		plan := cleanVM(t, c, testVM, nil)
		_, err := fsys.Stat(t.Context(), name)
		require.Equal(t, stays, err == nil, plan)
	}
}

func TestCleanReportsPointsThatAreNotWhole(t *testing.T) {
	_, fsys := newRepository(t, 2)
	full := func(date, archive string, size int) {
		plant(t, fsys, testVMDir+"/"+date+".json", `{"mode":"full","timestamp":1,"xva":"./`+date+`.xva","size":`+string(rune('0'+size))+`}`)
		if archive != "" {
			plant(t, fsys, testVMDir+"/"+date+".xva", archive)
		}
	}
	full("20260401T000000Z", "", 0)
	full("20260402T000000Z", strings.Repeat("x", 2048), 0)
	full("20260403T000000Z", strings.Repeat("\x00", 2048), 0)
	full("20260404T000000Z", strings.Repeat("\x00", 2048), 9)
	full("20260405T000000Z", "\x28\xb5\x2f\xfd"+strings.Repeat("x", 99), 0)
	plant(t, fsys, testVMDir+"/readme.txt", "by hand")
	before := listFiles(t, fsys, testVMDir)
	var plan *catalog.CleanPlan
	for range 3 {
		plan = cleanVM(t, openCatalog(t, fsys), testVM, nil)
	}
	require.Equal(t, before, listFiles(t, fsys, testVMDir))
	require.Equal(t, map[string]catalog.CleanAction{
		testVMDir + "/20260401T000000Z.xva": catalog.ActionNone, testVMDir + "/20260402T000000Z.xva": catalog.ActionNone,
		testVMDir + "/20260404T000000Z.xva": catalog.ActionNone, testVMDir + "/readme.txt": catalog.ActionNone,
	}, actions(plan))
}

func TestCleanOfTheRepository(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, fsys := newRepository(t, 3)
		ctx := t.Context()
		const other = "5f3c3c1e-0000-4000-8000-0000000000ee"
		plant(t, fsys, "xo-vm-backups/"+other+"/20260302T000000Z.xva", "garbage")
		plant(t, fsys, testVMDir+"/20260302T000000Z.xva", "garbage")
		require.NoError(t, fsys.Mkdir(ctx, "xo-vm-backups/5f3c3c1e-0000-4000-8000-0000000000ef.lock"))
		plant(t, fsys, ".encryption.json.0123456789abcdef.tmp", "")
		plant(t, fsys, ".xenbackup/clean/5f3c3c1e-0000-4000-8000-0000000000ff.json", "{}")
		plant(t, fsys, ".xenbackup/trash/5f3c3c1e-0000-4000-8000-0000000000ff/x/y", "")
		c := openCatalog(t, fsys)
		before := everything(t, fsys)
		plans, err := c.Clean(ctx, &catalog.CleanAllOptions{DryRun: true})
		require.NoError(t, err)
		require.Len(t, plans, 3)
		require.Equal(t, before, everything(t, fsys))
		rest := plans[2]
		require.Len(t, rest.Findings, 4, rest)

		done, err := c.Clean(ctx, &catalog.CleanAllOptions{Plans: plans})
		require.NoError(t, err)
		for i := range plans {
			require.Equal(t, actions(plans[i]), actions(done[i]))
		}
		for range 2 {
			<-time.After(2 * time.Hour)
			_, err = c.Clean(ctx, &catalog.CleanAllOptions{Parallel: 2})
			require.NoError(t, err)
		}
		require.Empty(t, keepings(t, fsys))
		entries, err := fsys.ReadDir(ctx, "xo-vm-backups")
		require.NoError(t, err)
		require.Len(t, entries, 2, "the two VMs, without locks")
		plans, err = c.Clean(ctx, nil)
		require.NoError(t, err)
		for _, p := range plans {
			require.Empty(t, p.Findings)
		}
		_, err = m.check(ctx, fsys)
		require.NoError(t, err)
		_, err = fsys.Stat(ctx, ".encryption.json.0123456789abcdef.tmp")
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

// Chains of several disks at once, and no more of them than asked for.
func TestMergesAreBoundedAndRunInParallel(t *testing.T) {
	m, fsys := newRepository(t, 3)
	ctx := t.Context()
	c := openCatalog(t, fsys)
	s := lockVM(t, c, testVM)
	require.NoError(t, s.Delete(ctx, pointName(1)))
	report, err := s.Merge(ctx, &catalog.MergeOptions{AtMost: 1})
	require.NoError(t, err)
	require.Len(t, report.Merged, 1)
	require.Equal(t, []string{relative(diskName(1, 2))}, report.Deferred)
	require.NoError(t, s.Delete(ctx, pointName(2)))
	report, err = s.Merge(ctx, &catalog.MergeOptions{MaxBytes: 1})
	require.NoError(t, err)
	require.Len(t, report.Merged, 1)
	require.Len(t, report.Deferred, 1)
	report, err = s.Merge(ctx, &catalog.MergeOptions{MaxTime: 1})
	require.NoError(t, err)
	require.Empty(t, report.Merged)
	report, err = s.Merge(ctx, &catalog.MergeOptions{Parallel: 2})
	require.NoError(t, err)
	require.NotEmpty(t, report.Merged)
	require.Empty(t, report.Deferred)
	got, err := m.check(ctx, fsys)
	require.NoError(t, err)
	require.Equal(t, dates(3), got)
}
