package local_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	ctx := context.Background()
	fsys, err := local.Open(dir, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fsys.Close()
	fmt.Println(remote.MkdirAll(ctx, fsys, "xo-vm-backups/vm"))
	fmt.Println(remote.WriteFile(ctx, fsys, "xo-vm-backups/vm/point.json", []byte("{}")))
	fmt.Println(fsys.Remove(ctx, "xo-vm-backups"))
	_, err = fsys.Stat(ctx, "../elsewhere")
	fmt.Println(err)
	// Output:
	// <nil>
	// <nil>
	// remove xo-vm-backups: directory not empty
	// stat ../elsewhere: invalid argument
}

func open(t *testing.T, dir string) *local.FS {
	t.Helper()
	fsys, err := local.Open(dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { fsys.Close() })
	return fsys
}

func TestLocalPassesTheSuite(t *testing.T) {
	require.NoError(t, remotetest.Test(t.Context(), open(t, t.TempDir())))
}

func TestAMissingDirectoryIsMadeOnRequestOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	_, err := local.Open(dir, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	fsys, err := local.Open(dir, &local.Options{Create: true})
	require.NoError(t, err)
	require.NoError(t, fsys.Close())
}

func TestSymbolicLinksLeadNowhereOutside(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "out")))
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "in")))
	fsys := open(t, dir)
	_, err := remote.ReadFile(t.Context(), fsys, "out/secret", 10)
	require.Error(t, err)
	require.Error(t, remote.WriteFile(t.Context(), fsys, "out/new", nil))
	require.Error(t, fsys.RenameNoReplace(t.Context(), "in", "out/in"))
	require.NoError(t, remote.RemoveAll(t.Context(), fsys, "out"))
	require.FileExists(t, filepath.Join(outside, "secret"))

	require.NoError(t, remote.WriteFile(t.Context(), fsys, "real", []byte("here")))
	got, err := remote.ReadFile(t.Context(), fsys, "in", 10)
	require.NoError(t, err)
	require.Equal(t, "here", string(got))
}

func TestTheDirectoryStaysTheSameWhenItIsRenamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "before")
	require.NoError(t, os.Mkdir(dir, 0o755))
	fsys := open(t, dir)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", []byte("x")))
	require.NoError(t, os.Rename(dir, filepath.Join(filepath.Dir(dir), "after")))
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "g", []byte("x")))
	entries, err := fsys.ReadDir(t.Context(), ".")
	require.NoError(t, err)
	require.Len(t, entries, 2)
	_, err = entries[0].Info()
	require.NoError(t, err)
}

func BenchmarkWriteFile64MiB(b *testing.B) {
	fsys, err := local.Open(b.TempDir(), nil)
	require.NoError(b, err)
	defer fsys.Close()
	block := bytes.Repeat([]byte{7}, 2<<20)
	b.SetBytes(32 * int64(len(block)))
	b.ReportAllocs()
	for b.Loop() {
		w, err := remote.Create(b.Context(), fsys, "f")
		require.NoError(b, err)
		for range 32 {
			_, err := w.Write(block)
			require.NoError(b, err)
		}
		require.NoError(b, w.Commit())
	}
}
