package ext_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// tree fills a mounted directory with what file systems find hard.
type tree struct {
	t   testing.TB
	dir string
}

func (w tree) path(name string) string { return filepath.Join(w.dir, name) }

func (w tree) mkdir(name string) {
	w.t.Helper()
	require.NoError(w.t, os.MkdirAll(w.path(name), 0o755))
}

func (w tree) write(name string, data []byte) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(w.path(name), data, 0o644))
}

// pieces writes parts of a file at offsets, in the order given.
func (w tree) pieces(name string, size int64, offsets []int64, piece []byte) {
	w.t.Helper()
	f, err := os.Create(w.path(name))
	require.NoError(w.t, err)
	for _, off := range offsets {
		_, err := f.WriteAt(piece, off)
		require.NoError(w.t, err)
	}
	require.NoError(w.t, f.Truncate(size))
	require.NoError(w.t, f.Close())
}

func (w tree) xattr(name, attr string, value []byte) {
	w.t.Helper()
	require.NoError(w.t, unix.Lsetxattr(w.path(name), attr, value, 0), "%s %s", name, attr)
}

func (w tree) times(name string, accessed, modified unix.Timespec) {
	w.t.Helper()
	require.NoError(w.t, unix.UtimesNanoAt(unix.AT_FDCWD, w.path(name), []unix.Timespec{accessed, modified}, unix.AT_SYMLINK_NOFOLLOW))
}

// populate makes the tree; names counts the entries of its large directory,
// big is the size of its largest file.
func populate(tb testing.TB, dir string, names int, big int64) {
	tb.Helper()
	w := tree{tb, dir}
	w.names()
	w.links()
	w.sparse(big)
	w.attributes()
	w.special()
	w.large(names)
	unix.Sync()
}

func (w tree) names() {
	for i, name := range []string{
		"NFC-\u00e9", "NFD-e\u0301", "rtl-\u05d0\u202e", "emoji-\U0001F600", "zero-\u200b", "line\nbreak", `back\slash`, `C:\x`, `..\..\x`,
		"bad-\xff\xfe", "100%", "%41", " ", "...", strings.Repeat("n", 255), strings.Repeat("\u00e9", 127), "-rf", "tab\t",
	} {
		w.write(name, fmt.Appendf(nil, "file %d", i))
	}
	deep := "deep"
	for i := range 40 {
		w.mkdir(deep)
		w.write(deep+"/f", bytes.Repeat([]byte{byte(i)}, i*7))
		deep += "/d"
	}
	w.write("empty", nil)
	for _, n := range []int{1, 59, 60, 61, 100, 150, 200, 1023, 1024, 1025, 4096, 4097} { // in the inode or not
		w.write(fmt.Sprintf("size-%d", n), bytes.Repeat([]byte("s"), n))
	}
}

func (w tree) links() {
	w.mkdir("links")
	w.write("links/first", []byte("hard"))
	for i := range 30 {
		require.NoError(w.t, os.Link(w.path("links/first"), w.path(fmt.Sprintf("links/hard-%d", i))))
	}
	for _, n := range []int{1, 58, 59, 60, 61, 150, 1000} {
		require.NoError(w.t, os.Symlink(strings.Repeat("t", n), w.path(fmt.Sprintf("links/to-%d", n))))
	}
	for name, target := range map[string]string{
		"loop": "loop", "escape": "../../../../etc/passwd", "absolute": "/links/first", "dir": "../deep/d", "bad": "x\xff", "good": "first",
	} {
		require.NoError(w.t, os.Symlink(target, w.path("links/"+name)))
	}
}

func (w tree) sparse(big int64) {
	r := rand.New(rand.NewPCG(1, 2))
	w.mkdir("sparse")
	w.pieces("sparse/hole", 5<<20, nil, nil)
	w.pieces("sparse/far", 3<<30, []int64{0, 1 << 20, 1<<31 + 4096, 3<<30 - 8192}, []byte("far away"))
	var offsets []int64
	for i := range int64(300) {
		offsets = append(offsets, i*3*4096)
	}
	w.pieces("sparse/many", 300*3*4096, offsets, bytes.Repeat([]byte("m"), 4096))
	offsets = nil
	for off := int64(0); off+16<<10 <= big; off += 16 << 10 {
		offsets = append(offsets, off)
	}
	r.Shuffle(len(offsets), func(i, j int) { offsets[i], offsets[j] = offsets[j], offsets[i] })
	f, err := os.Create(w.path("sparse/shuffled"))
	require.NoError(w.t, err)
	for _, off := range offsets {
		_, err := f.WriteAt(bytes.Repeat([]byte{byte(off >> 14)}, 16<<10), off)
		require.NoError(w.t, err)
	}
	require.NoError(w.t, f.Close())
	f, err = os.Create(w.path("sparse/reserved"))
	require.NoError(w.t, err)
	if err := unix.Fallocate(int(f.Fd()), 0, 0, 256<<10); !errors.Is(err, unix.EOPNOTSUPP) { // block maps cannot
		require.NoError(w.t, err)
		_, err = f.WriteAt([]byte("in the middle"), 100<<10)
		require.NoError(w.t, err)
	}
	require.NoError(w.t, f.Close())
}

func (w tree) attributes() {
	w.mkdir("attr")
	for i, n := range []int{0, 1, 40, 300, 900} {
		name := fmt.Sprintf("attr/%d", n)
		w.write(name, bytes.Repeat([]byte("a"), 30*i))
		w.xattr(name, "user.small", bytes.Repeat([]byte("v"), n))
		w.xattr(name, "trusted.t", []byte("trust"))
	}
	w.write("attr/huge", nil)
	if err := unix.Lsetxattr(w.path("attr/huge"), "user.huge", bytes.Repeat([]byte("huge"), 5000), 0); !errors.Is(err, unix.ENOSPC) { // ea_inode alone can
		require.NoError(w.t, err)
	}
	w.write("attr/cap", nil)
	w.xattr("attr/cap", "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	w.write("attr/label", nil)
	w.xattr("attr/label", "security.selinux", []byte("system_u:object_r:etc_t:s0\x00"))
	acl := []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x08\x00\x05\x00\x64\x00\x00\x00\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff")
	w.write("attr/acl", []byte("acl"))
	w.xattr("attr/acl", "system.posix_acl_access", acl)
	w.mkdir("attr/acldir")
	w.xattr("attr/acldir", "system.posix_acl_default", acl)
	w.write("attr/acldir/inherits", nil)
	for i, s := range []int64{-315619200, -1, 0, 2147483647, 2147483648, 4294967296, 7258118400} { // 1960 to 2200
		name := fmt.Sprintf("attr/time-%d", i)
		w.write(name, nil)
		w.times(name, unix.Timespec{Sec: s, Nsec: 999999999}, unix.Timespec{Sec: s, Nsec: 123456789})
	}
	for i, mode := range []uint32{0o4755, 0o2755, 0o1777, 0, 0o777} {
		name := fmt.Sprintf("attr/mode-%d", i)
		w.write(name, nil)
		require.NoError(w.t, os.Chown(w.path(name), 100000+i, 200000+i))
		require.NoError(w.t, unix.Chmod(w.path(name), mode))
	}
}

func (w tree) special() {
	w.mkdir("special")
	for name, node := range map[string]struct {
		mode uint32
		dev  uint64
	}{
		"fifo": {unix.S_IFIFO | 0o644, 0}, "socket": {unix.S_IFSOCK | 0o755, 0}, "null": {unix.S_IFCHR | 0o666, unix.Mkdev(1, 3)},
		"block": {unix.S_IFBLK | 0o660, unix.Mkdev(8, 17)}, "wide": {unix.S_IFCHR | 0o600, unix.Mkdev(300, 70000)},
	} {
		require.NoError(w.t, unix.Mknod(w.path("special/"+name), node.mode, int(node.dev)))
	}
}

// large makes a directory of several levels of hash tree, with holes.
func (w tree) large(names int) {
	w.mkdir("large")
	for i := range names {
		require.NoError(w.t, os.Link(w.path("empty"), w.path(fmt.Sprintf("large/%05d-%s", i, strings.Repeat("x", i%90)))))
	}
	for i := 0; i < names; i += 3 {
		require.NoError(w.t, os.Remove(w.path(fmt.Sprintf("large/%05d-%s", i, strings.Repeat("x", i%90)))))
	}
}
