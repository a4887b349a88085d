package ext_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
)

// image returns the content of one.
func image(tb testing.TB, name string) []byte {
	tb.Helper()
	return unpack(tb, name+".img.zst")
}

func unpack(tb testing.TB, name string) []byte {
	tb.Helper()
	packed, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(tb, err)
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	require.NoError(tb, err)
	defer r.Close()
	raw, err := r.DecodeAll(packed, nil)
	require.NoError(tb, err)
	return raw
}

func openImage(tb testing.TB, name string, opts *ext.Options) *ext.FS {
	tb.Helper()
	raw := image(tb, name)
	vol, err := ext.Open(tb.Context(), bytes.NewReader(raw), int64(len(raw)), opts)
	require.NoError(tb, err)
	return vol
}

func TestKeptImagesReadAsLinuxReadThem(t *testing.T) {
	for _, name := range testvolume.Images(t) {
		t.Run(name, func(t *testing.T) {
			var want manifest
			require.NoError(t, json.Unmarshal(unpack(t, name+".json.zst"), &want))
			vol := openImage(t, name, nil)
			got := read(t, vol)
			if strings.HasPrefix(name, "dirty-fast") {
				got = withoutRecovery(got)
			}
			if strings.HasPrefix(name, "dirty-") {
				require.Len(t, vol.Warnings(), 1)
				require.Equal(t, fsys.Replayed, vol.Warnings()[0].Concern)
			} else {
				require.Empty(t, vol.Warnings())
			}
			require.Empty(t, cmp.Diff(want, got))
		})
	}
}

func TestWithoutTheJournalAWarningSaysWhatIsMissing(t *testing.T) {
	vol := openImage(t, "dirty-none", &ext.Options{IgnoreJournal: true})
	require.Equal(t, fsys.Stale, vol.Warnings()[0].Concern)
	_, err := vol.Stat("round-5")
	require.ErrorIs(t, err, fs.ErrNotExist)
	info, err := openImage(t, "dirty-none", nil).Stat("round-5")
	require.NoError(t, err)
	require.True(t, info.IsDir())
}

func TestVolumesTellTheirTypeLabelAndSize(t *testing.T) {
	for name, want := range map[string]string{"ext2": "ext2", "ext2-rev0": "ext2", "ext3": "ext3", "dirty-none": "ext3", "ext4": "ext4", "ext4-blockmap": "ext4"} {
		v := openImage(t, name, nil).Volume()
		require.Equal(t, want, v.Type, name)
		require.Equal(t, "label", v.Label)
		require.Equal(t, int64(16<<20), v.Size)
		require.Len(t, v.UUID, 36)
	}
}
