package vhd_test

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// sparseReader is a file of zeros but for some pieces.
type sparseReader struct {
	pieces map[int64][]byte
	size   int64
	read   int64 // bytes that were asked for
}

func (f *sparseReader) ReadAt(p []byte, off int64) (int, error) {
	f.read += int64(len(p))
	clear(p)
	for at, piece := range f.pieces {
		if from, to := max(at, off), min(at+int64(len(piece)), off+int64(len(p))); from < to {
			copy(p[from-off:], piece[from-at:to-at])
		}
	}
	if left := f.size - off; left < int64(len(p)) {
		return int(max(0, left)), io.EOF
	}
	return len(p), nil
}

// TestATableThatIsAHoleIsRefusedSoon: a sparse file takes no room, and each of
// its 64 million zeros is a block at the place of the footer.
func TestATableThatIsAHoleIsRefusedSoon(t *testing.T) {
	const entries = 1 << 26
	s := &spec{typ: vhd.Dynamic, size: entries * 512, blockSize: 512, uuid: 1}
	end := int64(1536 + 4*entries)
	for _, tt := range []struct {
		mode vhd.Mode
		most int64
	}{{vhd.Strict, 1 << 20}, {vhd.Recover, 16 << 20}} {
		f := &sparseReader{pieces: map[int64][]byte{0: s.footer(), 512: s.header(entries), end: s.footer()}, size: end + 512}
		_, err := vhd.Open(f, f.size, &vhd.OpenOptions{Mode: tt.mode})
		require.ErrorIs(t, err, vhd.ErrBAT)
		requireTyped(t, err)
		require.Less(t, f.read, tt.most)
	}
}
