package ext_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
	"github.com/xenbackup/xenbackup/internal/testenv"
)

func TestJournalsOnOtherDevicesAreReplayedOrWarnedOf(t *testing.T) {
	requireLoop(t)
	for _, blockSize := range []string{"1024", "4096"} {
		t.Run(blockSize, func(t *testing.T) { testJournalDevice(t, blockSize) })
	}
}

func testJournalDevice(t *testing.T, blockSize string) {
	t.Helper()
	be := binary.BigEndian
	dir := t.TempDir()
	image, log := filepath.Join(dir, "image"), filepath.Join(dir, "log")
	copied, copiedLog := filepath.Join(dir, "copy"), filepath.Join(dir, "copy of the log")
	require.NoError(t, os.WriteFile(log, nil, 0o600))
	require.NoError(t, os.Truncate(log, 8<<20))
	run(t, "mke2fs", "-q", "-F", "-b", blockSize, "-O", "journal_dev", log)
	device := loop(t, log)
	mkfs(t, image, 48<<20, "-t", "ext4", "-b", blockSize, "-J", "device="+device)
	at, unmount := mount(t, image, "rw")
	opened := burst(t, at, 6)
	run(t, "cp", image, copied)
	run(t, "cp", device, copiedLog)
	require.NoError(t, opened.Close())
	unmount()

	raw, err := os.ReadFile(copiedLog)
	require.NoError(t, err)
	f, err := os.Open(copied)
	require.NoError(t, err)
	defer f.Close()
	asked := ""
	vol, err := ext.Open(t.Context(), f, 48<<20, &ext.Options{Journal: func(uuid string) (io.ReaderAt, int64, bool) {
		asked = uuid
		return bytes.NewReader(raw), int64(len(raw)), true
	}})
	require.NoError(t, err)
	got := read(t, vol)
	require.Len(t, vol.Warnings(), 1)
	require.Equal(t, fsys.Replayed, vol.Warnings()[0].Concern)
	require.Equal(t, journalUUID(t, log), asked)

	vol = open(t, copied)
	require.Len(t, vol.Warnings(), 1)
	require.Equal(t, fsys.Stale, vol.Warnings()[0].Concern)
	require.Contains(t, vol.Warnings()[0].Text, "another device")
	require.Empty(t, open(t, image).Warnings()) // clean: nothing is missing

	// Linux recovers with the copies in place of what they were made of.
	run(t, "cp", copied, image)
	run(t, "dd", "if="+copiedLog, "of="+device, "bs=1M", "status=none")
	_, unmount = mount(t, image, "rw")
	unmount()
	at, unmount = mount(t, image, "ro")
	require.Empty(t, cmp.Diff(kernelManifest(t, at), got))
	unmount()

	_, err = openFile(t, log)
	require.ErrorIs(t, err, fsys.ErrUnsupported)
	require.ErrorContains(t, err, "journal_dev")
	vol, err = ext.Open(t.Context(), f, 48<<20, &ext.Options{Journal: func(string) (io.ReaderAt, int64, bool) {
		return bytes.NewReader(raw[:4096]), 4096, true
	}})
	require.NoError(t, err)
	require.Equal(t, fsys.Stale, vol.Warnings()[0].Concern)

	super := 2048 // of the log
	if blockSize == "4096" {
		super = 4096
	}
	for name, change := range map[string]int{"of several volumes": super + 0x43, "of another volume": super + 0x100} {
		shared := bytes.Clone(raw)
		shared[change] ^= 2
		if seal := shared[super:][:1024]; be.Uint32(seal[0x28:])&0x18 != 0 {
			clear(seal[0xFC:0x100])
			be.PutUint32(seal[0xFC:], ^crc32.Checksum(seal, crc32.MakeTable(crc32.Castagnoli)))
		}
		vol, err = ext.Open(t.Context(), f, 48<<20, &ext.Options{Journal: func(string) (io.ReaderAt, int64, bool) {
			return bytes.NewReader(shared), int64(len(shared)), true
		}})
		require.NoError(t, err)
		require.Len(t, vol.Warnings(), 1)
		require.Equal(t, fsys.Stale, vol.Warnings()[0].Concern, name)
		require.Contains(t, vol.Warnings()[0].Text, "journal of ", name)
	}
}

func journalUUID(t *testing.T, device string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), testenv.Require(t, "blkid"), "-p", "-o", "value", "-s", "LOGUUID", device).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
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
