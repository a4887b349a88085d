package ext_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// manifest is what a volume holds, by path of raw names, hexadecimal where
// they are no UTF-8. Those in testdata were taken from Linux.
type manifest map[string]described

type described struct {
	Mode       uint32 // as stat(2) has it
	Size       int64
	UID, GID   uint32
	Links      uint32
	Device     [2]uint32         `json:",omitzero"`
	Times      [4][2]int64       // modified, accessed, changed, created: seconds, nanoseconds
	Link       string            `json:",omitempty"` // escaped
	Xattrs     map[string]string `json:",omitempty"` // hexadecimal
	SHA256     string            `json:",omitempty"`
	DataRanges [][2]int64        `json:",omitempty"` // offset and end of what is neither hole nor reserved
}

// read makes the manifest of a volume, and counts what Walk could not read.
func read(tb testing.TB, vol fsys.Nodes) manifest {
	tb.Helper()
	m := make(manifest)
	info, err := vol.StatNode(vol.Root())
	require.NoError(tb, err)
	m["."] = describe(tb, vol, info)
	for item, err := range fsys.Walk(tb.Context(), vol, vol.Root(), nil) {
		require.NoError(tb, err, item.Path)
		require.Equal(tb, item.Info.Mode.Type(), item.Entry.Type, item.Path)
		_, twice := m[key(item.Path)]
		require.False(tb, twice, item.Path)
		m[key(item.Path)] = describe(tb, vol, item.Info)
	}
	return m
}

func describe(tb testing.TB, vol fsys.Nodes, i fsys.Info) described {
	tb.Helper()
	d := described{Mode: unixMode(i.Mode), Size: i.Size, UID: i.UID, GID: i.GID, Links: i.Links, Device: [2]uint32{i.Major, i.Minor}}
	for k, at := range []time.Time{i.Modified, i.Accessed, i.Changed, i.Created} {
		if !at.IsZero() {
			d.Times[k] = [2]int64{at.Unix(), int64(at.Nanosecond())}
		}
	}
	xattrs, err := vol.Xattrs(i.Node)
	require.NoError(tb, err)
	for name, value := range xattrs {
		if d.Xattrs == nil {
			d.Xattrs = make(map[string]string)
		}
		d.Xattrs[name] = hex.EncodeToString(value)
	}
	switch {
	case i.Mode.IsRegular():
		d.SHA256, d.DataRanges = content(tb, vol, i.Node)
	case i.Mode&fs.ModeSymlink != 0:
		target, err := vol.ReadLinkNode(i.Node)
		require.NoError(tb, err)
		d.Link = key(target)
	}
	return d
}

// wholeSize is the size up to which all of a file is in its hash; of larger
// ones it is what is data.
const wholeSize = 64 << 20

func content(tb testing.TB, vol fsys.Nodes, id fsys.NodeID) (sum string, ranges [][2]int64) {
	tb.Helper()
	f, err := vol.OpenNode(id)
	require.NoError(tb, err)
	h := sha256.New()
	if f.Size() <= wholeSize {
		n, err := io.Copy(h, f)
		require.NoError(tb, err)
		require.Equal(tb, f.Size(), n)
	}
	end := int64(0)
	for e, err := range f.Extents(context.Background(), 0, f.Size()) {
		require.NoError(tb, err)
		require.Equal(tb, end, e.Off)
		end = e.End()
		if e.Kind == disk.Data {
			ranges = append(ranges, [2]int64{e.Off, e.End()})
			if f.Size() > wholeSize {
				_, err := io.Copy(h, io.NewSectionReader(f, e.Off, e.Len))
				require.NoError(tb, err)
			}
		}
	}
	require.Equal(tb, f.Size(), end)
	return hex.EncodeToString(h.Sum(nil)), ranges
}

// key makes a string of bytes that JSON keeps.
func key(raw string) string {
	out := fsys.Escape(raw)
	if raw == "" || raw == "." || raw == ".." {
		return raw
	}
	return out
}

// unixMode is the st_mode of a mode.
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for _, bit := range []struct {
		mode fs.FileMode
		unix uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&bit.mode != 0 {
			mode |= bit.unix
		}
	}
	return mode | map[fs.FileMode]uint32{
		0: 0x8000, fs.ModeDir: 0x4000, fs.ModeSymlink: 0xA000, fs.ModeNamedPipe: 0x1000, fs.ModeSocket: 0xC000,
		fs.ModeDevice: 0x6000, fs.ModeDevice | fs.ModeCharDevice: 0x2000,
	}[m.Type()]
}

// withoutRecovery forgets what Linux makes up where it recovers from fast
// commits: directories change at that time, and new ones have one link.
func withoutRecovery(m manifest) manifest {
	for name, d := range m {
		if d.Mode&0xF000 == 0x4000 {
			d.Links, d.Times[0], d.Times[2] = 0, [2]int64{}, [2]int64{}
			m[name] = d
		}
	}
	return m
}
