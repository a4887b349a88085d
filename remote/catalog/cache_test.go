package catalog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

const cacheFile = testVMDir + "/cache.json.gz"

func caches(t *testing.T, fsys remote.Filesystem) []string {
	t.Helper()
	var names []string
	require.NoError(t, walk(t.Context(), fsys, "xo-vm-backups", func(name string) {
		if path.Base(name) == "cache.json.gz" {
			names = append(names, name)
		}
	}))
	return names
}

// settle gives the caches a time well after that of the files.
func settle(t *testing.T, fsys remote.Filesystem) {
	t.Helper()
	toucher, ok := remote.As[remote.Toucher](fsys)
	require.True(t, ok)
	for _, name := range caches(t, fsys) {
		require.NoError(t, toucher.Touch(t.Context(), name, time.Now().Add(time.Hour)))
	}
}

// encodeCache makes a cache as Xen Orchestra does when it lists.
func encodeCache(t *testing.T, entries map[string]json.RawMessage) []byte {
	t.Helper()
	content, err := json.Marshal(entries)
	require.NoError(t, err)
	return zipped(t, content)
}

func zipped(tb testing.TB, content []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(content)
	require.NoError(tb, err)
	require.NoError(tb, z.Close())
	return out.Bytes()
}

// entries are what the cache of the test's VM holds.
func entries(t *testing.T, fsys remote.Filesystem) map[string]map[string]any {
	t.Helper()
	packed, err := remote.ReadFile(t.Context(), fsys, cacheFile, 1<<20)
	require.NoError(t, err)
	z, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	var e map[string]map[string]any
	require.NoError(t, json.NewDecoder(z).Decode(&e))
	return e
}

// The caches that Xen Orchestra wrote are used, and say what the files say.
func TestCachesOfXenOrchestraAreUsed(t *testing.T) {
	for name, repo := range map[string]*testenv.Repository{
		"plain": testenv.Golden(t), "encrypted": testenv.GoldenEncrypted(t),
	} {
		fsys := localFS(t, repo.Dir)
		faulty := remotetest.NewFaulty(fsys)
		opts := &catalog.Options{}
		if name == "encrypted" {
			opts.Key = testenv.GoldenKey
		}
		c, err := catalog.Open(t.Context(), faulty, opts)
		require.NoError(t, err)
		list := func() (points []*catalog.Point, opened int) {
			before := faulty.Count(remotetest.Open)
			for p, err := range c.Find(t.Context(), nil) {
				require.NoError(t, err)
				points = append(points, p)
			}
			return points, faulty.Count(remotetest.Open) - before
		}
		settle(t, fsys)
		cached, few := list()
		for _, name := range caches(t, fsys) {
			require.NoError(t, fsys.Remove(t.Context(), name))
		}
		read, many := list()
		require.Empty(t, cmp.Diff(read, cached))
		require.Len(t, repo.Backups, len(read))
		require.Less(t, few, many, name)
		t.Logf("%s: %d points, %d files opened with the caches, %d without", name, len(read), few, many)
	}
}

// However a cache came to be wrong, the listing is that of the files.
func TestCacheNeverLies(t *testing.T) {
	m, base := newRepository(t, 4)
	want, err := m.check(t.Context(), base)
	require.NoError(t, err)
	right := map[string]json.RawMessage{}
	for n := 1; n <= 4; n++ {
		data, err := remote.ReadFile(t.Context(), base, pointName(n), 1<<20)
		require.NoError(t, err)
		key := "/" + pointName(n)
		right[key] = fmt.Appendf(bytes.TrimSuffix(data, []byte("}")), `,"_filename":%q,"isImmutable":false,"id":%q}`, key, key)
	}
	change := func(edit func(map[string]json.RawMessage)) []byte {
		wrong := maps.Clone(right)
		edit(wrong)
		return encodeCache(t, wrong)
	}
	first := "/" + pointName(1)
	for what, packed := range map[string][]byte{
		"right":           encodeCache(t, right),
		"one too few":     change(func(e map[string]json.RawMessage) { delete(e, first) }),
		"one too many":    change(func(e map[string]json.RawMessage) { e["/"+pointName(9)] = e[first] }),
		"another's entry": change(func(e map[string]json.RawMessage) { e[first] = json.RawMessage(`{}`) }),
		"longer": change(func(e map[string]json.RawMessage) {
			e[first] = append(e[first][:len(e[first])-1:len(e[first])-1], `,"size":9}`...)
		}),
		"not an object":      zipped(t, []byte(`[1]`)),
		"cut":                zipped(t, []byte(`{"/xo-vm-backups/x/20260301T010000Z.json":{"mode":"delta"`)),
		"empty":              {},
		"not gzip":           []byte("hello"),
		"torn":               encodeCache(t, right)[:100],
		"keys of elsewhere":  zipped(t, []byte(`{"../../x.json":{},"\u0000":1,"":{}}`)),
		"a bomb":             zipped(t, make([]byte, 64<<20)),
		"a bomb of brackets": zipped(t, []byte(`{"a":`+strings.Repeat("[", 1<<20))),
	} {
		fsys := durable(base)
		require.NoError(t, remote.WriteFile(t.Context(), fsys, cacheFile, packed))
		settle(t, fsys)
		got, err := m.check(t.Context(), fsys)
		require.NoError(t, err, what)
		require.Equal(t, want, got, what)
	}
}

// A file that was changed after the cache was written, or about then, is read.
func TestCacheIsOlderThanTheFile(t *testing.T) {
	m, fsys := newRepository(t, 4)
	require.NoError(t, fsys.Touch(t.Context(), cacheFile, time.Now().Add(-time.Hour)))
	for n := 1; n <= 4; n++ {
		data, err := remote.ReadFile(t.Context(), fsys, pointName(n), 1<<20)
		require.NoError(t, err)
		same := bytes.Replace(data, []byte(`"name_label":"web"`), []byte(`"name_label":"new"`), 1)
		require.Len(t, same, len(data))
		require.NoError(t, remote.WriteFile(t.Context(), fsys, pointName(n), same))
	}
	points := listPoints(t, openCatalog(t, fsys), testVM)
	require.Len(t, points, 4)
	for _, p := range points {
		require.Equal(t, "new", p.Name())
	}
	require.NotNil(t, m)
}

// checkCache demands that the cache, where there is one, says of each point what its
// file says, and nothing else.
func checkCache(t *testing.T, fsys remote.Filesystem) (exists bool) {
	t.Helper()
	if _, err := fsys.Stat(t.Context(), cacheFile); err != nil {
		return false
	}
	want := map[string]map[string]any{}
	for _, name := range listFiles(t, fsys, testVMDir) {
		if path.Ext(name) != ".json" || path.Dir(name) != testVMDir {
			continue
		}
		data, err := remote.ReadFile(t.Context(), fsys, name, 1<<20)
		require.NoError(t, err)
		var e map[string]any
		require.NoError(t, json.Unmarshal(data, &e))
		e["_filename"], e["id"] = "/"+name, "/"+name
		want["/"+name] = e
	}
	require.Empty(t, cmp.Diff(want, entries(t, fsys)))
	return true
}

// What a session changes it also changes in the cache, as Xen Orchestra does: by it
// alone its list is made.
func TestCacheIsKeptRight(t *testing.T) {
	for name, opts := range map[string]*catalog.Options{"plain": nil, "directories": {Format: catalog.FormatBrotli}, "encrypted": {Key: testKey}} {
		m, raw := newMachine(), remotetest.NewCrash()
		m.opts = opts
		var fsys remote.Filesystem = raw
		if name == "encrypted" {
			crypted, err := crypt.Init(t.Context(), raw, testKey, nil)
			require.NoError(t, err)
			fsys = crypted
		}
		for range 4 {
			_, err := m.backup(t.Context(), raw, 3)
			require.NoError(t, err)
			require.True(t, checkCache(t, fsys), name)
		}
		c, err := catalog.Open(t.Context(), raw, opts)
		require.NoError(t, err)
		s := lockVM(t, c, testVM)
		require.NoError(t, s.Delete(t.Context(), pointName(3)))
		require.True(t, checkCache(t, fsys), name)
		require.Len(t, entries(t, fsys), 2)

		require.NoError(t, fsys.Remove(t.Context(), cacheFile))
		_, err = s.Merge(t.Context(), nil)
		require.NoError(t, err)
		require.True(t, checkCache(t, fsys), "made anew")

		stale, err := remote.ReadFile(t.Context(), fsys, cacheFile, 1<<20)
		require.NoError(t, err)
		require.NoError(t, fsys.Remove(t.Context(), pointName(4)))
		require.NoError(t, remote.WriteFile(t.Context(), fsys, cacheFile, stale))
		require.NoError(t, m.writePoint(t.Context(), s))
		require.True(t, checkCache(t, fsys), "what was stale is right again")
		require.NoError(t, s.Close(t.Context()))
	}
}

// A point that cannot be read is in no cache, and so there is none.
func TestNoCacheOfWhatCannotBeRead(t *testing.T) {
	m, fsys := newRepository(t, 2)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, pointName(1), []byte("{")))
	s := lockVM(t, openCatalog(t, fsys), testVM)
	require.NoError(t, m.writePoint(t.Context(), s))
	require.Empty(t, caches(t, fsys))
	require.NoError(t, s.Delete(t.Context(), pointName(1)))
	require.True(t, checkCache(t, fsys))
}

func TestFindFilters(t *testing.T) {
	_, fsys := newRepository(t, 4)
	full := `{"mode":"full","scheduleId":"s2","jobId":"j2","timestamp":1772330400000,"xva":"./a.xva","tags":["monthly=2026-03"],"vm":{},"vmSnapshot":{}}`
	const other = "xo-vm-backups/00000000-0000-4000-8000-000000000001"
	require.NoError(t, remote.MkdirAll(t.Context(), fsys, other))
	require.NoError(t, remote.WriteFile(t.Context(), fsys, other+"/20260301T020000Z.json", []byte(full)))
	require.NoError(t, remote.WriteFile(t.Context(), fsys, other+"/20260301T030000Z.json", []byte("{")))
	c := openCatalog(t, fsys)
	find := func(f *catalog.Filter) []string {
		var ids []string
		for p, err := range c.Find(t.Context(), f) {
			if err != nil {
				ids = append(ids, "error")
				continue
			}
			ids = append(ids, strings.TrimPrefix(p.ID, "xo-vm-backups/"))
		}
		return ids
	}
	ours := []string{}
	for n := 1; n <= 4; n++ {
		ours = append(ours, strings.TrimPrefix(pointName(n), "xo-vm-backups/"))
	}
	theirs := []string{"00000000-0000-4000-8000-000000000001/20260301T020000Z.json", "error"}
	require.Equal(t, slices.Concat(theirs, ours), find(nil))
	require.Equal(t, ours, find(&catalog.Filter{VM: testVM}))
	require.Empty(t, find(&catalog.Filter{VM: "00000000-0000-4000-8000-000000000009"}))
	require.Equal(t, append([]string{"error"}, ours...), find(&catalog.Filter{JobID: testJob}), "what cannot be read may be wanted")
	require.Equal(t, theirs, find(&catalog.Filter{Mode: catalog.ModeFull}))
	require.Equal(t, theirs, find(&catalog.Filter{ScheduleID: "s2"}))
	require.Equal(t, theirs, find(&catalog.Filter{Tag: "monthly"}))
	require.Equal(t, theirs, find(&catalog.Filter{Tag: "monthly=2026-03"}))
	require.Equal(t, []string{"error"}, find(&catalog.Filter{Tag: "yearly"}))
	require.Equal(t, ours[1:3], find(&catalog.Filter{VM: testVM, From: dateOf(2), Until: dateOf(4)}))

	for _, err := range c.Find(t.Context(), nil) {
		require.NoError(t, err)
		break // ends what is read ahead
	}
}
