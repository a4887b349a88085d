//go:build unix

package catalog_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAFIFOAmongTheFilesHangsNothing(t *testing.T) {
	m, fsys, dir := backups(t, 1)
	for _, name := range []string{filepath.Join(testVMDir, "x.json"), filepath.Join(filepath.Dir(diskName(0, 1)), "x.vhd")} {
		fifo := filepath.Join(dir, name)
		require.NoError(t, syscall.Mkfifo(fifo, 0o600))
		report := mergeAll(t, openCatalog(t, fsys), testVM)
		require.NotEmpty(t, report.Unknown, name)
		require.Empty(t, report.Removed, name)
		require.NoError(t, os.Remove(fifo))
	}
	_, err := m.check(t.Context(), fsys)
	require.NoError(t, err)
}
