package testvolume

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
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
	raw, err := Unpack(filepath.Join("testdata", name))
	require.NoError(tb, err)
	return raw
}

// Unpack returns the content of a file: its size, and without the zeros at its
// end, compressed.
func Unpack(name string) ([]byte, error) {
	packed, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := r.DecodeAll(packed, nil)
	if err != nil || len(data) < 8 {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	raw := make([]byte, binary.LittleEndian.Uint64(data))
	copy(raw, data[8:])
	return raw, nil
}

func pack(w *zstd.Encoder, raw []byte) []byte {
	data := binary.LittleEndian.AppendUint64(nil, uint64(len(raw)))
	return w.EncodeAll(append(data, bytes.TrimRight(raw, "\x00")...), nil)
}

// Keep writes an image and its manifest into testdata.
func Keep(tb testing.TB, name string, raw []byte, m Manifest) {
	tb.Helper()
	list, err := json.MarshalIndent(m, "", " ")
	require.NoError(tb, err)
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	require.NoError(tb, err)
	require.NoError(tb, os.MkdirAll("testdata", 0o755))
	require.NoError(tb, os.WriteFile(filepath.Join("testdata", name+".img.zst"), pack(w, raw), 0o644))
	require.NoError(tb, os.WriteFile(filepath.Join("testdata", name+".json.zst"), pack(w, list), 0o644))
}
