package ext_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

func TestJournalsOnOtherDevicesAreWarnedOf(t *testing.T) {
	requireLoop(t)
	dir := t.TempDir()
	image, log, copied := filepath.Join(dir, "image"), filepath.Join(dir, "log"), filepath.Join(dir, "copy")
	require.NoError(t, os.WriteFile(log, nil, 0o600))
	require.NoError(t, os.Truncate(log, 8<<20))
	run(t, "mke2fs", "-q", "-F", "-b", "4096", "-O", "journal_dev", log)
	device := loop(t, log)
	mkfs(t, image, 48<<20, "-t", "ext4", "-b", "4096", "-J", "device="+device)
	at, unmount := mount(t, image, "rw")
	tree{t, at}.write("file", []byte("x"))
	commit(t, at)
	run(t, "cp", image, copied)
	unmount()
	vol := open(t, copied)
	require.Len(t, vol.Warnings(), 1)
	require.Equal(t, fsys.Stale, vol.Warnings()[0].Concern)
	require.Contains(t, vol.Warnings()[0].Text, "another device")
	require.Empty(t, open(t, image).Warnings()) // clean: nothing is missing

	_, err := openFile(t, log)
	require.ErrorIs(t, err, fsys.ErrUnsupported)
	require.ErrorContains(t, err, "journal_dev")
}

// TestChecksumsOfTheSecondVersion has a journal that debugfs writes: Linux
// makes none of these any more.
func TestChecksumsOfTheSecondVersion(t *testing.T) {
	requireLoop(t)
	for _, features := range []string{"metadata_csum,64bit", "metadata_csum,^64bit"} {
		dir := t.TempDir()
		image, fresh, block := filepath.Join(dir, "image"), filepath.Join(dir, "fresh"), filepath.Join(dir, "block")
		mkfs(t, image, 48<<20, "-t", "ext4", "-b", "4096", "-O", features)
		at, unmount := mount(t, image, "rw")
		tree{t, at}.write("file", make([]byte, 4096))
		unmount()
		vol := open(t, image)
		id, err := vol.NodeAt("file", false)
		require.NoError(t, err)
		data := []byte("\xc0\x3b\x39\x98 now with other content")
		require.NoError(t, os.WriteFile(block, append(data, make([]byte, 4096-len(data))...), 0o600))
		blockOf := debugfs(t, image, "bmap <"+id.String()+"> 0")
		for _, version := range []string{"2", "3"} {
			run(t, "cp", image, fresh)
			script := filepath.Join(dir, "script")
			require.NoError(t, os.WriteFile(script, []byte("jo -c -v "+version+"\njw -b "+blockOf+" "+block+"\njc\n"), 0o600))
			run(t, "debugfs", "-w", "-f", script, fresh)
			vol = open(t, fresh)
			require.Len(t, vol.Warnings(), 1)
			require.Equal(t, fsys.Replayed, vol.Warnings()[0].Concern, vol.Warnings()[0].Text)
			got, err := fs.ReadFile(vol, "file")
			require.NoError(t, err)
			require.Equal(t, string(data), string(got[:len(data)]), "%s, version %s", features, version)
		}
	}
}
