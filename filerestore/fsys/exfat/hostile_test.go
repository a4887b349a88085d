package exfat_test

import (
	"bytes"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/exfat"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
)

// hostile are the images that are damaged.
var hostile = []string{"512", "4k", "64k", "pieces"}

// TestDamagedImagesEndInTypedErrors flips bytes in metadata: XENBACKUP_ROUNDS
// times per image, else 600 times in all.
func TestDamagedImagesEndInTypedErrors(t *testing.T) {
	rounds := 600 / len(hostile)
	if n, err := strconv.Atoi(os.Getenv("XENBACKUP_ROUNDS")); err == nil {
		rounds = n
	}
	for _, name := range hostile {
		t.Run(name, func(t *testing.T) {
			testvolume.Flip(t, testvolume.Image(t, name), rounds, open)
		})
	}
}

func FuzzExFAT(f *testing.F) {
	var raws [][]byte
	var wheres [][]int64
	for i, name := range hostile {
		raws = append(raws, testvolume.Image(f, name))
		wheres = append(wheres, testvolume.Metadata(raws[i]))
		f.Add(byte(i), []byte{0, 0, 0, 106, 2, 0, 40, 1, 26, 2})
	}
	f.Fuzz(func(t *testing.T, which byte, patches []byte) {
		i := int(which) % len(raws)
		testvolume.Examine(t, testvolume.Patch(raws[i], wheres[i], patches), open)
	})
}

func TestCutShortImagesAreRefusedOrWarnedOf(t *testing.T) {
	raw := testvolume.Image(t, "4k")
	for _, n := range []int{0, 1, 511} {
		_, err := exfat.Open(t.Context(), bytes.NewReader(raw[:n]), int64(n), nil)
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

func TestOtherThingsAreNotExFAT(t *testing.T) {
	random := make([]byte, 1<<16)
	for i := range random {
		random[i] = byte(i * i >> 3)
	}
	ntfs := make([]byte, 1<<16)
	copy(ntfs, "\xEB\x52\x90NTFS    \x00\x02\x08\x00\x00\x00\x00\x00\x00\x00\xF8")
	copy(ntfs[510:], "\x55\xAA")
	for name, raw := range map[string][]byte{"zeros": make([]byte, 1<<16), "random": random, "NTFS": ntfs} {
		_, err := exfat.Open(t.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
		require.ErrorIs(t, err, fsys.ErrWrongFormat, name)
	}
}
