package fat_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/fat"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
)

// hostile are the images that are damaged.
var hostile = []string{"fat12", "fat16-4k", "fat32", "fat32-pieces"}

func TestDamagedImagesEndInTypedErrors(t *testing.T) {
	testvolume.Damage(t, hostile, testvolume.Image, open)
}

func FuzzFAT(f *testing.F) { testvolume.Fuzz(f, hostile, testvolume.Image, open) }

func TestCutShortImagesAreRefusedOrWarnedOf(t *testing.T) {
	raw := testvolume.Image(t, "fat16")
	for _, n := range []int{0, 1, 511} {
		_, err := fat.Open(t.Context(), bytes.NewReader(raw[:n]), int64(n), nil)
		require.ErrorIs(t, err, fsys.ErrWrongFormat)
	}
	half := raw[:len(raw)/2]
	vol := openBytes(t, half)
	require.Equal(t, fsys.Damaged, vol.Warnings()[0].Concern)
	for _, err := range fsys.Walk(t.Context(), vol, vol.Root(), nil) {
		if err != nil {
			testvolume.Typed(t, err)
		}
	}
}

func TestOtherThingsAreNotFAT(t *testing.T) {
	random := make([]byte, 1<<16)
	for i := range random {
		random[i] = byte(i * i >> 3)
	}
	ntfs := make([]byte, 1<<16)
	copy(ntfs, "\xEB\x52\x90NTFS    \x00\x02\x08\x00\x00\x00\x00\x00\x00\x00\xF8")
	copy(ntfs[510:], "\x55\xAA")
	for name, raw := range map[string][]byte{"zeros": make([]byte, 1<<16), "random": random, "NTFS": ntfs} {
		_, err := fat.Open(t.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
		require.ErrorIs(t, err, fsys.ErrWrongFormat, name)
	}
}
