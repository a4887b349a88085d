package vhd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// dirMerging is a merging whose images are kept as directories, except for
// those that filters says "file" of: these are files behind an alias.
type dirMerging struct {
	*merging
	filters []string // per image
}

func aliasName(k int) string { return fmt.Sprintf("%02d.alias.vhd", k) }
func dataName(k int) string  { return fmt.Sprintf("data/%02d.vhd", k) }

func (g *dirMerging) plan() *vhd.MergePlan {
	plan := &vhd.MergePlan{}
	for k := g.first; k <= g.keep; k++ {
		plan.Chain = append(plan.Chain, aliasName(k))
	}
	return plan
}

func (g *dirMerging) files() map[string][]byte {
	files := make(map[string][]byte)
	for k, s := range g.specs {
		files[aliasName(k)] = []byte(dataName(k))
		if g.filters[k] == "file" {
			files[dataName(k)] = s.encode()
		} else {
			maps.Copy(files, s.encodeDirectory(dataName(k), g.filters[k]))
		}
	}
	return files
}

// encodeDirectory returns the files of the image in XO's directory flavour.
func (s *spec) encodeDirectory(root, filter string) map[string][]byte {
	entries := max(s.maxEntries, int((s.size+s.blockSize-1)/s.blockSize))
	table := make([]byte, entries) // XO: a byte per entry
	files := make(map[string][]byte)
	for i, sectors := range s.blocks {
		table[i/8] |= 0x80 >> (i % 8)
		content := make([]byte, ((s.blockSize/sector+7)/8+511)/512*512+s.blockSize)
		for n, data := range sectors {
			content[n/8] |= 0x80 >> (n % 8)
			copy(content[int64(len(content))-s.blockSize+int64(n)*sector:], data)
		}
		if len(sectors) == int(s.blockSize/sector) {
			copy(content, bytes.Repeat([]byte{0xff}, 512))
		}
		files[fmt.Sprintf("%s/blocks/%d/%d", root, i/1000, i%1000)] = filtered(filter, content)
	}
	files[root+"/header"] = filtered(filter, s.header(entries))
	files[root+"/footer"] = filtered(filter, s.footer())
	files[root+"/bat"] = filtered(filter, table)
	if filter != "" {
		files[root+"/chunk-filters.json"] = []byte(`["` + filter + `"]`)
	}
	return files
}

func filtered(filter string, content []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	switch filter {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "brotli":
		w = brotli.NewWriterLevel(&out, brotli.BestSpeed)
	default:
		return content
	}
	if _, err := w.Write(content); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// randomDirs returns a chain of directories with blocks that are full, and some
// that are not.
func randomDirs(seed uint64, root bool, filters []string, sizes ...int64) *dirMerging {
	g := &dirMerging{merging: random(seed, root, 1024, sizes...), filters: filters}
	rnd := rand.New(rand.NewPCG(seed, 4))
	for k, s := range g.specs {
		s.parentName = aliasName(k - 1)
		s.order = nil
		for range 3 {
			first := rnd.Int64N(s.size/s.blockSize) * (s.blockSize / sector)
			for n := first; n < first+s.blockSize/sector; n++ {
				s.put(n, filled(byte(k+1), n))
			}
		}
	}
	return g
}

var dirMergings = map[string]*dirMerging{
	"same size":                randomDirs(11, true, []string{"", "", "", ""}, 12<<10, 12<<10, 12<<10, 12<<10),
	"growing inside a block":   randomDirs(12, true, []string{"", "", "", ""}, 8<<10+700, 8<<10+700, 9<<10+512, 12<<10),
	"onto a differencing disk": randomDirs(13, false, []string{"", "", "", ""}, 8<<10, 8<<10, 12<<10, 12<<10),
	"filters that differ":      randomDirs(14, true, []string{"", "gzip", "brotli"}, 6<<10, 6<<10, 6<<10),
	"a file behind an alias":   randomDirs(15, true, []string{"", "file", "", ""}, 8<<10, 8<<10, 9<<10, 9<<10),
	"onto a file":              randomDirs(16, true, []string{"file", "", "", "file"}, 8<<10, 8<<10, 9<<10, 9<<10),
}

func (g *dirMerging) fresh() *crashDir { return newCrashDir(g.files()) }

// checkRetained reads what must be readable at every moment.
func (g *dirMerging) checkRetained(tb testing.TB, d *crashDir) {
	tb.Helper()
	for k := g.keep; k < len(g.specs); k++ {
		require.NoError(tb, g.read(tb, d, aliasName(k), k), "image %d", k)
	}
}

// read compares the chain of an image with what image k must read as.
func (g *dirMerging) read(tb testing.TB, d *crashDir, name string, k int) (err error) {
	tb.Helper()
	var states []*vhd.MergeState
	for name := range d.now {
		if state, err := vhd.ReadMergeState(tb.Context(), d, name); err == nil {
			states = append(states, state)
		}
	}
	leaf, err := vhd.OpenDirectory(tb.Context(), d, name)
	if err != nil {
		return err
	}
	inOrder := vhd.DirOpener(d)
	opener := func(ctx context.Context, child *vhd.Image, ref vhd.ParentRef) (*vhd.Image, error) {
		parent, err := inOrder(ctx, child, ref)
		if f := d.now[strings.Replace("data/"+ref.Names[0], ".alias", "", 1)]; err != nil && f != nil {
			return vhd.Open(bytes.NewReader(f.data), int64(len(f.data)), &vhd.OpenOptions{Name: ref.Names[0], Mode: vhd.Recover})
		}
		return parent, err
	}
	chain, err := vhd.OpenChain(tb.Context(), leaf, opener, &vhd.ChainOptions{AcceptParent: func(child, parent *vhd.Image) bool {
		return slices.ContainsFunc(states, func(s *vhd.MergeState) bool { return s.AcceptParent(child, parent) })
	}})
	if err != nil {
		return errors.Join(err, leaf.Close())
	}
	defer func() { err = errors.Join(err, chain.Close()) }()
	got := make([]byte, chain.Size())
	if _, err := chain.ReadAt(got, 0); err != nil {
		return err
	}
	if !bytes.Equal(g.want(k), got) {
		return errors.New("reads wrong")
	}
	return nil
}

// checkDone compares what must be there after the merge.
func (g *dirMerging) checkDone(tb testing.TB, d *crashDir) {
	tb.Helper()
	g.checkRetained(tb, d)
	want, got := map[string]bool{}, map[string]bool{}
	for k := range g.specs {
		if k < g.first || k >= g.keep {
			want[aliasName(k)] = true
		}
		if k <= g.first || k > g.keep {
			want[dataName(k)] = true
		}
	}
	for name := range d.now {
		if parts := strings.SplitN(name, "/", 3); len(parts) > 2 {
			name = path.Join(parts[:2]...)
		}
		got[name] = true
	}
	require.Equal(tb, want, got)
	require.Equal(tb, dataName(g.first), string(d.now[aliasName(g.keep)].data))
	require.Empty(tb, d.pending)
	image, err := vhd.OpenDirectory(tb.Context(), d, aliasName(g.keep))
	require.NoError(tb, err)
	require.Equal(tb, uuidOf(g.specs[g.keep].uuid), image.UUID())
	require.Equal(tb, g.specs[g.first].typ, image.Type())
	require.NoError(tb, image.Close())
}

func (g *dirMerging) again(tb testing.TB, d *crashDir) {
	tb.Helper()
	_, stateErr := d.file(vhd.MergeStateName(aliasName(g.first)))
	_, oldestErr := d.file(aliasName(g.first))
	if stateErr != nil && oldestErr != nil {
		for _, name := range []string{".", "data"} {
			require.NoError(tb, d.Sync(tb.Context(), name)) // only the last sync was missing
		}
		return
	}
	_, err := vhd.Merge(tb.Context(), d, g.plan(), nil)
	require.NoError(tb, err)
}

func TestMergeOfDirectoriesKeepsContentOfEveryRetainedImage(t *testing.T) {
	for name, g := range dirMergings {
		t.Run(name, func(t *testing.T) {
			d := g.fresh()
			g.checkRetained(t, d)
			var last int64
			result, err := vhd.Merge(t.Context(), d, g.plan(), &vhd.MergeOptions{Progress: func(done, total int64) {
				require.Greater(t, done, last)
				require.LessOrEqual(t, done, total)
				last = done
			}})
			require.NoError(t, err)
			g.checkDone(t, d)
			require.Equal(t, aliasName(g.keep), result.Kept)
			require.Equal(t, last, result.Merged)
			require.Positive(t, result.Size)
		})
	}
}

func TestMergeOfDirectoriesResumesAfterAFailureAtEveryOperation(t *testing.T) {
	for _, name := range []string{"same size", "filters that differ", "onto a file"} { // a crash is harder: that is tried with all
		g := dirMergings[name]
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				d := g.fresh()
				d.failAt = n
				_, err := vhd.Merge(t.Context(), d, g.plan(), &vhd.MergeOptions{Checkpoint: 4096})
				if err == nil && d.ops < n {
					break
				}
				d.failAt = 0
				if err != nil {
					g.checkRetained(t, d)
					g.again(t, d)
				}
				g.checkDone(t, d)
			}
		})
	}
}

func TestMergeOfDirectoriesResumesAfterACrashAtEveryOperation(t *testing.T) {
	for name, g := range dirMergings {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				d := g.fresh()
				d.crashAt = n
				_, err := vhd.Merge(t.Context(), d, g.plan(), &vhd.MergeOptions{Checkpoint: 4096})
				if err == nil {
					break
				}
				after := d.restart(uint64(n))
				g.checkRetained(t, after)
				g.again(t, after)
				g.checkDone(t, after)
			}
		})
	}
}
