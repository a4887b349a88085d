package filerestore_test

import (
	"bytes"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/internal/testenv"
)

func TestAFullDiskEndsAnExtraction(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		testenv.Missing(t, "cannot mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	m := newMade()
	d := m.add(1, "dir", &madeNode{mode: fs.ModeDir | 0o750})
	m.file(d, "before", "content")
	m.add(d, "large", &madeNode{mode: 0o644, content: whole{bytes.NewReader(bytes.Repeat([]byte{1}, 5<<20))}})
	m.file(d, "zzz", "content")
	s := openMade(t, m)
	into := rootOf(t, dir)
	report, err := s.Extract(t.Context(), into, everything, &filerestore.ExtractOptions{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.False(t, report.Complete(), report)
	require.Contains(t, report.String(), "large")
	_, err = into.Stat("dir/large")
	require.ErrorIs(t, err, fs.ErrNotExist)
	got, err := into.ReadFile("dir/before")
	require.NoError(t, err)
	require.Equal(t, "content", string(got))
	info, err := into.Stat("dir")
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o750), info.Mode().Perm())
}
