package torture_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
)

// ledger is what must be in the repository of a guest: each point that was acknowledged,
// or seen, until enough newer ones are there.
type ledger struct {
	guest guest
	owed  map[int]bool // generations
}

func newLedger(g guest) *ledger { return &ledger{g, map[int]bool{}} }

// owe notes that a point was acknowledged.
func (l *ledger) owe(generation int) { l.owed[generation] = true }

// audit reads all there is, and misses nothing that is owed.
func (l *ledger) audit(ctx context.Context, fsys remote.Filesystem) ([]int, error) {
	listed, err := l.guest.check(ctx, fsys)
	if err != nil {
		return nil, err
	}
	for generation := range l.owed {
		if slices.Contains(listed, generation) {
			continue
		}
		newer := 0
		for _, other := range listed {
			if other > generation {
				newer++
			}
		}
		if newer < l.guest.Keep {
			return nil, fmt.Errorf("generation %d is gone, though retention keeps it: there are %v", generation, listed)
		}
		delete(l.owed, generation)
	}
	for _, generation := range listed {
		l.owe(generation)
	}
	return listed, nil
}

// leavings cleans a VM twice, and returns the files of the repository that no point needs
// all the same: everything that is neither metadata, nor a disk that a point names, nor its
// data.
func leavings(ctx context.Context, fsys remote.Filesystem, vm string, key remote.Secret) ([]string, error) {
	c, err := catalog.Open(ctx, fsys, &catalog.Options{Key: key, LockWait: time.Minute})
	if err != nil {
		return nil, err
	}
	for range 2 {
		if err := cleanVM(ctx, c, vm); err != nil {
			return nil, err
		}
	}
	clear := fsys
	if key != "" {
		if clear, err = crypt.Open(ctx, fsys, key); err != nil {
			return nil, err
		}
	}
	needed, err := neededFiles(ctx, c, clear, vm)
	if err != nil {
		return nil, err
	}
	var found []string
	err = remote.Walk(ctx, fsys, ".", func(name string, d fs.DirEntry, err error) error {
		isOurs := strings.HasPrefix(name, "xo-vm-backups/"+vm) && !needed[name] && !needed[dataOf(name)]
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(name, ".lock"), remote.IsTemp(name), !d.IsDir() && isOurs:
			found = append(found, name)
		}
		return nil
	})
	return found, err
}

// dataOf is the disk whose data the file is.
func dataOf(name string) string {
	disk, _, ok := strings.Cut(name, ".vhd/")
	if !ok {
		return ""
	}
	return disk + ".vhd"
}

func cleanVM(ctx context.Context, c *catalog.Catalog, vm string) (err error) {
	s, err := c.LockVM(ctx, vm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	return clean(ctx, s)
}

// neededFiles are those that the points need. With as many points as retention keeps,
// chains have been merged down to them: then each disk that a chain reads is one of a point.
func neededFiles(ctx context.Context, c *catalog.Catalog, fsys remote.Filesystem, vm string) (map[string]bool, error) {
	dir := "xo-vm-backups/" + vm
	needed := map[string]bool{dir + "/cache.json.gz": true}
	for p, err := range c.Points(ctx, vm) {
		if err != nil {
			return nil, err
		}
		needed[p.ID] = true
		for _, d := range c.Disks(p) {
			name := path.Join(dir, d.Path)
			needed[name] = true
			if !strings.HasSuffix(name, ".alias.vhd") {
				continue
			}
			target, err := remote.ReadFile(ctx, fsys, name, 1024)
			if err != nil {
				return nil, err
			}
			needed[path.Join(path.Dir(name), strings.TrimSpace(string(target)))] = true
		}
	}
	return needed, nil
}
