package catalog

import (
	"context"
	"path"
	"slices"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// maxAhead is how many disks are opened before they are asked for.
const maxAhead = 16

// ahead opens the disks that probably come next in a chain while those before them are
// looked at: the name of a parent is known once its child is open, which on a network
// takes a few round trips for each. A parent nearly always has the name before that of
// its child. Each guess that was right allows twice as many, so that a short chain in a
// long directory costs little. Guesses that are not used say nothing.
type ahead struct {
	fsys    remote.Filesystem
	guesses map[string]*guess
	width   int
}

// guess is a disk that is being opened.
type guess struct {
	opening sync.WaitGroup
	file    *diskFile
	err     error
}

func newAhead(fsys remote.Filesystem) *ahead {
	return &ahead{fsys: fsys, guesses: map[string]*guess{}, width: 1}
}

// open returns what came of a guess, or opens the disk now.
func (a *ahead) open(ctx context.Context, name string) (*diskFile, error) {
	g := a.guesses[name]
	if g == nil {
		return openDiskFile(ctx, a.fsys, name, vhd.Strict)
	}
	delete(a.guesses, name)
	g.opening.Wait()
	a.width = min(2*a.width, maxAhead)
	return g.file, g.err
}

// guess opens the disks before name, of the sorted ones in its directory.
func (a *ahead) guess(ctx context.Context, name string, disks []string) {
	i, _ := slices.BinarySearch(disks, path.Base(name))
	for n := 1; n <= a.width && n <= i; n++ {
		before := path.Join(path.Dir(name), disks[i-n])
		if a.guesses[before] != nil {
			continue
		}
		g := &guess{}
		a.guesses[before] = g
		g.opening.Go(func() { g.file, g.err = openDiskFile(ctx, a.fsys, before, vhd.Strict) })
	}
}

// drop closes what was not taken: it was only read.
func (a *ahead) drop() {
	if a == nil {
		return
	}
	for _, g := range a.guesses {
		g.opening.Wait()
		if g.err == nil {
			_ = g.file.close()
		}
	}
	clear(a.guesses)
}
