package testvolume

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Names are those of files that Plant makes, besides others: composed and
// decomposed, written from right to left, long, with lower case in one half.
var Names = []string{
	"UPPER.TXT", "lower.txt", "lower.EXT", "UPPER.ext", "MiXed.TxT", "noext", "a.b.c.d", ".hidden", "with  spaces .x", "x~1.txt", "plus+comma,.tar.gz",
	"caf\u00e9.txt", "cafe\u0301 au lait.txt", "\u05e9\u05dc\u05d5\u05dd.txt", "\u96ea\u306e\u65e5.jpg", "zero\u200bwidth", "\u2603 snow man \u2603", "13 letters ok", "26 letters are two pieces.",
	strings.Repeat("n", 200) + ".long", strings.Repeat("\u9577", 80),
}

// Plant makes files in a directory: odd names, sizes around those of clusters,
// times, a directory of many files, and deep ones.
func Plant(tb testing.TB, dir string, many int) {
	tb.Helper()
	for i, name := range Names {
		File(tb, dir, "names/"+strings.TrimSuffix(name, "."), int64(i*37))
	}
	for _, size := range []int64{0, 1, 511, 512, 513, 2047, 2048, 4096, 4097, 32768, 70000, 200001} {
		File(tb, dir, fmt.Sprintf("sizes/%d", size), size)
	}
	for i := range many {
		File(tb, dir, fmt.Sprintf("many/file number %d.txt", i), int64(i%3*100))
	}
	File(tb, dir, "deep/"+strings.Repeat("d/", 20)+"end", 5)
	require.NoError(tb, os.MkdirAll(filepath.Join(dir, "Empty directory"), 0o755))
	for i, when := range []string{"1980-01-01T00:00:00Z", "1999-12-31T23:59:58Z", "2040-02-29T12:34:56Z", "2099-12-31T23:59:58Z"} {
		name := fmt.Sprintf("times/%d", i)
		File(tb, dir, name, 1)
		at, err := time.Parse(time.RFC3339, when)
		require.NoError(tb, err)
		require.NoError(tb, os.Chtimes(filepath.Join(dir, name), at, at))
	}
}

// File makes a file whose content tells its path and place, at an even second.
func File(tb testing.TB, dir, name string, size int64) {
	tb.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	require.NoError(tb, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(tb, os.WriteFile(path, Content(name, size), 0o644))
	h := fnv.New32()
	h.Write([]byte(name))
	at := time.Unix(1_000_000_000+int64(h.Sum32()%500_000_000)*2, 0)
	require.NoError(tb, os.Chtimes(path, at, at))
}

// Content is what File writes: in each sector four bytes, over and over.
func Content(name string, size int64) []byte {
	p := make([]byte, size)
	for off := int64(0); off < size; off += sector {
		h := fnv.New32a()
		fmt.Fprint(h, name, off)
		copy(p[off:min(off+sector, size)], bytes.Repeat(binary.BigEndian.AppendUint32(nil, h.Sum32()), sector/4))
	}
	return p
}
