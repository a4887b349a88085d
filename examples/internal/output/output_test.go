package output_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/examples/internal/output"
)

func ExampleFile() {
	dir, err := os.MkdirTemp("", "output-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	f, err := output.Create(filepath.Join(dir, "disk.raw"), false)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = f.Abort() }()
	if _, err := f.WriteString("content"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Commit())
	// Output: <nil>
}

func TestFileIsThereWhenItIsComplete(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "disk.raw")
	f, err := output.Create(name, false)
	require.NoError(t, err)
	_, err = f.WriteString("one")
	require.NoError(t, err)
	require.NoFileExists(t, name)
	require.NoError(t, f.Abort())
	require.NoError(t, f.Abort())
	requireNames(t, dir)

	f, err = output.Create(name, false)
	require.NoError(t, err)
	require.NoError(t, f.Commit())
	require.NoError(t, f.Abort())
	requireNames(t, dir, "disk.raw")

	_, err = output.Create(name, false)
	require.ErrorIs(t, err, fs.ErrExist)
	f, err = output.Create(name, true)
	require.NoError(t, err)
	require.NoError(t, f.Commit())
	_, err = output.Create(dir, true)
	require.ErrorContains(t, err, "is a directory")
	_, err = output.Create(os.DevNull, false)
	require.ErrorContains(t, err, "standard output")
	_, err = output.Create(filepath.Join(dir, "missing", "disk.raw"), false)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotContains(t, err.Error(), ".tmp")

	f, err = output.Create(filepath.Join(dir, "raced"), false)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "raced"), []byte("theirs"), 0o600))
	require.ErrorIs(t, f.Commit(), fs.ErrExist)
	require.NoError(t, f.Abort())
	requireNames(t, dir, "disk.raw", "raced")
}

func requireNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	require.Equal(t, want, got)
}
