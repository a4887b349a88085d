package catalog

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
)

// maxCache bounds the cache of Xen Orchestra, decompressed.
const maxCache = 256 << 20

// rest goes over what lies beside the points, and over the points themselves, once
// the disks are in order.
func (k *cleaner) rest(ctx context.Context) error {
	for _, p := range k.m.points {
		if err := k.checkPoint(ctx, p); err != nil {
			return err
		}
	}
	for _, name := range k.m.files {
		if err := k.checkFile(ctx, name); err != nil {
			return err
		}
	}
	return k.checkJobs(ctx)
}

func (k *cleaner) checkPoint(ctx context.Context, p *Point) error {
	if p.Metadata.Mode == ModeFull {
		return k.checkArchive(ctx, p)
	}
	size, isStale := k.staleSize(p)
	if !isStale || !k.m.s.fsys.Properties().AtomicReplace {
		return nil
	}
	f := CleanFinding{
		Path: p.ID, Kind: KindPoint, State: StateValid, Action: ActionRewrite,
		Reason: fmt.Sprintf("its disks were merged, and have %d bytes, not %d", size, p.Metadata.Size),
	}
	return k.act(ctx, f, func() error {
		if err := k.m.rewritePoint(ctx, p, size); err != nil {
			return err
		}
		return k.m.s.dropCache(ctx)
	})
}

// staleSize tells whether a merge did not come to bring the metadata up to date:
// a disk that it calls a difference is none, or stands for the data of an older one,
// or the files have another size than they had when they were written. (What Xen
// Orchestra counted for a directory has changed with its versions, and proves nothing.)
func (k *cleaner) staleSize(p *Point) (size int64, isStale bool) {
	differs, directories := false, false
	for ref, rel := range p.Metadata.VHDs {
		n := k.node(path.Join(k.m.s.dir, rel))
		if n == nil {
			return 0, false
		}
		size += n.size
		directories = directories || n.data != ""
		differs = differs || p.Metadata.IsVHDDifferencing[ref]
		isStale = isStale || (p.Metadata.IsVHDDifferencing[ref] && (n.full || n.isMerged()))
	}
	return size, isStale || (differs && !directories && p.Metadata.Size != size)
}

func (k *cleaner) node(name string) *diskNode {
	for _, d := range k.m.dirs {
		if d.path == path.Dir(name) {
			return d.disks[path.Base(name)]
		}
	}
	return nil
}

// checkArchive reports an archive that is missing or cut short, as Xen Orchestra
// judges it. A point is never removed for it.
func (k *cleaner) checkArchive(ctx context.Context, p *Point) error {
	name, err := within(k.m.s.dir, k.m.s.dir, p.Metadata.XVA)
	if err != nil {
		k.finding(CleanFinding{Path: p.ID, Kind: KindPoint, State: StateCorrupt, Reason: err.Error(), Action: ActionNone})
	} else if reason, err := k.archiveFault(ctx, p, name); err != nil {
		return err
	} else if reason != "" {
		k.finding(CleanFinding{Path: name, Kind: KindArchive, State: StateCorrupt, Reason: reason, Action: ActionNone})
	}
	return nil
}

func (k *cleaner) archiveFault(ctx context.Context, p *Point, name string) (reason string, err error) {
	info, err := k.m.s.fsys.Stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return errMissing.Error(), nil
	}
	if err != nil {
		return "", fmt.Errorf("catalog: archive %s: %w", name, err)
	}
	size := info.Size()
	switch {
	case size < 20:
		return "it is too short for an archive", nil
	case k.m.s.c.isSealed:
		return "", nil
	case p.Metadata.Size > 0 && p.Metadata.Size != size:
		return fmt.Sprintf("it has %d bytes, and its point says %d", size, p.Metadata.Size), nil
	}
	isWhole, err := k.endsAsArchive(ctx, name, size)
	if err != nil || isWhole {
		return "", err
	}
	return "it does not end as an archive does", nil
}

// endsAsArchive takes compressed archives as they are: their end says nothing.
func (k *cleaner) endsAsArchive(ctx context.Context, name string, size int64) (whole bool, err error) {
	f, err := k.m.s.fsys.OpenFile(ctx, name, os.O_RDONLY)
	if err != nil {
		return false, fmt.Errorf("catalog: archive %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var magic [4]byte
	if _, err := f.ReadAt(magic[:], 0); err != nil {
		return false, fmt.Errorf("catalog: archive %s: %w", name, err)
	}
	if magic == [4]byte{0x28, 0xb5, 0x2f, 0xfd} || (magic[0] == 0x1f && magic[1] == 0x8b) {
		return true, nil
	}
	if size <= 1024 || size%512 != 0 {
		return false, nil
	}
	end := make([]byte, 1024)
	if _, err := f.ReadAt(end, size-1024); err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("catalog: archive %s: %w", name, err)
	}
	return bytes.Count(end, []byte{0}) == len(end), nil
}

func (k *cleaner) checkFile(ctx context.Context, name string) error {
	full := path.Join(k.m.s.dir, name)
	archive := strings.TrimSuffix(name, ".checksum")
	_, err := ParseDate(strings.TrimSuffix(archive, ".xva"))
	switch {
	case isPointName(name), remote.IsTemp(name), strings.HasSuffix(archive, ".xva") && err == nil:
		return nil
	case name == cacheName:
		return k.checkCache(ctx, full)
	case isXOTemp(name):
		_, err := k.discard(ctx, garbageItem{name: full, kind: KindTemporary, err: errXOTemp})
		return err
	}
	for _, p := range k.m.points {
		if path.Clean(p.Metadata.XVA) == archive {
			return nil
		}
	}
	k.stray(full, StateValid, "no tool makes it; a clean of Xen Orchestra removes it")
	return nil
}

// checkCache removes a cache that does not have the points that there are: Xen
// Orchestra believes it, and makes a new one when it is missing.
func (k *cleaner) checkCache(ctx context.Context, name string) error {
	keys, err := k.cachedPoints(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	reason := "it does not list the points that there are"
	switch {
	case err != nil && !isRottenCache(err):
		return err
	case err != nil:
		reason = err.Error()
	case len(keys) == len(k.m.points):
		same := true
		for _, p := range k.m.points {
			_, ok := keys["/"+p.ID]
			same = same && ok
		}
		if same {
			return nil
		}
	}
	f := CleanFinding{Path: name, Kind: KindCache, State: StateCorrupt, Reason: reason, Action: ActionRemove}
	return k.act(ctx, f, func() error { return k.m.s.dropCache(ctx) })
}

var errRottenCache = errors.New("it cannot be decoded")

func isRottenCache(err error) bool {
	return errors.Is(err, errRottenCache) || errors.Is(err, remote.ErrTooLarge)
}

func (k *cleaner) cachedPoints(ctx context.Context, name string) (map[string]json.RawMessage, error) {
	data, err := remote.ReadFile(ctx, k.m.s.fsys, name, maxJSON)
	if err != nil {
		return nil, err
	}
	var keys map[string]json.RawMessage
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err == nil {
		err = json.NewDecoder(io.LimitReader(z, maxCache)).Decode(&keys)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRottenCache, err)
	}
	return keys, nil
}

// checkJobs removes the directories of jobs that have no disk any more.
func (k *cleaner) checkJobs(ctx context.Context) error {
	vdis := path.Join(k.m.s.dir, vdisName)
	entries, err := k.m.s.fsys.ReadDir(ctx, vdis)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("catalog: list %s: %w", vdis, err)
	}
	for _, e := range entries {
		if !e.IsDir() || !isElement(e.Name()) {
			k.stray(path.Join(vdis, e.Name()), StateValid, "no tool makes it, and none minds it")
			continue
		}
		if err := k.m.removeEmpty(ctx, path.Join(vdis, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
