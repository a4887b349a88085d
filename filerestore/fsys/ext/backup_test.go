package ext_test

import (
	"bytes"
	"encoding/json"
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
