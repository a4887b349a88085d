package catalog_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// rotting is a repository whose every file is ours, and whose points have all
// evidence.
type rotting struct {
	name string
	m    *machine
	opts *catalog.Options
	fsys *remotetest.Crash
	full []byte // the archive of the full point
}

// rottings makes one of each kind: files, files that were merged, directories that
// were merged, and all that encrypted; each with a full point.
func rottings(t *testing.T) []*rotting {
	t.Helper()
	var all []*rotting
	for _, r := range []*rotting{
		{name: "file", opts: &catalog.Options{}},
		{name: "file merged", opts: &catalog.Options{}},
		{name: "brotli merged", opts: &catalog.Options{Format: catalog.FormatBrotli}},
		{name: "encrypted merged", opts: &catalog.Options{Key: testKey}},
	} {
		if underRace && strings.HasPrefix(r.name, "file") != strings.HasSuffix(r.name, "merged") {
			continue // the race detector has seen as much with the others
		}
		points := 3
		if strings.HasSuffix(r.name, "merged") {
			points = 5
		}
		r.m, r.fsys = repositoryOf(t, points, r.opts)
		c := r.open(t)
		s := lockVM(t, c, testVM)
		if points > 3 {
			_, err := s.Expire(t.Context(), catalog.Retention{ScheduleID: testSchedule, Keep: 3})
			require.NoError(t, err)
			_, err = s.Merge(t.Context(), nil)
			require.NoError(t, err)
		}
		r.full = plainArchive(3, 7)
		w, err := s.NewArchive(t.Context(), archiveSpec(20))
		require.NoError(t, err)
		_, err = w.Write(r.full)
		require.NoError(t, err)
		_, err = w.Commit(t.Context(), fullRecords())
		require.NoError(t, err)
		require.NoError(t, s.Close(t.Context()))
		for _, v := range verifyAll(t, c, &catalog.VerifyOptions{Level: catalog.VerifyData}) {
			require.Equal(t, catalog.Valid, v.Verdict, "%s: %v", r.name, v.Findings)
			require.Equal(t, catalog.EvidenceComplete, v.Evidence, "%s: %s: %v", r.name, v.Point, v.Notes)
		}
		all = append(all, r)
	}
	return all
}

func (r *rotting) open(t *testing.T) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.Context(), r.fsys, r.opts)
	require.NoError(t, err)
	return c
}

// kindOf sorts files by what is in them.
func kindOf(name string) string {
	base := path.Base(name)
	switch {
	case strings.HasSuffix(name, ".sums"):
		return "evidence"
	case strings.Contains(name, "/blocks/"):
		return "block"
	case strings.HasSuffix(base, ".alias.vhd"):
		return "alias"
	case strings.Contains(base, "Z."):
		return path.Ext(base)
	}
	return base
}

// kinds returns the files of the repository, the listing's cache and locks apart.
func (r *rotting) kinds(t *testing.T) map[string][]string {
	t.Helper()
	kinds := map[string][]string{}
	files := append(listFiles(t, r.fsys, "xo-vm-backups"), listFiles(t, r.fsys, ".xenbackup/evidence")...)
	for _, name := range files {
		if info, err := r.fsys.Stat(t.Context(), name); err == nil && path.Base(name) != "cache.json.gz" && info.Size() > 0 {
			kinds[kindOf(name)] = append(kinds[kindOf(name)], name)
		}
	}
	return kinds
}

// damage changes the file name of r, and makes sure that it is named, that the
// points that do not need it are valid, and that those read to what was backed up.
func (r *rotting) damage(t *testing.T, what string, names []string, change func(data []byte) []byte) {
	t.Helper()
	ctx := t.Context()
	before := map[string][]byte{}
	for _, name := range names {
		data, err := remote.ReadFile(ctx, r.fsys, name, 64<<20)
		require.NoError(t, err)
		before[name] = data
		require.NoError(t, remote.WriteFile(ctx, r.fsys, name, change(slices.Clone(data))))
	}
	c := r.open(t)
	named := map[string]bool{}
	valid := 0
	for v, err := range c.Verify(ctx, &catalog.VerifyOptions{Level: catalog.VerifyData, VM: testVM}) {
		require.NoError(t, err)
		for _, f := range v.Findings {
			if f.Verdict == catalog.Corrupt {
				named[f.File] = true
			}
		}
		if v.Verdict == catalog.Valid {
			valid++
			r.restores(ctx, t, c, v.Point, what)
		}
	}
	for _, name := range names {
		require.True(t, named[name], "%s: %s: %s is not named, but %v", r.name, what, name, slices.Sorted(maps.Keys(named)))
	}
	if len(names) == 1 {
		require.NotZero(t, valid, "%s: %s of %s: other points", r.name, what, names[0])
	}
	for name, data := range before {
		require.NoError(t, remote.WriteFile(ctx, r.fsys, name, data))
	}
}

// restores reads a point that is said to be valid.
func (r *rotting) restores(ctx context.Context, t *testing.T, c *catalog.Catalog, id, what string) {
	t.Helper()
	p, err := c.Point(ctx, id)
	require.NoError(t, err, what)
	for i, info := range c.Disks(p) {
		got, err := readDisk(ctx, c, p, info.Ref)
		require.NoError(t, err, "%s: %s: %s", r.name, what, id)
		require.Equal(t, r.m.history[historyKey(i, p.Time())], got, "%s: %s: %s", r.name, what, id)
	}
}

// amount is how often something is done, and the seed of what is drawn by lot.
func amount(t *testing.T, variable string, smoke int) (n int, rng *rand.Rand) {
	t.Helper()
	n = smoke
	if s := os.Getenv(variable); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	seed := rand.Uint64()
	if s := os.Getenv("XENBACKUP_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("XENBACKUP_SEED=%d %s=%d repeats it", seed, variable, n)
	return n, rand.New(rand.NewPCG(seed, 0))
}

// One bit that flips, in whatever file, is found, and the file is named; points that
// do not need the file are not affected.
func TestRotOfABitIsFoundInWhateverFile(t *testing.T) {
	t.Parallel()
	n, rng := amount(t, "XENBACKUP_FLIPS", smoke(12, 60))
	all := rottings(t)
	counts := map[string]int{}
	for range n {
		r := all[rng.IntN(len(all))]
		kinds := r.kinds(t)
		kind := slices.Sorted(maps.Keys(kinds))[rng.IntN(len(kinds))]
		name := kinds[kind][rng.IntN(len(kinds[kind]))]
		counts[kind]++
		r.damage(t, "a flipped bit", []string{name}, func(data []byte) []byte {
			at := rng.Int64N(int64(len(data)))
			if kind == ".vhd" && rng.IntN(4) > 0 { // most of a disk is data: look at the rest too
				at = rng.Int64N(8 << 10)
				if rng.IntN(2) > 0 {
					at = int64(len(data)) - 1 - at%512
				}
			}
			data[min(at, int64(len(data))-1)] ^= 1 << rng.IntN(8)
			return data
		})
	}
	t.Logf("flips: %v", counts)
}

// Files that end too early, files whose data is lost, and encrypted files in the
// place of each other are found.
func TestRotOfWholeFilesIsFound(t *testing.T) {
	t.Parallel()
	n, rng := amount(t, "XENBACKUP_ROTS", smoke(9, 40))
	all := rottings(t)
	for i := range n {
		r := all[rng.IntN(len(all))]
		kinds := r.kinds(t)
		kind := slices.Sorted(maps.Keys(kinds))[rng.IntN(len(kinds))]
		name := kinds[kind][rng.IntN(len(kinds[kind]))]
		switch i % 3 {
		case 0:
			r.damage(t, "truncation", []string{name}, func(data []byte) []byte { return data[:rng.IntN(len(data))] })
		case 1:
			r.damage(t, "zeros", []string{name}, func(data []byte) []byte {
				if !slices.ContainsFunc(data, func(b byte) bool { return b != 0 }) {
					data[0] = 1
				} else {
					clear(data)
				}
				return data
			})
		case 2:
			r.swap(t, rng)
		}
	}
}

// swap puts two encrypted files of one kind in the place of each other.
func (r *rotting) swap(t *testing.T, rng *rand.Rand) {
	t.Helper()
	kinds := r.kinds(t)
	kind := slices.Sorted(maps.Keys(kinds))[rng.IntN(len(kinds))]
	names := kinds[kind]
	if len(names) < 2 {
		return
	}
	i := rng.IntN(len(names))
	a, b := names[i], names[(i+1)%len(names)]
	one, err := remote.ReadFile(t.Context(), r.fsys, a, 64<<20)
	require.NoError(t, err)
	other, err := remote.ReadFile(t.Context(), r.fsys, b, 64<<20)
	require.NoError(t, err)
	if r.isSame(t, a, b) {
		return // nothing changes
	}
	contents := [][]byte{other, one}
	next := 0
	r.damage(t, fmt.Sprintf("a swap of %s and %s", a, b), []string{a, b}, func([]byte) []byte {
		next++
		return contents[next-1]
	})
}

// isSame tells whether two files have the same content, decrypted if need be.
func (r *rotting) isSame(t *testing.T, a, b string) bool {
	t.Helper()
	var fsys remote.Filesystem = r.fsys
	if r.opts.Key != "" {
		opened, err := crypt.Open(t.Context(), r.fsys, r.opts.Key)
		require.NoError(t, err)
		fsys = opened
	}
	one, err := remote.ReadFile(t.Context(), fsys, a, 64<<20)
	require.NoError(t, err)
	other, err := remote.ReadFile(t.Context(), fsys, b, 64<<20)
	require.NoError(t, err)
	return slices.Equal(one, other)
}
