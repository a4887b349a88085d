package exfat_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/exfat"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
)

func open(ctx context.Context, r io.ReaderAt, size int64) (fsys.FS, error) {
	vol, err := exfat.Open(ctx, r, size, &exfat.Options{CacheSize: 1 << 20})
	if err != nil {
		return nil, err
	}
	return vol, nil
}

func openImage(tb testing.TB, name string) *exfat.FS {
	tb.Helper()
	return openBytes(tb, testvolume.Image(tb, name))
}

func openBytes(tb testing.TB, raw []byte) *exfat.FS {
	tb.Helper()
	vol, err := exfat.Open(tb.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
	require.NoError(tb, err)
	return vol
}

func TestKeptImagesReadAsTheyWereFilled(t *testing.T) {
	for _, name := range testvolume.Images(t) {
		t.Run(name, func(t *testing.T) {
			vol := openImage(t, name)
			require.Empty(t, cmp.Diff(testvolume.ManifestOf(t, name), testvolume.Read(t, vol)))
			require.Empty(t, vol.Warnings())
			require.Equal(t, "exfat", vol.Volume().Type)
			require.Equal(t, "T\u00e4st \u96ea", vol.Volume().Label)
			require.Regexp(t, "^[0-9A-F]{4}-[0-9A-F]{4}$", vol.Volume().UUID)
		})
	}
}
