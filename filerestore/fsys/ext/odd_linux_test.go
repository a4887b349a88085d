package ext_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/internal/testenv"
)

// TestWhatLinuxCannotMountHereIsRead has volumes that mke2fs fills itself: large
// blocks need large pages, and folding of case, quota and verity are not in every
// Linux.
func TestWhatLinuxCannotMountHereIsRead(t *testing.T) {
	testenv.Require(t, "mke2fs")
	for name, args := range map[string][]string{
		"64k":      {"-t", "ext4", "-b", "65536"},
		"32k-ext2": {"-t", "ext2", "-b", "32768"},
		"casefold": {"-t", "ext4", "-O", "casefold"},
		"quota":    {"-t", "ext4", "-I", "256", "-O", "quota,project,mmp"},
		"verity":   {"-t", "ext4", "-O", "verity,stable_inodes"},
	} {
		t.Run(name, func(t *testing.T) {
			source, image := t.TempDir(), filepath.Join(t.TempDir(), "image")
			want := map[string]string{}
			for i := range 3000 {
				file := fmt.Sprintf("dir-%d/file-%d-with-a-long-name", i%3, i)
				want[file] = string(bytes.Repeat([]byte(file), i%50))
				require.NoError(t, os.MkdirAll(filepath.Join(source, filepath.Dir(file)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(source, file), []byte(want[file]), 0o600))
			}
			mkfs(t, image, 256<<20, append(args, "-d", source)...)
			if name == "verity" { // its hashes would be behind the content
				run(t, "debugfs", "-w", "-R", "set_inode_field /dir-1/file-1-with-a-long-name flags 0x180000", image)
			}
			vol := open(t, image)
			got := map[string]string{}
			require.NoError(t, fs.WalkDir(vol, ".", func(path string, d fs.DirEntry, err error) error {
				require.NoError(t, err)
				if d.Type().IsRegular() {
					data, err := fs.ReadFile(vol, path)
					require.NoError(t, err)
					got[path] = string(data)
				}
				return nil
			}))
			require.Equal(t, want, got)
		})
	}
}

func TestEncryptedFilesAreTypedAndOthersAreRead(t *testing.T) {
	requireLoop(t)
	image := filepath.Join(t.TempDir(), "image")
	mkfs(t, image, 48<<20, "-t", "ext4", "-O", "encrypt")
	at, unmount := mount(t, image, "rw")
	w := tree{t, at}
	w.mkdir("secret")
	w.write("plain", []byte("for all"))
	encrypt(t, at, w.path("secret"))
	w.write("secret/file", []byte("for few"))
	require.NoError(t, os.Symlink("file", w.path("secret/link")))
	var s unix.Stat_t
	require.NoError(t, unix.Stat(w.path("secret/file"), &s))
	unmount()

	vol := open(t, image)
	data, err := fs.ReadFile(vol, "plain")
	require.NoError(t, err)
	require.Equal(t, "for all", string(data))
	_, err = vol.ReadDir("secret")
	require.ErrorIs(t, err, fsys.ErrEncrypted)
	_, err = vol.Stat("secret/file")
	require.ErrorIs(t, err, fsys.ErrEncrypted)
	info, err := vol.StatNode(fsys.NodeID{Number: s.Ino})
	require.NoError(t, err)
	require.Equal(t, int64(7), info.Size)
	_, err = vol.OpenNode(info.Node)
	require.ErrorIs(t, err, fsys.ErrEncrypted)
}

// encrypt sets a policy on an empty directory, with a key of zeros.
func encrypt(t *testing.T, mounted, dir string) {
	t.Helper()
	const addKey, setPolicy = 0xc0506617, 0x800c6613
	var key struct {
		spec struct {
			kind, reserved uint32
			id             [32]byte
		}
		size, id uint32
		reserved [8]uint32
		raw      [64]byte
	}
	key.spec.kind, key.size = 2, 64
	policy := struct {
		version, contents, filenames, flags byte
		reserved                            [4]byte
		id                                  [16]byte
	}{version: 2, contents: 1, filenames: 4, flags: 3}
	ioctl(t, mounted, addKey, unsafe.Pointer(&key))
	copy(policy.id[:], key.spec.id[:16])
	ioctl(t, dir, setPolicy, unsafe.Pointer(&policy))
}

func ioctl(t *testing.T, path string, request uintptr, arg unsafe.Pointer) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg)); e != 0 {
		testenv.Missing(t, "this Linux does not encrypt: %v", e)
	}
}
