package filerestore_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

const sector = 512

// patched is a disk with other bytes here and there.
type patched struct {
	raw   []byte
	bytes map[int64]byte
	reads int
}

func (r *patched) ReadAt(p []byte, off int64) (int, error) {
	if r.reads++; r.reads > 1<<18 {
		return 0, errors.New("too many reads")
	}
	n, err := bytes.NewReader(r.raw).ReadAt(p, off)
	for at, b := range r.bytes {
		if at >= off && at < off+int64(n) {
			p[at-off] = b
		}
	}
	return n, err
}

// filledSectors are those of a disk that hold something, but for the lines of large files.
func filledSectors(raw []byte) (list []int64) {
	for s := int64(0); s < int64(len(raw))/sector; s++ {
		b := raw[s*sector:][:sector]
		if !bytes.Equal(b, make([]byte, sector)) && bytes.Count(b, []byte("\n")) < 20 {
			list = append(list, s)
		}
	}
	return list
}

func isTyped(err error) bool {
	for _, kind := range []error{
		fsys.ErrCorrupt, fsys.ErrUnsupported, fsys.ErrEncrypted, fsys.ErrLimit, fsys.ErrWrongFormat, fsys.ErrNotDir, fsys.ErrNotRegular,
		filerestore.ErrNoFiles, filerestore.ErrMissing, fs.ErrNotExist, fs.ErrInvalid, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// examine opens and archives all that damaged disks have.
func examine(tb testing.TB, disks []filerestore.Disk) {
	tb.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := filerestore.Open(tb.Context(), disks, &filerestore.Options{CacheSize: 1 << 20, MetadataSize: 1 << 20})
	require.NoError(tb, err)
	defer s.Close()
	for v := range s.All() {
		if v.Err != nil {
			require.True(tb, isTyped(v.Err), "%s: %v", v.ID, v.Err)
			continue
		}
		if !v.HasFiles() {
			continue
		}
		limits := filerestore.Limits{Bytes: 64 << 20, Entries: 2000, Depth: 100}
		report, err := s.Archive(tb.Context(), io.Discard, filerestore.Tar, []filerestore.Selection{{Volume: v.ID}}, &filerestore.ArchiveOptions{Limits: limits})
		require.True(tb, err == nil || isTyped(err), "%s: %v", v.ID, err)
		for _, skip := range report.Skipped {
			require.NotContains(tb, skip.Err.Error(), "the reader failed")
		}
	}
	runtime.ReadMemStats(&after)
	require.Less(tb, after.TotalAlloc-before.TotalAlloc, uint64(512<<20), "memory allocated in all")
}

// TestDamagedDisksEndInTypedErrors flips bytes in what a machine's disks hold besides the
// content of files: XENBACKUP_ROUNDS times, else 200 times.
func TestDamagedDisksEndInTypedErrors(t *testing.T) {
	rounds := 200 // the readers and tables have 600 each of their own
	if n, err := strconv.Atoi(os.Getenv("XENBACKUP_ROUNDS")); err == nil {
		rounds = n
	}
	var where [][]int64
	names := []string{"a", "b"}
	for _, name := range names {
		where = append(where, filledSectors(unpack(t, name)))
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 5))
		var disks []filerestore.Disk
		for i, name := range names {
			p := &patched{raw: unpack(t, name), bytes: map[int64]byte{}}
			for range r.IntN(15) {
				at := where[i][r.IntN(len(where[i]))]*sector + r.Int64N(sector)
				p.bytes[at] = p.raw[at] ^ byte(1+r.IntN(255))
			}
			disks = append(disks, filerestore.Disk{R: p, Size: int64(len(p.raw))})
		}
		examine(t, disks)
		require.False(t, t.Failed(), "round %d", round)
	}
}

func FuzzOpen(f *testing.F) {
	raw := unpack(f, "a")
	where := filledSectors(raw)
	f.Add([]byte{0, 0, 1, 200, 1})
	f.Fuzz(func(t *testing.T, patches []byte) {
		p := &patched{raw: raw, bytes: map[int64]byte{}}
		for ; len(patches) >= 5; patches = patches[5:] { // sector, offset, value
			s := where[(int(patches[0])<<8|int(patches[1]))%len(where)]
			p.bytes[s*sector+(int64(patches[2])<<8|int64(patches[3]))%sector] = patches[4]
		}
		examine(t, []filerestore.Disk{{R: p, Size: int64(len(raw))}})
	})
}
