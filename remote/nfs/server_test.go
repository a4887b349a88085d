package nfs_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/nfs"
)

func TestAFullDiskLeavesTheOldFileAndNoTemporaryOne(t *testing.T) {
	_, opts := ganesha(t)
	fsys := open(t, testenv.ExportFull, opts)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", []byte("old")))
	space, err := fsys.Space(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(testenv.GaneshaFullSize), space.Total)
	require.Less(t, space.Free, space.Total)
	err = remote.WriteFile(t.Context(), fsys, "f", make([]byte, testenv.GaneshaFullSize+1))
	require.ErrorIs(t, err, remote.ErrNoSpace)
	require.ErrorIs(t, err, syscall.ENOSPC)
	got, err := remote.ReadFile(t.Context(), fsys, "f", 100)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	entries, err := fsys.ReadDir(t.Context(), ".")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", []byte("fits again")))
}

func TestAnExportSaysWhoMayDoWhat(t *testing.T) {
	g, opts := ganesha(t)
	require.NoError(t, os.WriteFile(filepath.Join(g.Dir(), "private"), []byte("x"), 0o600))

	readOnly := open(t, testenv.ExportRO, opts)
	got, err := remote.ReadFile(t.Context(), readOnly, "hello.txt", 100)
	require.NoError(t, err)
	require.Equal(t, "hello\n", string(got))
	err = remote.WriteFile(t.Context(), readOnly, "f", nil)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorIs(t, err, syscall.EROFS)
	require.ErrorIs(t, readOnly.Remove(t.Context(), "hello.txt"), fs.ErrPermission)

	squash := open(t, testenv.ExportSquash, opts)
	_, err = remote.ReadFile(t.Context(), squash, "private", 100)
	require.ErrorIs(t, err, fs.ErrPermission)

	someone := *opts
	someone.Credential = &nfs.Credential{UID: 1234, GID: 1234}
	theirs := open(t, testenv.ExportData, &someone)
	_, err = remote.ReadFile(t.Context(), theirs, "private", 100)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NoError(t, remote.WriteFile(t.Context(), theirs, "theirs", nil))
	info, err := os.Stat(filepath.Join(g.Dir(), "theirs"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode())
	other := *opts
	other.Credential = &nfs.Credential{UID: 4321, GID: 4321}
	file, err := open(t, testenv.ExportData, &other).OpenFile(t.Context(), "theirs", os.O_RDWR)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, fs.ErrPermission)
}

func TestASecureExportIsUsedFromAPrivilegedPortOrExplained(t *testing.T) {
	_, opts := ganesha(t)
	require.NoError(t, remote.WriteFile(t.Context(), open(t, testenv.ExportSecure, opts), "f", nil))

	ordinary := *opts
	ordinary.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	_, err := nfs.Open(t.Context(), "127.0.0.1", testenv.ExportSecure, &ordinary)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorContains(t, err, "insecure")
	require.ErrorContains(t, err, testenv.ExportSecure)
}

func TestAFolderOfAnExportIsOpenedAndMadeOnRequest(t *testing.T) {
	g, opts := ganesha(t)
	_, err := nfs.Open(t.Context(), "127.0.0.1", testenv.ExportData+"/a/b", opts)
	require.ErrorIs(t, err, fs.ErrNotExist)
	var unreachable *remote.UnreachableError
	require.ErrorAs(t, err, &unreachable)
	require.Equal(t, remote.PartFolder, unreachable.Part)

	create := *opts
	create.Create = true
	fsys := open(t, testenv.ExportData+"/a/b", &create)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", []byte("x")))
	require.FileExists(t, filepath.Join(g.Dir(), "a", "b", "f"))

	_, err = nfs.Open(t.Context(), "127.0.0.1", "/none/at/all", &create)
	require.ErrorAs(t, err, &unreachable)
	require.Equal(t, remote.PartShare, unreachable.Part)
}

func TestSymbolicLinksAreFollowedAndLeadNowhereOutside(t *testing.T) {
	g, opts := ganesha(t)
	for name, target := range map[string]string{
		"folder/relative": "../real", "folder/up": "../..", "absolute": "/etc/passwd", "loop": "loop", "dirlink": "folder/.",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(g.Dir(), "folder"), 0o755))
		require.NoError(t, os.Symlink(target, filepath.Join(g.Dir(), name)))
	}
	require.NoError(t, os.WriteFile(filepath.Join(g.Dir(), "real"), []byte("here"), 0o644))
	fsys := open(t, testenv.ExportData, opts)
	for _, name := range []string{"folder/relative", "dirlink/relative", "real"} {
		got, err := remote.ReadFile(t.Context(), fsys, name, 10)
		require.NoError(t, err, name)
		require.Equal(t, "here", string(got))
	}
	info, err := fsys.Stat(t.Context(), "dirlink")
	require.NoError(t, err)
	require.True(t, info.IsDir())
	for _, name := range []string{"folder/up", "folder/up/x", "absolute"} {
		_, err := fsys.Stat(t.Context(), name)
		require.ErrorIs(t, err, fs.ErrPermission, name)
	}
	_, err = fsys.Stat(t.Context(), "loop")
	require.ErrorIs(t, err, syscall.ELOOP)
	entries, err := fsys.ReadDir(t.Context(), ".")
	require.NoError(t, err)
	require.Equal(t, fs.ModeSymlink, entries[0].Type(), entries[0].Name())
	require.NoError(t, remote.RemoveAll(t.Context(), fsys, "dirlink"))
	require.DirExists(t, filepath.Join(g.Dir(), "folder"))
}

func TestAReaderOfAReplacedFileGetsAnErrorAndNoMixture(t *testing.T) {
	_, opts := ganesha(t)
	ours, theirs := open(t, testenv.ExportData, opts), open(t, testenv.ExportData, opts)
	require.NoError(t, remote.WriteFile(t.Context(), ours, "f", bytes.Repeat([]byte("old"), 1000)))
	file, err := ours.OpenFile(t.Context(), "f", os.O_RDONLY)
	require.NoError(t, err)
	require.NoError(t, remote.WriteFile(t.Context(), theirs, "f", bytes.Repeat([]byte("new"), 1000)))
	got := make([]byte, 3)
	_, err = file.ReadAt(got, 300)
	if err == nil {
		require.Equal(t, "old", string(got))
	} else {
		require.ErrorIs(t, err, remote.ErrUnavailable)
		require.ErrorIs(t, err, syscall.ESTALE)
	}
	now, err := remote.ReadFile(t.Context(), ours, "f", 3000)
	require.NoError(t, err)
	require.Equal(t, "new", string(now[:3]))
}

func TestADirectoryThatOthersMadeAnewIsFoundAtOnce(t *testing.T) {
	_, opts := ganesha(t)
	ours, theirs := open(t, testenv.ExportData, opts), open(t, testenv.ExportData, opts)
	require.NoError(t, remote.MkdirAll(t.Context(), ours, "d/e"))
	require.NoError(t, remote.WriteFile(t.Context(), ours, "d/e/f", nil))
	require.NoError(t, remote.RemoveAll(t.Context(), theirs, "d"))
	require.NoError(t, remote.MkdirAll(t.Context(), theirs, "d/e"))
	require.NoError(t, remote.WriteFile(t.Context(), ours, "d/e/g", []byte("x")))
	got, err := remote.ReadFile(t.Context(), theirs, "d/e/g", 10)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
}

func TestOpenURLTakesPortsAndUser(t *testing.T) {
	port := testenv.GoNFS(t, t.TempDir())
	parse := func(raw string) (remote.Filesystem, error) {
		u, err := url.Parse(fmt.Sprintf("nfs://127.0.0.1:%d/export%s", port, raw))
		require.NoError(t, err)
		return nfs.OpenURL(t.Context(), u, &remote.Options{})
	}
	fsys, err := parse(fmt.Sprintf("?uid=0&gid=0&mountport=%d", port))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("nfs://127.0.0.1:%d/export", port), fsys.(*nfs.FS).String())
	require.NoError(t, fsys.Close())
	for _, raw := range []string{"?uid=x", "?gid=-1", "?mountport=70000", "?uuid=1", "?mountport="} {
		_, err := parse(raw)
		require.Error(t, err, raw)
	}
}

func TestAHostThatRefusesIsNamed(t *testing.T) {
	listener := listen(t)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	_, err := nfs.Open(t.Context(), "127.0.0.1", "/x", &nfs.Options{Port: port, MountPort: port})
	var unreachable *remote.UnreachableError
	require.ErrorAs(t, err, &unreachable)
	require.Equal(t, remote.PartHost, unreachable.Part)
	require.ErrorIs(t, err, remote.ErrUnavailable)
	require.ErrorContains(t, err, fmt.Sprint(port))
}

func TestLongTransfersAreWholeAtAnyOffset(t *testing.T) {
	fsys := goNFS(t)
	content := make([]byte, 5<<20+12345)
	for i := range content {
		content[i] = byte(i >> 8 * i)
	}
	f, err := fsys.OpenFile(t.Context(), "f", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	require.NoError(t, err)
	n, err := f.WriteAt(content, 777)
	require.NoError(t, err)
	require.Equal(t, len(content), n)
	require.NoError(t, f.Sync())
	got := make([]byte, len(content)+100)
	n, err = f.ReadAt(got, 777)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, len(content), n)
	require.True(t, bytes.Equal(content, got[:n]))
	require.NoError(t, f.Close())
	require.ErrorIs(t, f.Close(), fs.ErrClosed)
}
