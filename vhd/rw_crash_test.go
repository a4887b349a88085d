package vhd_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// versions says who may have written each sector of a disk; 0 is nobody.
type versions map[int64][]byte

// rwStory writes, syncs and grows an image, and stops at the first error. It
// returns what each sector may read as after a crash: what it was at the last
// sync that returned, and everything written since. Nothing: Create did not return.
func rwStory(f vhd.File) versions {
	const blockSize = 512 << 10
	size := int64(2*blockSize + 7*sector)
	w, err := vhd.Create(f, vhd.Layout{Type: vhd.Dynamic, Size: size, UUID: uuidOf(1), BlockSize: blockSize})
	if err != nil {
		return nil
	}
	may := versions{0: {0}}
	write := func(owner byte, off, n int64) {
		var data []byte
		for at := off; at < off+n && err == nil; at += sector {
			data = append(data, filled(owner, at/sector)...)
			if len(may[at/sector]) == 0 {
				may[at/sector] = []byte{0}
			}
			may[at/sector] = append(may[at/sector], owner)
		}
		if err == nil {
			_, err = w.WriteAt(data, off)
		}
	}
	durable := func(do func() error) {
		if err == nil {
			if err = do(); err == nil {
				for sector, owners := range may {
					may[sector] = owners[len(owners)-1:]
				}
			}
		}
	}
	write(1, 0, 3*sector)
	write(2, blockSize-sector, 2*sector)
	durable(w.Sync)
	write(3, sector, 5*sector)
	write(4, 2*blockSize, 7*sector)
	durable(func() error { return w.Resize(size + blockSize) })
	write(5, 2*blockSize+6*sector, 9*sector)
	durable(w.Sync)
	durable(func() error { return w.Resize(size + 200*blockSize) }) // the table needs another sector, where a block is
	write(6, 150*blockSize, 9*sector)
	write(7, 0, 2*sector)
	durable(w.Close)
	return may
}

func TestSyncedWritesSurviveACrashAtEveryChange(t *testing.T) {
	whole := &memFile{}
	require.NotEmpty(t, rwStory(whole))
	require.Greater(t, whole.ops, 40)
	for at := 1; at <= whole.ops; at++ {
		seed := uint64(at)
		f := &memFile{crashAt: at}
		may := rwStory(f)
		if may == nil {
			continue
		}
		left := &memFile{data: f.crash(seed)}
		w, err := vhd.OpenRW(left, int64(len(left.data)), &vhd.OpenOptions{Mode: vhd.Recover})
		require.NoError(t, err, "change %d, seed %d", at, seed)
		may.check(t, w, at, seed)
		next := bytes.Repeat([]byte{0xee}, 5*sector)
		_, err = w.WriteAt(next, 1<<20) // what was mended can be written
		require.NoError(t, err)
		require.NoError(t, w.Close())
		image := openBytes(t, left.data, nil)
		got := make([]byte, len(next))
		_, err = image.ReadAt(got, 1<<20)
		require.NoError(t, err)
		require.True(t, bytes.Equal(next, got))
	}
}

// check wants each sector to be as one of those wrote it who may have.
func (may versions) check(t *testing.T, w *vhd.RW, at int, seed uint64) {
	t.Helper()
	shown := make(map[int64]bool)
	for e, err := range w.Extents(t.Context(), 0, w.Size()) {
		require.NoError(t, err)
		if e.Kind != disk.Data {
			continue
		}
		got := make([]byte, e.Len)
		_, err := w.ReadAt(got, e.Off)
		require.NoError(t, err)
		for i := int64(0); i < e.Len; i += sector {
			n, sec := (e.Off+i)/sector, got[i:i+sector]
			owner := sec[0]
			if owner != 0 && bytes.Equal(sec, filled(owner, n)) && slices.Contains(may[n], owner) {
				shown[n] = true
			} else if !bytes.Equal(sec, make([]byte, sector)) {
				t.Fatalf("after a crash at change %d (seed %d) sector %d reads as nobody wrote it", at, seed, n)
			}
		}
	}
	for n, owners := range may {
		if !shown[n] && !slices.Contains(owners, 0) {
			t.Fatalf("after a crash at change %d (seed %d) sector %d is lost", at, seed, n)
		}
	}
}

func TestAFailedWriteEndsWriting(t *testing.T) {
	f := &memFile{}
	w, err := vhd.Create(f, vhd.Layout{Type: vhd.Dynamic, Size: 4 << 20, UUID: uuidOf(1)})
	require.NoError(t, err)
	_, err = w.WriteAt([]byte{1}, 0)
	require.NoError(t, err)
	f.crashAt = f.ops + 1
	require.ErrorIs(t, w.Sync(), errPower)
	f.crashAt = 0
	_, err = w.WriteAt([]byte{1}, 2<<20)
	require.ErrorIs(t, err, errPower)
	require.ErrorIs(t, w.Sync(), errPower)
}
