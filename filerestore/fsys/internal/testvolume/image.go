package testvolume

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// Images returns the names of those in testdata.
func Images(tb testing.TB) []string {
	tb.Helper()
	list, err := filepath.Glob("testdata/*.img.zst")
	require.NoError(tb, err)
	require.NotEmpty(tb, list)
	for i, name := range list {
		list[i] = strings.TrimSuffix(filepath.Base(name), ".img.zst")
	}
	return list
}

// Image returns the content of one.
func Image(tb testing.TB, name string) []byte {
	tb.Helper()
	return unpack(tb, name+".img.zst")
}

// ManifestOf returns what one holds.
func ManifestOf(tb testing.TB, name string) Manifest {
	tb.Helper()
	var m Manifest
	require.NoError(tb, json.Unmarshal(unpack(tb, name+".json.zst"), &m))
	return m
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

// Keep writes an image and its manifest into testdata.
func Keep(tb testing.TB, name string, raw []byte, m Manifest) {
	tb.Helper()
	list, err := json.MarshalIndent(m, "", " ")
	require.NoError(tb, err)
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	require.NoError(tb, err)
	require.NoError(tb, os.MkdirAll("testdata", 0o755))
	require.NoError(tb, os.WriteFile(filepath.Join("testdata", name+".img.zst"), w.EncodeAll(raw, nil), 0o644))
	require.NoError(tb, os.WriteFile(filepath.Join("testdata", name+".json.zst"), w.EncodeAll(list, nil), 0o644))
}
