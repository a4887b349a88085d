package ext_test

import (
	"context"
	"encoding/binary"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// inodeOffset finds the inode of a file by its inode table, which is that of
// group 0 in small images.
func inodeOffset(t *testing.T, raw []byte, vol *ext.FS, name string) int64 {
	t.Helper()
	id, err := vol.NodeAt(name, false)
	require.NoError(t, err)
	le := binary.LittleEndian
	blockSize := int64(1024) << le.Uint32(raw[1024+0x18:])
	size := int64(le.Uint16(raw[1024+0x58:]))
	perGroup := uint64(le.Uint32(raw[1024+0x28:]))
	descriptors := (1024/blockSize + 1) * blockSize
	group, index := (id.Number-1)/perGroup, (id.Number-1)%perGroup
	table := int64(le.Uint32(raw[descriptors+int64(group)*descSize(raw)+8:]))
	return table*blockSize + int64(index)*size
}

func descSize(raw []byte) int64 {
	if n := binary.LittleEndian.Uint16(raw[1024+0xFE:]); n > 0 {
		return int64(n)
	}
	return 32
}

// set writes a number into an inode of an image without checksums.
func set(p *testvolume.Patched, at int64, value uint32) {
	for i := range int64(4) {
		p.Bytes[at+i] = byte(value >> (8 * i))
	}
}

func TestClaimsOfHugeSizesCostNothing(t *testing.T) {
	raw := image(t, "ext3")
	p := &testvolume.Patched{Raw: raw, Bytes: map[int64]byte{}}
	vol := openImage(t, "ext3", nil)
	set(p, inodeOffset(t, raw, vol, "empty")+4, 0xFFFFFFFF)    // size
	set(p, inodeOffset(t, raw, vol, "empty")+0x6C, 0x7FFFFFFF) // its upper half
	set(p, inodeOffset(t, raw, vol, "special")+4, 0xFFFFFFFF)
	set(p, inodeOffset(t, raw, vol, "links/to-1000")+4, 0xFFFFFFFF)
	vol, err := ext.Open(t.Context(), p, int64(len(raw)), nil)
	require.NoError(t, err)

	id, err := vol.NodeAt("empty", false)
	require.NoError(t, err)
	f, err := vol.OpenNode(id)
	require.NoError(t, err)
	n := 0
	for e, err := range f.Extents(context.Background(), 0, f.Size()) {
		require.NoError(t, err)
		require.Equal(t, disk.Extent{Len: 1<<63 - 1, Kind: disk.Hole}, e)
		n++
	}
	require.Equal(t, 1, n)
	got := make([]byte, 10)
	_, err = f.ReadAt(got, 1<<62)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 10), got)
	_, err = f.ReadAt(got, 1<<63-3)
	require.Equal(t, io.EOF, err)

	entries, err := vol.ReadDir("special")
	require.NoError(t, err)
	require.Len(t, entries, 5)
	_, err = vol.ReadLink("links/to-1000")
	require.ErrorIs(t, err, fsys.ErrCorrupt)
	require.Less(t, p.Reads, 300)
}

func TestTreesOfExtentsThatLeadBackEnd(t *testing.T) {
	raw := image(t, "ext4-crc16")
	vol := openImage(t, "ext4-crc16", nil)
	at := inodeOffset(t, raw, vol, "sparse/many") + 0x28
	le := binary.LittleEndian
	require.Equal(t, uint16(1), le.Uint16(raw[at+6:]), "depth")
	child := int64(le.Uint32(raw[at+12+4:])) << (10 + le.Uint32(raw[1024+0x18:]))
	p := &testvolume.Patched{Raw: raw, Bytes: map[int64]byte{}}
	p.Bytes[at+6] = 5 // depth of the root
	p.Bytes[child+6] = 4
	for i := range int64(12) { // the child's first entry becomes the root's: it leads to itself
		p.Bytes[child+12+i] = raw[at+12+i]
	}
	vol, err := ext.Open(t.Context(), p, int64(len(raw)), nil)
	require.NoError(t, err)
	f, err := vol.Open("sparse/many")
	require.NoError(t, err)
	_, err = f.Read(make([]byte, 10))
	require.ErrorIs(t, err, fsys.ErrCorrupt)
	require.ErrorContains(t, err, "depth")
}
