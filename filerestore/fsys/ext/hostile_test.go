package ext_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
)

// hostile are the images that are damaged: most have no checksums, which
// would find nearly all of it.
var hostile = []string{"ext2", "ext3", "ext4-inline-plain", "ext4-crc16", "ext4-blockmap", "dirty-none", "dirty-v1", "ext4-1k-inline", "dirty-v3"}

// openSmall opens a volume with a small cache.
func openSmall(ctx context.Context, r io.ReaderAt, size int64) (fsys.FS, error) {
	vol, err := ext.Open(ctx, r, size, &ext.Options{CacheSize: 1 << 20})
	if err != nil {
		return nil, err
	}
	return vol, nil
}

// TestDamagedImagesEndInTypedErrors flips bytes in metadata: XENBACKUP_ROUNDS
// times per image, else 600 times in all.
func TestDamagedImagesEndInTypedErrors(t *testing.T) {
	rounds := 600 / len(hostile)
	if n, err := strconv.Atoi(os.Getenv("XENBACKUP_ROUNDS")); err == nil {
		rounds = n
	}
	for _, name := range hostile {
		t.Run(name, func(t *testing.T) {
			testvolume.Flip(t, image(t, name), rounds, openSmall)
		})
	}
}

func FuzzExt(f *testing.F) {
	var raws [][]byte
	var wheres [][]int64
	for i, name := range hostile {
		raws = append(raws, image(f, name))
		wheres = append(wheres, testvolume.Metadata(raws[i]))
		f.Add(byte(i), []byte{0, 2, 0, 1, 0xff})
	}
	f.Fuzz(func(t *testing.T, which byte, patches []byte) {
		i := int(which) % len(raws)
		testvolume.Examine(t, testvolume.Patch(raws[i], wheres[i], patches), openSmall)
	})
}

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
