package all_test

import (
	"context"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/all"
)

func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	fsys, err := all.Opener().Open(context.Background(), "file://"+filepath.ToSlash(dir), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fsys.Close()
	fmt.Println(remote.WriteFile(context.Background(), fsys, "f", []byte("x")))
	// Output: <nil>
}

func TestFileURLsAreTakenInTheSpellingsOfXenOrchestra(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space")
	require.NoError(t, os.Mkdir(dir, 0o755))
	for _, raw := range []string{"file://" + dir, "file:/" + dir, "file://localhost" + dir, "FILE://" + dir, "file:" + dir, "file:/" + dir[1:], "file://" + dir[1:]} {
		fsys, err := all.Opener().Open(t.Context(), raw, nil)
		require.NoError(t, err, raw)
		require.NoError(t, fsys.Close())
	}
	_, err := all.Opener().Open(t.Context(), "file://"+dir+"/none", nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	fsys, err := all.Opener().Open(t.Context(), "file://"+dir+"/none", &remote.Options{Create: true})
	require.NoError(t, err)
	require.NoError(t, fsys.Close())
	for _, raw := range []string{"file://", "file:///srv?x=1", "file://user@host/x", "ftp://host/x", "", "file"} {
		_, err := all.Opener().Open(t.Context(), raw, nil)
		require.Error(t, err, raw)
	}
}
