package catalog_test

import (
	"bytes"
	"encoding/json"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// besides verifies, wants all points to be valid, and returns what was found of a file.
func besides(t *testing.T, c *catalog.Catalog, file string, points int) []catalog.VerifyFinding {
	t.Helper()
	var found []catalog.VerifyFinding
	verdicts := verifyAll(t, c, nil)
	require.Len(t, verdicts, points)
	for _, v := range verdicts {
		require.Equal(t, catalog.Valid, v.Verdict, v.Findings)
		for _, f := range v.Findings {
			require.Equal(t, file, f.File)
			found = append(found, f)
		}
	}
	return found
}

// Xen Orchestra believes the cache: what is wrong with it is found, costs no point its
// verdict, and leads no listing of ours astray.
func TestVerifyNamesACacheThatDoesNotAgree(t *testing.T) {
	_, fsys := newRepository(t, 4)
	c := openCatalog(t, fsys)
	right, err := remote.ReadFile(t.Context(), fsys, cacheFile, 1<<20)
	require.NoError(t, err)
	require.Empty(t, besides(t, c, "", 4))
	encode := func(change func(e map[string]map[string]any)) string {
		e := entries(t, fsys)
		change(e)
		text, err := json.Marshal(e)
		require.NoError(t, err)
		return string(zipped(t, text))
	}
	two := "/" + pointName(2)
	for what, r := range map[string]struct {
		content string
		want    string // in the reason
	}{
		"torn":            {string(right[:len(right)/2]), "not a cache"},
		"empty":           {"", "not a cache"},
		"no gzip":         {"{}", "not a cache"},
		"no object":       {string(zipped(t, []byte(`[1,2]`))), "not a cache"},
		"a flipped bit":   {string(flipped(right)), "not a cache"},
		"a point less":    {encode(func(e map[string]map[string]any) { delete(e, two) }), path.Base(two) + ": Xen Orchestra does not list it"},
		"another size":    {encode(func(e map[string]map[string]any) { e[two]["size"] = 7 }), path.Base(two) + ": it says something else"},
		"another's entry": {encode(func(e map[string]map[string]any) { e[two] = e["/"+pointName(3)] }), path.Base(two) + ": it says something else"},
		"a point more":    {encode(func(e map[string]map[string]any) { e["/"+pointName(9)] = e[two] }), "points that are not there: \"" + path.Base(pointName(9))},
	} {
		require.NoError(t, remote.WriteFile(t.Context(), fsys, cacheFile, []byte(r.content)), what)
		settle(t, fsys)
		found := besides(t, c, cacheFile, 4)
		require.Len(t, found, 1, what)
		require.Equal(t, catalog.Corrupt, found[0].Verdict, what)
		require.Contains(t, found[0].Reason, r.want, what)
		require.Len(t, listPoints(t, c, testVM), 4, what)
		require.NoError(t, remote.WriteFile(t.Context(), fsys, cacheFile, right))
	}
	require.NoError(t, fsys.Remove(t.Context(), cacheFile))
	require.Empty(t, besides(t, c, "", 4), "no cache is right")
}

func flipped(data []byte) []byte {
	data = slices.Clone(data)
	data[len(data)/2] ^= 4
	return data
}

// A VM that somebody changes at the moment may have a cache that is not up to date yet,
// and storage that fails proves nothing.
func TestVerifyDoesNotBlameACacheThatIsBeingChanged(t *testing.T) {
	_, fsys := newRepository(t, 3)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, cacheFile, zipped(t, []byte("{}"))))
	s := lockVM(t, openCatalog(t, fsys), testVM)
	require.Empty(t, besides(t, openCatalog(t, fsys), "", 3))
	require.NoError(t, s.Close(t.Context()))
	require.Len(t, besides(t, openCatalog(t, fsys), cacheFile, 3), 3)

	faulty := remotetest.NewFaulty(fsys)
	c := openCatalog(t, faulty)
	faulty.FailAt(2, syscall.EIO, remotetest.Open) // after immutability.json, or before it
	for _, v := range verifyAll(t, c, nil) {
		for _, f := range v.Findings {
			if f.File == cacheFile && !strings.Contains(f.Reason, "does not list") {
				require.Equal(t, catalog.Unknown, f.Verdict, f.Reason)
			}
		}
	}
}

// A gzip bomb is unpacked no further than the points are long.
func TestVerifyOfABombInTheCacheIsBounded(t *testing.T) {
	_, fsys := newRepository(t, 3)
	var bomb bytes.Buffer
	z, err := gzip.NewWriterLevel(&bomb, gzip.BestCompression)
	require.NoError(t, err)
	zeros := make([]byte, 1<<20)
	for range 512 {
		_, err := z.Write(zeros)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	require.NoError(t, remote.WriteFile(t.Context(), fsys, cacheFile, bomb.Bytes()))
	c := openCatalog(t, fsys)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	found := besides(t, c, cacheFile, 3)
	runtime.ReadMemStats(&after)
	require.Len(t, found, 1)
	require.Equal(t, catalog.Corrupt, found[0].Verdict)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
}

// What says how long backups are guarded is looked at once.
func TestVerifyNamesWhatDoesNotSayHowLongBackupsAreGuarded(t *testing.T) {
	_, fsys := newRepository(t, 2)
	c := openCatalog(t, fsys)
	const name = "immutability.json"
	for _, text := range []string{
		`{"since":1767225600000,"immut`, `[]`, `{}`, ``,
		`{"immutable":true,"duration":86400000}`, `{"since":1767225600000,"immutable":true}`,
		`{"since":1767225600000,"duration":86400000}`, `{"since":0,"immutable":true,"duration":-1}`,
		`{"since":0,"immutable":true,"duration":null}`, `{"since":0,"immutable":"yes","duration":1}`,
		`{"since":0,"immutable":true,"duration":"1d"}`,
	} {
		require.NoError(t, remote.WriteFile(t.Context(), fsys, name, []byte(text)))
		found := besides(t, c, name, 2)
		require.Len(t, found, 1, text)
		require.Equal(t, catalog.Corrupt, found[0].Verdict, text)
		_, err := c.Immutability(t.Context())
		require.ErrorIs(t, err, catalog.ErrImmutability, text)
	}
	for _, text := range []string{
		`{"since":1767225600000,"immutable":true,"duration":86400000}`, `{"since":1767225600000,"immutable":false,"duration":86400000}`,
	} {
		require.NoError(t, remote.WriteFile(t.Context(), fsys, name, []byte(text)))
		require.Empty(t, besides(t, c, "", 2), text)
	}
}
