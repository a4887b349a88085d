package ext_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xenbackup/xenbackup/internal/testenv"
)

// requireLoop skips where images cannot be mounted.
func requireLoop(tb testing.TB) {
	tb.Helper()
	testenv.Require(tb, "mkfs.ext4")
	testenv.Require(tb, "mount")
	if os.Getuid() != 0 {
		testenv.Missing(tb, "mounting images needs root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		testenv.Missing(tb, "no loop devices: %v", err)
	}
}

func run(tb testing.TB, name string, args ...string) {
	tb.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(tb.Context(), name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(tb, cmd.Run(), "%s %s: %s", name, strings.Join(args, " "), out.String())
}

// mount mounts an image until the function returned is called, or the test ends.
func mount(tb testing.TB, image, options string) (dir string, unmount func()) {
	tb.Helper()
	dir = tb.TempDir()
	run(tb, "mount", "-t", "ext4", "-o", "loop,"+options, image, dir)
	mounted := true
	unmount = func() {
		if mounted {
			mounted = false
			require.NoError(tb, exec.Command("umount", dir).Run()) //nolint:noctx // also when the test's context has ended
		}
	}
	tb.Cleanup(unmount)
	return dir, unmount
}

// kernelManifest is what Linux says of a mounted directory.
func kernelManifest(tb testing.TB, dir string) manifest {
	tb.Helper()
	m := make(manifest)
	require.NoError(tb, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		m[key(name)], err = kernelDescribe(path)
		return err
	}))
	return m
}

func kernelDescribe(path string) (described, error) {
	var s unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_ALL, &s); err != nil {
		return described{}, fmt.Errorf("statx %s: %w", path, err)
	}
	d := described{Mode: uint32(s.Mode), Size: int64(s.Size), UID: s.Uid, GID: s.Gid, Links: s.Nlink, Device: [2]uint32{s.Rdev_major, s.Rdev_minor}}
	for i, at := range []unix.StatxTimestamp{s.Mtime, s.Atime, s.Ctime, s.Btime} {
		d.Times[i] = [2]int64{at.Sec, int64(at.Nsec)}
	}
	var err error
	if d.Xattrs, err = kernelXattrs(path); err != nil {
		return d, fmt.Errorf("xattrs of %s: %w", path, err)
	}
	switch d.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		d.SHA256, d.DataRanges, err = kernelContent(path)
	case unix.S_IFLNK:
		d.Link, err = os.Readlink(path)
		d.Link = key(d.Link)
	}
	return d, err
}

func kernelXattrs(path string) (map[string]string, error) {
	n, err := unix.Llistxattr(path, nil)
	if err != nil || n == 0 {
		return nil, err
	}
	list := make([]byte, n)
	if n, err = unix.Llistxattr(path, list); err != nil {
		return nil, err
	}
	out := make(map[string]string)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, err
		}
		out[name] = hex.EncodeToString(value[:n])
	}
	return out, nil
}

func kernelContent(path string) (sum string, ranges [][2]int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	s, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	h := sha256.New()
	for end := int64(0); ; { // before anything is read: what is cached counts as data
		start, err := unix.Seek(int(f.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return "", nil, err
		}
		if end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE); err != nil {
			return "", nil, err
		}
		ranges = append(ranges, [2]int64{start, end})
	}
	hashed := ranges
	if s.Size() <= wholeSize {
		hashed = [][2]int64{{0, s.Size()}}
	}
	for _, r := range hashed {
		if _, err := io.Copy(h, io.NewSectionReader(f, r[0], r[1]-r[0])); err != nil {
			return "", nil, err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), ranges, nil
}

// loop makes a device of a file until the test ends.
func loop(tb testing.TB, image string) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), "losetup", "--find", "--show", image).Output()
	require.NoError(tb, err)
	device := strings.TrimSpace(string(out))
	tb.Cleanup(func() {
		require.NoError(tb, exec.Command("losetup", "--detach", device).Run()) //nolint:noctx // also when the test's context has ended
	})
	return device
}

// debugfs returns what a request to debugfs prints.
func debugfs(tb testing.TB, image, request string) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), testenv.Require(tb, "debugfs"), "-R", request, image).Output()
	require.NoError(tb, err)
	return strings.TrimSpace(string(out))
}
