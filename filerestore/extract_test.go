package filerestore_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore"
)

// TestACancelledExtractionSaysSo is cancelled within the only file, which is selected
// itself: nothing comes after it to notice.
func TestACancelledExtractionSaysSo(t *testing.T) {
	m := newMade()
	m.add(1, "large", &madeNode{mode: 0o644, content: whole{bytes.NewReader(make([]byte, 5<<20))}})
	s := openMade(t, m)
	into := rootOf(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	opts := &filerestore.ExtractOptions{Progress: func(p filerestore.Progress) {
		if p.Bytes > 0 {
			cancel()
		}
	}}
	report, err := s.Extract(ctx, into, []filerestore.Selection{{Path: "large"}}, opts)
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, report.Complete(), report)
	require.Contains(t, report.String(), "all that follows is missing")
	_, err = into.Stat("large")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestOverwritingSparesWhatWasJustMade(t *testing.T) {
	m := newMade()
	m.file(1, "same", "first")
	m.file(1, "same", "second")
	m.file(1, "SAME", "third")
	s := openMade(t, m)
	into := rootOf(t, t.TempDir())
	require.NoError(t, into.WriteFile("same", []byte("old"), 0o600))
	require.NoError(t, into.WriteFile("SAME", []byte("old"), 0o600))
	report, err := s.Extract(t.Context(), into, everything, &filerestore.ExtractOptions{Overwrite: true})
	require.NoError(t, err)
	require.NotEmpty(t, report.Skipped)
	require.ErrorIs(t, report.Skipped[0].Err, fs.ErrExist)
	got, err := into.ReadFile("same")
	require.NoError(t, err)
	require.Equal(t, "first", string(got))
	if report.SkipCount == 1 { // case counts here
		got, err = into.ReadFile("SAME")
		require.NoError(t, err)
		require.Equal(t, "third", string(got))
	}
}

func rootOf(tb testing.TB, dir string) *os.Root {
	tb.Helper()
	root, err := os.OpenRoot(dir)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, root.Close()) })
	return root
}
