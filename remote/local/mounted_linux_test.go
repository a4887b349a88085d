package local_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
)

func TestADirectoryWithoutItsMountIsRefusedAndNotMade(t *testing.T) {
	mounted, opts := smallDisk(t, "size=1m"), &local.Options{Mounted: true, Create: true}
	fsys, err := local.Open(filepath.Join(mounted, "a", "b"), opts)
	require.NoError(t, err)
	require.NoError(t, fsys.Close())

	require.NoError(t, os.Mkdir("/xenbackup-test-mount", 0o700)) // a temporary directory may be on a disk of its own
	t.Cleanup(func() { _ = os.RemoveAll("/xenbackup-test-mount") })
	_, err = local.Open("/xenbackup-test-mount/a/b", opts)
	require.ErrorIs(t, err, local.ErrNotMounted)
	require.NoDirExists(t, "/xenbackup-test-mount/a")

	var unreachable *remote.UnreachableError
	_, err = local.OpenURL(t.Context(), &url.URL{Scheme: "file", Path: "/xenbackup-test-mount", RawQuery: "mounted=true"}, &remote.Options{})
	require.ErrorAs(t, err, &unreachable)
	require.Equal(t, remote.PartFolder, unreachable.Part)
	require.ErrorIs(t, err, local.ErrNotMounted)
}

// The recipe of the package documentation: copy everything, dot files too, and
// open the copy as the same repository.
func TestARepositoryMovesToAnotherDisk(t *testing.T) {
	cp := testenv.Require(t, "cp")
	ctx := t.Context()
	before := testenv.Golden(t).Dir
	old := open(t, before)
	id, err := remote.Identify(ctx, old)
	require.NoError(t, err)
	want := points(ctx, t, old)
	require.NotEmpty(t, want)

	disk := smallDisk(t, "size=256m")
	require.NoError(t, exec.CommandContext(ctx, cp, "-a", before+"/.", disk).Run())
	moved := open(t, disk)
	require.NoError(t, remote.CheckIdentity(ctx, moved, id))
	require.Equal(t, want, points(ctx, t, moved))
	require.ErrorIs(t, remote.CheckIdentity(ctx, open(t, t.TempDir()), id), remote.ErrOtherStorage)
}

// points are the restore points of a repository, and the digests of all files.
func points(ctx context.Context, t *testing.T, fsys remote.Filesystem) (found []string) {
	t.Helper()
	repo, err := catalog.Open(ctx, fsys, nil)
	require.NoError(t, err)
	for vm, err := range repo.VMs(ctx) {
		require.NoError(t, err)
		for point, err := range repo.Points(ctx, vm) {
			require.NoError(t, err)
			found = append(found, point.ID)
		}
	}
	require.NotEmpty(t, found)
	err = remote.Walk(ctx, fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		r, err := remote.OpenReader(ctx, fsys, name)
		if err != nil {
			return err
		}
		digest := sha256.New()
		_, err = io.Copy(digest, r)
		found = append(found, fmt.Sprintf("%s %x", name, digest.Sum(nil)))
		return errors.Join(err, r.Close())
	})
	require.NoError(t, err)
	return found
}
