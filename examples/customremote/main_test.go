package main

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheProgramProbesAStorage(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, []string{"dir://" + filepath.ToSlash(t.TempDir())}))
	require.Contains(t, out.String(), "random 4 KiB reads")
	require.Contains(t, out.String(), "Warning: There are no locks", "dirFS has no Touch")
	out.Reset()
	require.NoError(t, run(t.Context(), &out, []string{"-json", "file://" + filepath.ToSlash(t.TempDir())}))
	require.Contains(t, out.String(), `"writeBytesPerSecond"`)
	require.ErrorIs(t, run(t.Context(), &out, []string{"dir:///does/not/exist"}), fs.ErrNotExist)
}
