package ext_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
)

// hostile are the images that are damaged: most have no checksums, which
// would find nearly all of it.
var hostile = []string{"ext2", "ext3", "ext4-inline-plain", "ext4-crc16", "ext4-blockmap", "dirty-none", "dirty-v1", "ext4-1k-inline", "dirty-v3", "dirty-fast-1k", "dirty-fast"}

// openSmall opens a volume with a small cache.
func openSmall(ctx context.Context, r io.ReaderAt, size int64) (fsys.FS, error) {
	vol, err := ext.Open(ctx, r, size, &ext.Options{CacheSize: 1 << 20})
	if err != nil {
		return nil, err
	}
	return vol, nil
}

func TestDamagedImagesEndInTypedErrors(t *testing.T) {
	testvolume.Damage(t, hostile, image, openSmall)
}

func FuzzExt(f *testing.F) { testvolume.Fuzz(f, hostile, image, openSmall) }

func TestCutShortImagesAreRefusedOrWarnedOf(t *testing.T) {
	raw := image(t, "ext4")
	for _, n := range []int{0, 1, 1023, 1024, 2047} {
		_, err := ext.Open(t.Context(), bytes.NewReader(raw[:n]), int64(n), nil)
		require.ErrorIs(t, err, fsys.ErrWrongFormat)
	}
	half := raw[:len(raw)/2]
	vol, err := ext.Open(t.Context(), bytes.NewReader(half), int64(len(half)), nil)
	require.NoError(t, err)
	require.Equal(t, fsys.Damaged, vol.Warnings()[0].Concern)
	for _, err := range fsys.Walk(t.Context(), vol, vol.Root(), nil) {
		if err != nil {
			testvolume.Typed(t, err)
		}
	}
}
