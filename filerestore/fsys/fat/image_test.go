package fat_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/fat"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
)

func open(ctx context.Context, r io.ReaderAt, size int64) (fsys.FS, error) {
	vol, err := fat.Open(ctx, r, size, &fat.Options{CacheSize: 1 << 20})
	if err != nil {
		return nil, err
	}
	return vol, nil
}

func openImage(tb testing.TB, name string) *fat.FS {
	tb.Helper()
	return openBytes(tb, testvolume.Image(tb, name))
}

func openBytes(tb testing.TB, raw []byte) *fat.FS {
	tb.Helper()
	vol, err := fat.Open(tb.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
	require.NoError(tb, err)
	return vol
}

func TestKeptImagesReadAsTheyWereFilled(t *testing.T) {
	for _, name := range testvolume.Images(t) {
		t.Run(name, func(t *testing.T) {
			vol := openImage(t, name)
			require.Empty(t, cmp.Diff(testvolume.ManifestOf(t, name), manifest(t, vol)))
			require.Empty(t, vol.Warnings())
			v := vol.Volume()
			require.True(t, strings.HasPrefix(name, v.Type), v.Type)
			require.Equal(t, "TEST LABEL", v.Label)
			require.Equal(t, "1234-ABCD", v.UUID)
		})
	}
}

// manifest leaves out what mtools does not keep: the times of directories.
func manifest(tb testing.TB, vol fsys.Nodes) testvolume.Manifest {
	tb.Helper()
	return withoutDirTimes(testvolume.Read(tb, vol))
}

func withoutDirTimes(m testvolume.Manifest) testvolume.Manifest {
	for name, d := range m {
		if d.Dir {
			m[name] = testvolume.Described{Dir: true}
		}
	}
	return m
}
