package fsys_test

import (
	"bytes"
	"io"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

func small() *memory {
	return newMemory(&memory{
		children: func(n uint64) []fsys.Entry {
			if n == 1 {
				return []fsys.Entry{dir("dir", 2), {Name: "file", Node: id(3)}, {Name: "odd\xff", Node: id(4)}}
			}
			return []fsys.Entry{{Name: "inner", Node: id(5)}}
		},
		parent:  func(uint64) uint64 { return 1 },
		content: map[uint64]string{3: "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00after the hole", 4: "", 5: "\x00\x00"},
	})
}

func TestPathsAreAFileSystemOfTheStandardLibrary(t *testing.T) {
	require.NoError(t, fstest.TestFS(small(), "file", "dir/inner", "odd%FF"))
}

func TestFilesReadSeekAndCopyAlike(t *testing.T) {
	vol := small()
	want := []byte(vol.content[3])
	open := func() *fsys.File {
		f, err := vol.OpenNode(id(3))
		require.NoError(t, err)
		return f
	}
	require.NoError(t, iotest.TestReader(open(), want))
	for start := range len(want) + 2 {
		f := open()
		_, err := f.Seek(int64(start), io.SeekStart)
		require.NoError(t, err)
		var out bytes.Buffer
		_, err = f.WriteTo(&out)
		require.NoError(t, err)
		require.Equal(t, string(want[min(start, len(want)):]), out.String())
	}
	_, err := open().Seek(-1, io.SeekStart)
	require.Error(t, err)
}
