package catalog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// plainArchive is n KiB that Xen Orchestra takes for a complete plain archive.
func plainArchive(n int, fill byte) []byte {
	return append(bytes.Repeat([]byte{fill}, n<<10), make([]byte, 1024)...)
}

func fullRecords() catalog.Metadata {
	return catalog.Metadata{
		VM:         json.RawMessage(`{"uuid":"` + testVM + `","name_label":"web","name_description":"","tags":[]}`),
		VMSnapshot: json.RawMessage(`{"name_label":"snapshot"}`),
	}
}

func archiveSpec(n int) catalog.PointSpec {
	return catalog.PointSpec{JobID: testJob, ScheduleID: testSchedule, Time: dateOf(n)}
}

// backUpArchive writes the nth full point of the VM, keeps two, and cleans up.
func backUpArchive(ctx context.Context, fsys remote.Filesystem, n int, key remote.Secret) (committed bool, err error) {
	c, err := catalog.Open(ctx, fsys, &catalog.Options{Key: key})
	if err != nil {
		return false, err
	}
	s, err := c.LockVM(ctx, testVM)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	if err := writeArchive(ctx, s, n); err != nil {
		return false, err
	}
	if _, err := s.Expire(ctx, catalog.Retention{ScheduleID: testSchedule, Mode: catalog.ModeFull, Keep: 2}); err != nil {
		return true, err
	}
	_, err = s.Merge(ctx, nil)
	return true, err
}

func writeArchive(ctx context.Context, s *catalog.Session, n int) (err error) {
	w, err := s.NewArchive(ctx, archiveSpec(n))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Abort(ctx)) }()
	for piece := range slices.Chunk(plainArchive(100, byte(n)), 70<<10) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	_, err = w.Commit(ctx, fullRecords())
	return err
}

// checkArchives reads every point that is listed, and returns the numbers of them.
func checkArchives(ctx context.Context, fsys remote.Filesystem, key remote.Secret) ([]int, error) {
	c, err := catalog.Open(ctx, fsys, &catalog.Options{Key: key})
	if err != nil {
		return nil, err
	}
	var found []int
	for p, err := range c.Points(ctx, testVM) {
		if err != nil {
			return nil, err
		}
		a, err := c.OpenArchive(ctx, p)
		if err != nil {
			return nil, err
		}
		n := p.Time().Hour()
		content, err := io.ReadAll(a)
		err = errors.Join(err, a.Close())
		if err != nil || !bytes.Equal(content, plainArchive(100, byte(n))) || a.Proof() == "" {
			return nil, fmt.Errorf("%s: %d bytes, proof %q: %w", p.ID, len(content), a.Proof(), err)
		}
		found = append(found, n)
	}
	return found, nil
}

func TestFullPointIsAsXenOrchestraWritesIt(t *testing.T) {
	fsys := remotetest.NewCrash()
	c := openCatalog(t, fsys)
	s := lockVM(t, c, testVM)
	content := plainArchive(300, 7)
	w, err := s.NewArchive(t.Context(), archiveSpec(1))
	require.NoError(t, err)
	_, err = io.Copy(w, bytes.NewReader(content))
	require.NoError(t, err)
	require.EqualValues(t, len(content), w.Size())
	require.Empty(t, listPoints(t, c, testVM))
	p, err := w.Commit(t.Context(), fullRecords())
	require.NoError(t, err)
	require.NoError(t, w.Abort(t.Context()), "does nothing")

	stem := testVMDir + "/" + dates(1)[0]
	require.Equal(t, []string{stem + ".json", stem + ".xva", stem + ".xva.checksum"}, listFiles(t, fsys, testVMDir))
	sum, err := remote.ReadFile(t.Context(), fsys, stem+".xva.checksum", 100)
	require.NoError(t, err)
	require.Equal(t, md5Of(content), string(sum))
	text, err := remote.ReadFile(t.Context(), fsys, stem+".json", 1<<20)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf(`{"jobId":%q,"mode":"full","scheduleId":%q,"timestamp":%d,"version":"2.0.0",`+
		`"vm":{"uuid":%q,"name_label":"web","name_description":"","tags":[]},`+
		`"vmSnapshot":{"name_label":"snapshot","suspend_VDI":"OpaqueRef:NULL"},"tags":[],"xva":"./%s.xva","size":%d}`,
		testJob, testSchedule, dateOf(1).UnixMilli(), testVM, dates(1)[0], len(content)), string(text))
	require.Equal(t, p, listPoints(t, c, testVM)[0])

	_, err = s.NewArchive(t.Context(), archiveSpec(1))
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = s.NewPoint(t.Context(), archiveSpec(1))
	require.ErrorIs(t, err, fs.ErrExist, "a delta point has no other names")
	require.NoError(t, s.Delete(t.Context(), p.ID))
	require.Empty(t, listFiles(t, fsys, testVMDir))
}

func TestFullPointOfAnEncryptedRepositoryIsEncrypted(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	fsys := remotetest.NewCrash()
	_, err := crypt.Init(t.Context(), fsys, key, nil)
	require.NoError(t, err)
	for n := 1; n <= 3; n++ {
		_, err := backUpArchive(t.Context(), fsys, n, key)
		require.NoError(t, err)
	}
	found, err := checkArchives(t.Context(), fsys, key)
	require.NoError(t, err)
	require.Equal(t, []int{2, 3}, found)
	for _, name := range listFiles(t, fsys, testVMDir) {
		require.NotEqual(t, ".checksum", path.Ext(name))
		stored, err := remote.ReadFile(t.Context(), fsys, name, 1<<20)
		require.NoError(t, err)
		require.NotContains(t, string(stored), "name_label")
		require.False(t, bytes.Contains(stored, bytes.Repeat([]byte{2}, 64)))
	}
}

func TestOneSumServesAllWritersOfAnArchive(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	content := plainArchive(100, 3)
	sum := catalog.NewArchiveSum()
	writers := map[remote.Secret]*catalog.ArchiveWriter{}
	stores := map[remote.Secret]remote.Filesystem{"": remotetest.NewCrash(), key: remotetest.NewCrash()}
	_, err := crypt.Init(t.Context(), stores[key], key, nil)
	require.NoError(t, err)
	for key, fsys := range stores {
		c, err := catalog.Open(t.Context(), fsys, &catalog.Options{Key: key})
		require.NoError(t, err)
		w, err := lockVM(t, c, testVM).NewArchive(t.Context(), archiveSpec(3))
		require.NoError(t, err)
		w.UseSum(sum)
		_, err = w.Write(content)
		require.NoError(t, err)
		writers[key] = w
	}
	_, err = sum.Write(content[:len(content)-1])
	require.NoError(t, err)
	for _, w := range writers {
		_, err := w.Commit(t.Context(), fullRecords())
		require.ErrorIs(t, err, catalog.ErrIncomplete, "the sum of less")
	}
	_, err = sum.Write(content[len(content)-1:])
	require.NoError(t, err)
	for key, w := range writers {
		_, err := w.Commit(t.Context(), fullRecords())
		require.NoError(t, err)
		found, err := checkArchives(t.Context(), stores[key], key)
		require.NoError(t, err)
		require.Equal(t, []int{3}, found)
	}
}

func TestArchiveThatXenOrchestraWouldDoubtIsNoPoint(t *testing.T) {
	whole := plainArchive(4, 1)
	for name, content := range map[string][]byte{
		"nothing":           nil,
		"compressed, short": {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3},
		"without an end":    whole[:4<<10],
		"half an end":       whole[:len(whole)-512],
		"odd length":        whole[:len(whole)-1],
		"an end and more":   append(bytes.Clone(whole), bytes.Repeat([]byte{'x'}, 512)...),
		"only an end":       make([]byte, 1024),
	} {
		fsys := remotetest.NewCrash()
		c := openCatalog(t, fsys)
		w, err := lockVM(t, c, testVM).NewArchive(t.Context(), archiveSpec(1))
		require.NoError(t, err)
		_, err = w.Write(content)
		require.NoError(t, err)
		_, err = w.Commit(t.Context(), fullRecords())
		require.ErrorIs(t, err, catalog.ErrIncomplete, name)
		require.NoError(t, w.Abort(t.Context()))
		_, err = w.Write(content)
		require.ErrorIs(t, err, fs.ErrClosed)
		require.Empty(t, listFiles(t, fsys, testVMDir), name)
	}
}

func TestFullPointCanBeCommittedAgainOnceItsArchiveIsStored(t *testing.T) {
	fsys := remotetest.NewFaulty(remotetest.NewCrash())
	c := openCatalog(t, fsys)
	w, err := lockVM(t, c, testVM).NewArchive(t.Context(), archiveSpec(1))
	require.NoError(t, err)
	_, err = w.Write(plainArchive(100, 1))
	require.NoError(t, err)
	_, err = w.Commit(t.Context(), catalog.Metadata{})
	require.ErrorIs(t, err, catalog.ErrIncomplete, "records are checked before anything is stored")
	fsys.FailAt(2, syscall.EIO, remotetest.Rename) // of the checksum
	_, err = w.Commit(t.Context(), fullRecords())
	require.ErrorIs(t, err, syscall.EIO)
	require.Empty(t, listPoints(t, c, testVM))
	_, err = w.Commit(t.Context(), fullRecords())
	require.NoError(t, err)
	found, err := checkArchives(t.Context(), fsys, "")
	require.NoError(t, err)
	require.Equal(t, []int{1}, found)
}

// newArchives has three full points, all durable.
func newArchives(t *testing.T) *remotetest.Crash {
	t.Helper()
	fsys := remotetest.NewCrash()
	for n := 1; n <= 2; n++ {
		_, err := backUpArchive(t.Context(), fsys, n, "")
		require.NoError(t, err)
	}
	return durable(fsys)
}

// The third full point is written, two are kept. Whatever operation fails, or is the
// last one, what is listed reads right, what was acknowledged is listed, and the next
// session leaves no garbage.
func TestFullBackupSurvivesWhateverHappensAtAnyOperation(t *testing.T) {
	base := newArchives(t)
	for name, c := range map[string]struct {
		script func(*remotetest.Faulty, int)
		cut    bool
	}{
		"failure":   {func(f *remotetest.Faulty, n int) { f.FailAt(n, syscall.EIO) }, false},
		"death":     {func(f *remotetest.Faulty, n int) { f.FailFrom(n, syscall.ENODEV, remotetest.Mutating()...) }, false},
		"power cut": {func(f *remotetest.Faulty, n int) { f.FailFrom(n, syscall.ENODEV, remotetest.Mutating()...) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			sweep(t, func(n int) bool {
				fsys := durable(base)
				faulty := remotetest.NewFaulty(fsys)
				c.script(faulty, n)
				committed, err := backUpArchive(t.Context(), faulty, 3, "")
				fired := faulty.Fired() > 0
				faulty.Heal()
				if c.cut {
					fsys = fsys.PowerCut(rand.New(rand.NewPCG(1, uint64(n))))
				}
				archivesRecover(t, fsys, committed, err, fmt.Sprintf("%s at %d", name, n))
				return fired
			})
		})
	}
}

func TestFullBackupOnAFullDiskLeavesNothing(t *testing.T) {
	base := newArchives(t)
	sweep(t, func(n int) bool {
		fsys := durable(base)
		faulty := remotetest.NewFaulty(fsys)
		faulty.FailFrom(n, syscall.ENOSPC, remotetest.Write)
		committed, err := backUpArchive(t.Context(), faulty, 3, "")
		if faulty.Fired() > 0 && !committed {
			require.ErrorIs(t, err, remote.ErrNoSpace)
			require.Len(t, listFiles(t, fsys, testVMDir), 6)
		}
		fired := faulty.Fired() > 0
		faulty.Heal()
		archivesRecover(t, fsys, committed, err, fmt.Sprintf("full at write %d", n))
		return fired || n < 6
	})
}

func archivesRecover(t *testing.T, fsys *remotetest.Crash, committed bool, err error, what string) {
	t.Helper()
	unlocked(fsys)
	found, checkErr := checkArchives(t.Context(), fsys, "")
	require.NoError(t, checkErr, what)
	require.True(t, committed || err != nil, what)
	required := []int{1, 2}
	if committed {
		required = []int{2, 3}
	}
	for _, n := range required {
		require.Contains(t, found, n, what)
	}
	_, err = backUpArchive(t.Context(), fsys, 4, "")
	require.NoError(t, err, what)
	found, err = checkArchives(t.Context(), fsys, "")
	require.NoError(t, err, what)
	require.Len(t, found, 2, what)
	require.Equal(t, 4, found[1], what)
	mergeAll(t, openCatalog(t, fsys), testVM) // an archive of which nothing was written down yet goes when it is seen again
	require.Len(t, listFiles(t, fsys, testVMDir), 6, what)
}
