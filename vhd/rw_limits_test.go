package vhd_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"iter"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

func create(t *testing.T, f vhd.File, l vhd.Layout) *vhd.RW {
	t.Helper()
	w, err := vhd.Create(f, l)
	require.NoError(t, err)
	return w
}

func TestAFixedDiskIsNotWrittenAfterItsEnd(t *testing.T) {
	f := &memFile{}
	w := create(t, f, vhd.Layout{Type: vhd.Fixed, Size: 1 << 20, UUID: uuidOf(1)})
	require.NoError(t, w.Close())
	_, err := w.WriteAt([]byte{1}, 0)
	require.Error(t, err, "closed")

	w = create(t, f, vhd.Layout{Type: vhd.Fixed, Size: 1 << 20, UUID: uuidOf(1)})
	f.crashAt = f.ops + 1
	require.ErrorIs(t, w.Sync(), errPower)
	f.crashAt = 0
	_, err = w.WriteAt([]byte{1}, 0)
	require.ErrorIs(t, err, errPower, "a sync has failed")
}

// TestAFixedFileLongerThanItsDiskGrows: what lies between the disk and the
// footer is not part of the disk, whatever it is.
func TestAFixedFileLongerThanItsDiskGrows(t *testing.T) {
	for _, size := range []int64{1<<20 + sector, 3 << 19, 2<<20 - sector, 2 << 20, 2<<20 + sector, 3 << 20} {
		f := &memFile{}
		w := create(t, f, vhd.Layout{Type: vhd.Fixed, Size: 2 << 20, UUID: uuidOf(1)})
		truth := bytes.Repeat([]byte{7}, 2<<20)
		_, err := w.WriteAt(truth, 0)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		footer := f.data[2<<20:]
		binary.BigEndian.PutUint64(footer[48:], 1<<20)
		setChecksum(footer, 64)
		w, err = vhd.OpenRW(f, int64(len(f.data)), nil)
		require.NoError(t, err)
		require.NoError(t, w.Resize(size))
		require.NoError(t, w.Close())
		image := openBytes(t, f.data, nil)
		require.Equal(t, size, image.Size())
		want := make([]byte, size)
		copy(want, truth[:1<<20])
		require.True(t, bytes.Equal(want, readAll(t, image)), "%d", size)
	}
}

func setChecksum(structure []byte, field int) {
	binary.BigEndian.PutUint32(structure[field:], 0)
	var sum uint32
	for _, c := range structure {
		sum += uint32(c)
	}
	binary.BigEndian.PutUint32(structure[field:], ^sum)
}

// TestNoDiskIsMadeThatOpenRefuses: the block table has a bound.
func TestNoDiskIsMadeThatOpenRefuses(t *testing.T) {
	_, err := vhd.Create(&memFile{}, vhd.Layout{Type: vhd.Dynamic, Size: 129 << 40, UUID: uuidOf(1)})
	require.ErrorIs(t, err, vhd.ErrUnsupported)
	w := create(t, &memFile{}, vhd.Layout{Type: vhd.Dynamic, Size: 1 << 20, UUID: uuidOf(1)})
	require.ErrorIs(t, w.Resize(129<<40), vhd.ErrUnsupported)
	require.NoError(t, w.Resize(2<<20))
}

func TestARefusedWriteLeavesNoBlock(t *testing.T) {
	w := create(t, &memFile{}, vhd.Layout{Type: vhd.Differencing, Size: 4 << 20, UUID: uuidOf(2), ParentUUID: uuidOf(1), ParentName: "p.vhd"})
	_, err := w.WriteAt([]byte{1}, 5)
	require.ErrorIs(t, err, vhd.ErrParentNeeded)
	require.Zero(t, w.Allocated(), "XO would take an empty block for zeros")
}

// TestRebaseWritesNoLocatorIntoData: a locator may point anywhere.
func TestRebaseWritesNoLocatorIntoData(t *testing.T) {
	for _, at := range []int64{0, 512, 1024, 2048, 3 * 512 * 1024} {
		f := &memFile{}
		w := create(t, f, vhd.Layout{Type: vhd.Differencing, Size: 4 << 20, UUID: uuidOf(3), ParentUUID: uuidOf(1), ParentName: "old.vhd"})
		truth := bytes.Repeat([]byte{9}, 2<<20)
		_, err := w.WriteAt(truth, 0)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		header := f.data[512:1536]
		binary.BigEndian.PutUint64(header[576+16:], uint64(at))
		setChecksum(header, 36)
		w, err = vhd.OpenRW(f, int64(len(f.data)), nil)
		require.NoError(t, err)
		require.NoError(t, w.Rebase(t.Context(), uuidOf(2), "new.vhd", nil))
		require.NoError(t, w.Close())
		image := openBytes(t, f.data, nil)
		require.Equal(t, vhd.ParentRef{UUID: uuidOf(2), Names: []string{"new.vhd"}}, image.Parent())
		got := make([]byte, len(truth))
		_, err = image.ReadAt(got, 0)
		require.NoError(t, err)
		require.True(t, bytes.Equal(truth, got), "locator at %d", at)
	}
}

// hookDisk calls a function before it is read.
type hookDisk struct {
	disk.Source
	hook func()
}

func (d hookDisk) ReadAt(p []byte, off int64) (int, error) {
	d.hook()
	return d.Source.ReadAt(p, off)
}

// TestRebaseKeepsWhatIsWrittenMeanwhile: the old parent must not cover it.
func TestRebaseKeepsWhatIsWrittenMeanwhile(t *testing.T) {
	w := create(t, &memFile{}, vhd.Layout{Type: vhd.Differencing, Size: 2 << 20, UUID: uuidOf(3), ParentUUID: uuidOf(1), ParentName: "old.vhd"})
	data := bytes.Repeat([]byte{9}, sector)
	var once sync.Once
	var wg sync.WaitGroup
	started := make(chan struct{})
	from := hookDisk{noise(1, 2<<20, 0), func() {
		once.Do(func() {
			wg.Go(func() {
				close(started)
				if _, err := w.WriteAt(data, 0); err != nil {
					t.Error(err)
				}
			})
			<-started
			for range 1000 { // give the write all chances to come between
				w.Size()
			}
		})
	}}
	require.NoError(t, w.Rebase(t.Context(), uuidOf(2), "new.vhd", &vhd.RebaseOptions{From: from, To: noise(2, 2<<20, 0)}))
	wg.Wait()
	got := make([]byte, sector)
	_, err := w.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
}

// TestExtentsAreAskedForWhileTheDiskGrows is for the race detector.
func TestExtentsAreAskedForWhileTheDiskGrows(t *testing.T) {
	w := create(t, &memFile{}, vhd.Layout{Type: vhd.Dynamic, Size: 1 << 20, UUID: uuidOf(1), BlockSize: 512 << 10})
	_, err := w.WriteAt([]byte{1}, 0)
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 20 {
			next, stop := iter.Pull2(w.Extents(context.Background(), 0, 1<<20))
			if _, err, _ := next(); err != nil {
				t.Error(err)
			}
			stop()
		}
	})
	for n := range int64(20) {
		require.NoError(t, w.Resize((2+16*n)<<20))
	}
	wg.Wait()
}

// slowFile lets a test act while a sync writes bitmaps.
type slowFile struct {
	*memFile
	mu   sync.Mutex
	hook func(off int64, n int)
}

func (f *slowFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		hook(off, len(p))
	}
	return f.memFile.WriteAt(p, off)
}

// TestBitmapsAreKeptUntilASyncHasWrittenThem: to forget one before is to lose
// the sectors in it.
func TestBitmapsAreKeptUntilASyncHasWrittenThem(t *testing.T) {
	const blocks, blockSize = 2050, 512
	s := &spec{typ: vhd.Differencing, size: blocks * 2 * blockSize, blockSize: 2 * blockSize, uuid: 2, parent: 1, parentName: "p"}
	s.blocks = make(map[int]block)
	for i := range blocks {
		s.blocks[i] = block{} // there, without a sector
	}
	f := &slowFile{memFile: &memFile{data: s.encode()}}
	w, err := vhd.OpenRW(f, int64(len(f.data)), nil)
	require.NoError(t, err)
	for i := range int64(2047) {
		_, err := w.WriteAt(filled(2, i), i*2*blockSize)
		require.NoError(t, err)
	}
	var once sync.Once
	f.hook = func(_ int64, n int) {
		if n != 512 {
			return
		}
		once.Do(func() { // Sync writes the first bitmap
			for i := int64(2047); i < blocks; i++ { // of these the bitmaps are read
				if _, err := w.ReadAt(make([]byte, blockSize), i*2*blockSize+blockSize); err == nil {
					t.Error("a hole was read")
				}
			}
			for i := range int64(2047) {
				got := make([]byte, blockSize)
				if _, err := w.ReadAt(got, i*2*blockSize); err != nil || !bytes.Equal(got, filled(2, i)) {
					t.Errorf("block %d: %v", i, err)
					return
				}
			}
		})
	}
	require.NoError(t, w.Sync())
}
