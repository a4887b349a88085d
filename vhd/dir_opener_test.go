package vhd_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// withLocator adds a parent locator to a file.
func withLocator(file []byte, code string, content []byte) []byte {
	be := binary.BigEndian
	end := len(file) - 512
	sectors := (len(content) + 511) / 512
	padded := make([]byte, sectors*512)
	copy(padded, content)
	out := append(append(bytes.Clone(file[:end]), padded...), file[end:]...)
	for i := range 8 {
		entry := out[512+576+24*i:][:24]
		if be.Uint32(entry) == 0 {
			copy(entry, code)
			be.PutUint32(entry[4:], uint32(sectors*512))
			be.PutUint32(entry[8:], uint32(len(content)))
			be.PutUint64(entry[16:], uint64(end))
			break
		}
	}
	return seal(out)
}

func utf16le(name string, mark bool) []byte {
	var b []byte
	if mark {
		b = append(b, 0xff, 0xfe)
	}
	for _, unit := range utf16.Encode([]rune(name)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}

// family writes a parent and a child whose file names the parent by what name
// makes of the child's bytes, and returns the directory.
func family(tb testing.TB, parentPath, childPath, unicodeName string, name func(child []byte) []byte) vhd.Dir {
	tb.Helper()
	dir := tb.TempDir()
	parent := &spec{typ: vhd.Dynamic, size: 4096, blockSize: 1024, uuid: 1}
	parent.put(2, filled(1, 2))
	child := &spec{typ: vhd.Differencing, size: 4096, blockSize: 1024, uuid: 2, parent: 1, parentName: unicodeName}
	child.put(5, filled(2, 5))
	for path, data := range map[string][]byte{parentPath: parent.encode(), childPath: name(child.encode())} {
		full := filepath.Join(dir, filepath.FromSlash(path))
		require.NoError(tb, os.MkdirAll(filepath.Dir(full), 0o700))
		require.NoError(tb, os.WriteFile(full, data, 0o600))
	}
	return vhd.OSDir(openRoot(tb, dir))
}

func TestParentsAreFoundByEveryKindOfName(t *testing.T) {
	plain := func(f []byte) []byte { return f }
	locator := func(code string, content []byte) func([]byte) []byte {
		return func(f []byte) []byte { return withLocator(f, code, content) }
	}
	const exotic = "Müller 日本 😀 100%.vhd"
	for name, c := range map[string]struct {
		parent, child, unicode string
		name                   func([]byte) []byte
	}{
		"unicode name":                      {"p.vhd", "c.vhd", "p.vhd", plain},
		"unicode name, not ASCII":           {exotic, "c.vhd", exotic, plain},
		"unicode name, in a directory":      {"a/p.vhd", "b/c.vhd", "../a/p.vhd", plain},
		"unicode name with backslashes":     {"a/p.vhd", "c.vhd", `.\a\p.vhd`, plain},
		"unicode name, absolute":            {"d/p.vhd", "d/c.vhd", "/run/sr-mount/1/p.vhd", plain},
		"W2ru":                              {"p.vhd", "c.vhd", "", locator("W2ru", utf16le(`.\p.vhd`, false))},
		"W2ru, not ASCII":                   {exotic, "c.vhd", "", locator("W2ru", utf16le(`.\`+exotic, false))},
		"W2ru with a byte order mark":       {"p.vhd", "c.vhd", "", locator("W2ru", utf16le(`.\p.vhd`, true))},
		"W2ru, in a directory above":        {"p.vhd", "x/c.vhd", "", locator("W2ru", utf16le(`..\p.vhd`, false))},
		"W2ku, relative as libvhd":          {"p.vhd", "c.vhd", "", locator("W2ku", utf16le(`.\p.vhd`, false))},
		"W2ku, absolute":                    {"p.vhd", "c.vhd", "", locator("W2ku", utf16le(`C:\Hyper-V\p.vhd`, false))},
		"W2ku, of a server":                 {"p.vhd", "c.vhd", "", locator("W2ku", utf16le(`\\server\share\p.vhd`, false))},
		"MacX, relative as libvhd":          {"p.vhd", "c.vhd", "", locator("MacX", []byte("file://./p.vhd"))},
		"MacX, absolute":                    {"p.vhd", "c.vhd", "", locator("MacX", []byte("file:///var/run/p.vhd"))},
		"MacX, of this host":                {"p.vhd", "c.vhd", "", locator("MacX", []byte("file://localhost/var/run/p.vhd"))},
		"MacX, not ASCII and not escaped":   {exotic, "c.vhd", "", locator("MacX", []byte("file://./"+exotic))},
		"MacX, escaped":                     {"a b.vhd", "c.vhd", "", locator("MacX", []byte("file://./a%20b.vhd"))},
		"MacX, what only looks escaped":     {"a%20b.vhd", "c.vhd", "", locator("MacX", []byte("file://./a%20b.vhd"))},
		"MacX ended by a NUL":               {"p.vhd", "c.vhd", "", locator("MacX", []byte("file://./p.vhd\x00"))},
		"a wrong name before the right one": {"p.vhd", "c.vhd", "c.vhd", locator("W2ru", utf16le(`.\p.vhd`, false))},
	} {
		t.Run(name, func(t *testing.T) {
			chain, err := vhd.OpenDirChain(t.Context(), family(t, c.parent, c.child, c.unicode, c.name), c.child, nil)
			require.NoError(t, err)
			require.Len(t, chain.Links(), 2)
			require.Equal(t, filled(1, 2), readAll(t, chain)[1024:1536])
			require.NoError(t, chain.Close())
		})
	}
}

func TestCandidatesOfOtherDisksArePassedOver(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	child := &spec{typ: vhd.Differencing, size: 4096, blockSize: 1024, uuid: 2, parent: 1, parentName: "other.vhd"}
	write("c.vhd", withLocator(withLocator(child.encode(), "W2ru", utf16le(`.\broken.vhd`, false)), "W2ku", utf16le(`.\p.vhd`, false)))
	write("other.vhd", (&spec{typ: vhd.Dynamic, size: 4096, blockSize: 1024, uuid: 7}).encode())
	write("broken.vhd", make([]byte, 4096))
	parent := (&spec{typ: vhd.Dynamic, size: 4096, blockSize: 1024, uuid: 1}).encode()
	write("p.vhd", parent)
	root := vhd.OSDir(openRoot(t, dir))
	chain, err := vhd.OpenDirChain(t.Context(), root, "c.vhd", nil)
	require.NoError(t, err)
	require.Equal(t, "p.vhd", chain.Links()[1].Name())
	require.NoError(t, chain.Close())

	require.NoError(t, os.Remove(filepath.Join(dir, "p.vhd")))
	_, err = vhd.OpenDirChain(t.Context(), root, "c.vhd", nil)
	require.ErrorIs(t, err, vhd.ErrParentMismatch)
	require.NoError(t, os.Remove(filepath.Join(dir, "other.vhd")))
	_, err = vhd.OpenDirChain(t.Context(), root, "c.vhd", nil)
	require.ErrorIs(t, err, vhd.ErrNotVHD)
	require.NoError(t, os.Remove(filepath.Join(dir, "broken.vhd")))
	_, err = vhd.OpenDirChain(t.Context(), root, "c.vhd", nil)
	require.ErrorIs(t, err, vhd.ErrParentNotFound)
}

func TestParentPathsStayInsideTheDirectory(t *testing.T) {
	outside := t.TempDir()
	parent := (&spec{typ: vhd.Dynamic, size: 4096, blockSize: 1024, uuid: 1}).encode()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "p.vhd"), parent, 0o600))
	inside := filepath.Join(outside, "repository")
	require.NoError(t, os.Mkdir(inside, 0o700))
	require.NoError(t, os.Symlink(filepath.Join(outside, "p.vhd"), filepath.Join(inside, "link.vhd")))
	root := vhd.OSDir(openRoot(t, inside))
	for name, parentName := range map[string]string{
		"above":        "../p.vhd",
		"far above":    "../../../../../../etc/passwd",
		"absolute":     filepath.ToSlash(filepath.Join(outside, "p.vhd")),
		"drive":        `C:\p.vhd`,
		"server":       `\\server\share\p.vhd`,
		"itself":       "c.vhd",
		"here":         ".",
		"link":         "link.vhd",
		"stream":       "p.vhd:stream",
		"control code": "p\x01.vhd",
		"nothing":      "",
		"half a pair":  "\ufffd.vhd",
	} {
		t.Run(name, func(t *testing.T) {
			child := &spec{typ: vhd.Differencing, size: 4096, blockSize: 1024, uuid: 2, parent: 1, parentName: parentName}
			require.NoError(t, os.WriteFile(filepath.Join(inside, "c.vhd"), child.encode(), 0o600))
			_, err := vhd.OpenDirChain(t.Context(), root, "c.vhd", nil)
			require.Error(t, err)
		})
	}
}

func TestRawFileIsTheBaseOfAChainThatAsksForNoUUID(t *testing.T) {
	dir := t.TempDir()
	raw := bytes.Repeat([]byte("raw disk "), 300) // neither whole sectors nor blocks
	require.NoError(t, os.WriteFile(filepath.Join(dir, "base.raw"), raw, 0o600))
	child := &spec{typ: vhd.Differencing, size: 8192, blockSize: 1024, uuid: 2, parent: 0, parentName: "base.raw"}
	child.put(1, filled(2, 1))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "c.vhd"), child.encode(), 0o600))
	root := vhd.OSDir(openRoot(t, dir))
	chain, err := vhd.OpenDirChain(t.Context(), root, "c.vhd", nil)
	require.NoError(t, err)
	want := make([]byte, 8192)
	copy(want, raw)
	copy(want[512:], filled(2, 1))
	require.True(t, bytes.Equal(want, readAll(t, chain)))
	require.NoError(t, chain.Close())

	// A file that is a VHD is no raw disk, whatever the child says.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "base.raw"), (&spec{typ: vhd.Dynamic, size: 8192, blockSize: 1024, uuid: 9}).encode(), 0o600))
	_, err = vhd.OpenDirChain(t.Context(), root, "c.vhd", nil)
	require.ErrorIs(t, err, vhd.ErrParentMismatch)
}
