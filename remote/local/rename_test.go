package local

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// The way taken where renameat2 is not known.
func TestLinkNoReplaceRenamesOrChangesNothing(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	require.NoError(t, root.WriteFile("a", []byte("a"), 0o600))
	require.NoError(t, root.WriteFile("b", []byte("b"), 0o600))
	require.ErrorIs(t, linkNoReplace(root, "a", "b"), fs.ErrExist)
	require.NoError(t, linkNoReplace(root, "a", "c"))
	_, err = root.Stat("a")
	require.ErrorIs(t, err, fs.ErrNotExist)
	got, err := root.ReadFile("c")
	require.NoError(t, err)
	require.Equal(t, "a", string(got))
	require.NoError(t, root.Mkdir("d", 0o700))
	require.ErrorIs(t, linkNoReplace(root, "d", "e"), errors.ErrUnsupported)
}
