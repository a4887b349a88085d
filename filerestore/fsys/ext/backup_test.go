package ext_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
	"github.com/xenbackup/xenbackup/filerestore/probe"
)

// TestDamagedSuperblocksAreReadFromTheirCopies has volumes of several groups
// whose first blocks were overwritten: superblock and group descriptors.
func TestDamagedSuperblocksAreReadFromTheirCopies(t *testing.T) {
	for name, damage := range map[string][]int{
		"ext2": {0, 4096}, "ext3": {0, 4096}, "ext4-1k-inline": {0, 4096}, "ext4-inline-plain": {1024, 1100}, "ext4-meta_bg": {2048, 3072},
		"ext4-crc16": {2048, 4096},
		"dirty-none": {0, 2048}, "dirty-v3-inline": {0, 4096}, "dirty-fast-1k": {0, 2048},
	} {
		t.Run(name, func(t *testing.T) {
			raw := image(t, name)
			for i := damage[0]; i < damage[1]; i++ {
				raw[i] ^= byte(i) | 1
			}
			c, err := probe.Detect(bytes.NewReader(raw), int64(len(raw)))
			require.NoError(t, err)
			require.Equal(t, "ext", c.Family)
			vol, err := ext.Open(t.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
			require.NoError(t, err)
			var want manifest
			require.NoError(t, json.Unmarshal(unpack(t, name+".json.zst"), &want))
			got := read(t, vol)
			if name == "dirty-fast-1k" {
				got = withoutRecovery(got)
			}
			require.Empty(t, cmp.Diff(want, got))
			t.Log(vol.Warnings())
			require.NotEmpty(t, vol.Warnings())
			for _, w := range vol.Warnings() {
				require.Contains(t, []fsys.Concern{fsys.Damaged, fsys.Replayed}, w.Concern, w.Text)
			}
		})
	}
}

// TestCopiesOfAnOlderFileSystemDoNotWin has a copy in group 1 that another file
// system left there.
func TestCopiesOfAnOlderFileSystemDoNotWin(t *testing.T) {
	const group1, group3 = 1024 + 8<<20, 1024 + 3*8<<20
	le := binary.LittleEndian
	for _, keep := range []bool{false, true} { // magic and UUID of the first superblock
		raw := image(t, "ext3")
		uuid := bytes.Clone(raw[1024+0x68:][:16])
		require.EqualValues(t, 1, le.Uint16(raw[group1+0x5A:]))
		raw = append(raw, make([]byte, 16<<20)...)
		copy(raw[group3:], raw[group1:][:1024])
		raw[group3+0x5A] = 3
		le.PutUint32(raw[group3+4:], 32<<10) // the volume grew
		copy(raw[group1+0x68:][:16], "of another volume")
		at := le.Uint32(raw[group3+0x108:])
		if le.PutUint32(raw[group1+0x108:], at-1000); keep {
			le.PutUint32(raw[group1+0x108:], at+1000) // a clock went wrong
			le.PutUint32(raw[1024+4:], 0)             // blocks
		} else {
			clear(raw[1024:2048])
		}
		vol, err := ext.Open(t.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%x-%x-%x-%x-%x", uuid[:4], uuid[4:6], uuid[6:8], uuid[8:10], uuid[10:]), vol.Volume().UUID)
		text := fmt.Sprint(vol.Warnings())
		require.Contains(t, text, "several file systems")
	}
}

// TestCopiesDoNotHideFeaturesThatAreNotSupported has a first superblock that
// nobody damaged.
func TestCopiesDoNotHideFeaturesThatAreNotSupported(t *testing.T) {
	raw := image(t, "ext3")
	raw[1024+0x60] |= 8 // the journal of another volume, by now
	_, err := ext.Open(t.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
	require.ErrorIs(t, err, fsys.ErrUnsupported)
}
