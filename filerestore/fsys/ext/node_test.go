package ext_test

import (
	"bytes"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
)

func TestEveryNameIsFoundAndNoOther(t *testing.T) {
	for _, name := range []string{"ext4", "ext4-1k-inline", "ext2-rev0"} {
		vol := openImage(t, name, nil)
		dirs := map[int]fsys.NodeID{0: vol.Root()}
		for item, err := range fsys.Walk(t.Context(), vol, vol.Root(), nil) {
			require.NoError(t, err)
			in := dirs[item.Depth-1]
			e, err := vol.Lookup(in, item.Entry.Name)
			require.NoError(t, err)
			require.Equal(t, item.Entry, e)
			_, err = vol.Lookup(in, item.Entry.Name+"?")
			require.ErrorIs(t, err, fs.ErrNotExist)
			if item.Info.Mode.IsDir() {
				dirs[item.Depth] = item.Entry.Node
				parent, err := vol.Parent(item.Entry.Node)
				require.NoError(t, err)
				require.Equal(t, in, parent)
			}
		}
		for _, special := range []string{"", ".", ".."} {
			_, err := vol.Lookup(vol.Root(), special)
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
	}
}

func TestPagesOfAnySizeHoldTheSameEntries(t *testing.T) {
	for _, name := range []string{"ext4-1k-inline", "ext3"} {
		vol := openImage(t, name, nil)
		for _, dir := range []string{"large", "special", "."} {
			id, err := vol.NodeAt(dir, false)
			require.NoError(t, err)
			want := pages(t, vol, id, 0)
			for _, n := range []int{1, 3, len(want), len(want) + 1} {
				require.Empty(t, cmp.Diff(want, pages(t, vol, id, n)), "%s %s by %d", name, dir, n)
			}
		}
	}
}

func pages(t *testing.T, vol fsys.Nodes, dir fsys.NodeID, n int) []fsys.Entry {
	t.Helper()
	var all []fsys.Entry
	for cursor := ""; ; {
		page, next, err := vol.ReadDirPage(dir, cursor, n)
		require.NoError(t, err)
		if n > 0 {
			require.LessOrEqual(t, len(page), n)
		}
		all = append(all, page...)
		if cursor = next; cursor == "" {
			return all
		}
	}
}

func TestPathsLeadWhereLinuxWouldGo(t *testing.T) {
	vol := openImage(t, "ext4", nil)
	sub, err := fs.Sub(vol, "deep")
	require.NoError(t, err)
	require.NoError(t, fstest.TestFS(sub, "f", "d/d/d/f"))

	for _, name := range []string{"links/absolute", "links/good"} {
		got, err := fs.ReadFile(vol, name)
		require.NoError(t, err)
		require.Equal(t, "hard", string(got))
	}
	target, err := vol.ReadLink("links/escape")
	require.NoError(t, err)
	require.Equal(t, "../../../../etc/passwd", target)
	_, err = vol.Open("links/escape") // it stays inside, where there is none
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = vol.Stat("links/loop")
	require.ErrorIs(t, err, fsys.ErrLimit)
	info, err := vol.Lstat("links/loop")
	require.NoError(t, err)
	require.Equal(t, fs.ModeSymlink, info.Mode().Type())
	got, err := fs.ReadFile(vol, "links/dir/d/f")
	require.NoError(t, err)
	require.Len(t, got, 14)
	got, err = fs.ReadFile(vol, "bad-%FF%FE")
	require.NoError(t, err)
	require.Equal(t, "file 9", string(got))
	_, err = vol.Open("empty/x")
	require.ErrorIs(t, err, fsys.ErrNotDir)
}

func TestReadsAtAnyPlaceAgree(t *testing.T) {
	for _, name := range []string{"ext4", "ext3", "ext4-bigalloc", "dirty-data"} {
		vol := openImage(t, name, nil)
		r := rand.New(rand.NewPCG(5, 6))
		for item, err := range fsys.Walk(t.Context(), vol, vol.Root(), nil) {
			require.NoError(t, err)
			if !item.Info.Mode.IsRegular() || item.Info.Size > 8<<20 || r.IntN(4) > 0 {
				continue
			}
			f, err := vol.OpenNode(item.Entry.Node)
			require.NoError(t, err)
			whole, err := io.ReadAll(struct{ io.Reader }{f})
			require.NoError(t, err)
			for range 20 {
				p := make([]byte, r.IntN(9000))
				off := r.Int64N(int64(len(whole)) + 10)
				n, err := f.ReadAt(p, off)
				want := whole[min(off, int64(len(whole))):]
				want = want[:min(len(want), len(p))]
				require.True(t, bytes.Equal(want, p[:n]), item.Path)
				if n < len(p) {
					require.Equal(t, io.EOF, err)
				} else if err != nil {
					require.Equal(t, io.EOF, err)
				}
			}
		}
	}
}

func TestManyReadersAtOnceSeeTheSame(t *testing.T) {
	vol := openImage(t, "dirty-v3-inline", &ext.Options{CacheSize: 64 << 10})
	want := read(t, vol)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			seen := 0
			for item, err := range fsys.Walk(t.Context(), vol, vol.Root(), nil) {
				if err != nil {
					t.Errorf("%s: %v", item.Path, err)
					return
				}
				if _, err := vol.Lstat(escapePath(item.Path)); err != nil {
					t.Errorf("%s: %v", item.Path, err)
				}
				if item.Info.Mode.IsRegular() {
					f, err := vol.OpenNode(item.Entry.Node)
					if err == nil {
						_, err = io.CopyN(io.Discard, f, min(f.Size(), 1<<20))
					}
					if err != nil {
						t.Errorf("%s: %v", item.Path, err)
					}
				}
				seen++
			}
			if seen+1 != len(want) {
				t.Errorf("%d entries, not %d", seen+1, len(want))
			}
		})
	}
	all.Wait()
}

// escapePath makes a path of raw names one of io/fs.
func escapePath(raw string) string {
	list := strings.Split(raw, "/")
	for i, name := range list {
		list[i] = fsys.Escape(name)
	}
	return strings.Join(list, "/")
}

func TestOtherKindsOfFilesAreRefusedTyped(t *testing.T) {
	vol := openImage(t, "ext4", nil)
	for name, want := range map[string]error{"special/null": fsys.ErrNotRegular, "deep": fsys.ErrNotRegular} {
		id, err := vol.NodeAt(name, false)
		require.NoError(t, err)
		_, err = vol.OpenNode(id)
		require.ErrorIs(t, err, want)
		_, err = vol.ReadLinkNode(id)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
	for _, id := range []fsys.NodeID{{}, {Number: 1 << 40}, {Number: 4000}, {Tree: 1, Number: 2}} {
		_, err := vol.StatNode(id)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, _, err = vol.ReadDirPage(id, "", 0)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
	_, _, err := vol.ReadDirPage(vol.Root(), "x", 0)
	require.ErrorIs(t, err, fs.ErrInvalid)
	odd, err := vol.Open("special/fifo")
	require.NoError(t, err)
	_, err = odd.Read(make([]byte, 1))
	require.ErrorIs(t, err, fsys.ErrNotRegular)
}
