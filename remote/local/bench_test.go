package local_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
)

// A copy by OpenReader and Create, beside one by cp and sync of the same file in
// the same run: x_of_cp is our speed divided by theirs.
func BenchmarkCopyBesideCp(b *testing.B) {
	cp, sync := testenv.Require(b, "cp"), testenv.Require(b, "sync")
	dir := b.TempDir()
	fsys, err := local.Open(dir, nil)
	require.NoError(b, err)
	defer fsys.Close()
	const size = 256 << 20
	require.NoError(b, os.WriteFile(filepath.Join(dir, "from"), bytes.Repeat([]byte{7, 1, 2, 3}, size/4), 0o600))
	b.SetBytes(2 * size)
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		to := filepath.Join(dir, "theirs")
		require.NoError(b, exec.CommandContext(b.Context(), cp, "--reflink=never", "--sparse=never", filepath.Join(dir, "from"), to).Run())
		require.NoError(b, exec.CommandContext(b.Context(), sync, to).Run())
		theirs += time.Since(start)
		require.NoError(b, os.Remove(to))

		start = time.Now()
		r, err := remote.OpenReader(b.Context(), fsys, "from")
		require.NoError(b, err)
		w, err := remote.Create(b.Context(), fsys, "ours")
		require.NoError(b, err)
		_, err = io.Copy(w, r)
		require.NoError(b, err)
		require.NoError(b, r.Close())
		require.NoError(b, w.Commit())
		ours += time.Since(start)
		require.NoError(b, fsys.Remove(b.Context(), "ours"))
	}
	b.ReportMetric(float64(theirs)/float64(ours), "x_of_cp")
}
