package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"

	"github.com/xenbackup/xenbackup/remote"
)

// cacheAgreement compares the cache of a VM, which Xen Orchestra lists by without a look
// at the directory, with the files. What is wrong with it is said with the points, and
// makes none of them worse: they can be restored all the same.
type cacheAgreement struct {
	v     *verifier
	dir   string
	names map[string]bool // of the files of points
	cache *cache          // nil: there is none to be compared
	size  int64           // of its file, by which with the time a newer one is known
	found int             // findings
}

var (
	errNotListed = errors.New("Xen Orchestra does not list it") //nolint:staticcheck // a name
	errPhantom   = errors.New("it lists points that are not there")
	errDisagrees = errors.New("it says something else than the file")
)

// newCacheAgreement reads the cache, and returns what is wrong with it as a whole.
func (v *verifier) newCacheAgreement(ctx context.Context, dir string, entries []fs.DirEntry) (*cacheAgreement, []VerifyFinding) {
	a := &cacheAgreement{v: v, dir: dir, names: map[string]bool{}}
	limit, hasCache := int64(cacheSlack), false
	for _, e := range entries {
		hasCache = hasCache || (e.Name() == cacheName && !e.IsDir())
		if e.IsDir() || !isPointName(e.Name()) {
			continue
		}
		a.names[e.Name()] = true
		if info, err := e.Info(); err == nil {
			limit += 2*info.Size() + cacheSlack // Xen Orchestra may have written false for 0
		}
	}
	if !hasCache || limit > maxUnpacked {
		return a, nil
	}
	err := a.read(ctx, limit)
	if err == nil {
		err = a.phantoms()
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) || a.isChanging(ctx) {
		return a, nil
	}
	return a, a.add(err)
}

func (a *cacheAgreement) name() string { return path.Join(a.dir, cacheName) }

func (a *cacheAgreement) read(ctx context.Context, limit int64) error {
	info, err := a.v.fsys().Stat(ctx, a.name())
	if err != nil {
		return err
	}
	a.cache, err = a.v.c.readCache(ctx, a.dir, limit)
	a.size = info.Size()
	return err
}

func (a *cacheAgreement) phantoms() error {
	for _, name := range slices.Sorted(maps.Keys(a.cache.entries)) {
		if !a.names[name] {
			return fmt.Errorf("%w: %.40q", errPhantom, name)
		}
	}
	return nil
}

// compare returns what the cache does not say of a point that was read. Points that are
// newer than the cache, or under a lock, may be about to be entered.
func (a *cacheAgreement) compare(ctx context.Context, p *Point) []VerifyFinding {
	if a.cache == nil {
		return nil
	}
	err := a.disagreement(p)
	if err == nil || a.isChanging(ctx) {
		return nil
	}
	return a.add(fmt.Errorf("%s: %w", path.Base(p.ID), err))
}

func (a *cacheAgreement) disagreement(p *Point) error {
	entry, ok := a.cache.entries[path.Base(p.ID)]
	if !ok {
		return errNotListed
	}
	cached, err := parseEntry(p.ID, entry)
	if err != nil {
		return errDisagrees
	}
	one, err := p.Metadata.MarshalJSON()
	if err != nil {
		return err
	}
	other, err := cached.Metadata.MarshalJSON()
	if err != nil {
		return err
	}
	if !bytes.Equal(one, other) && !isSameJSON(one, other) {
		return errDisagrees
	}
	return nil
}

// isSameJSON compares values: JavaScript puts keys that are numbers in another order.
func isSameJSON(one, other []byte) bool {
	var a, b any
	if json.Unmarshal(one, &a) != nil || json.Unmarshal(other, &b) != nil {
		return false
	}
	return reflect.DeepEqual(a, b)
}

// isChanging tells whether somebody may be about to bring the cache up to date: he holds
// the lock of the VM, or has just done it.
func (a *cacheAgreement) isChanging(ctx context.Context) bool {
	fsys := a.v.fsys()
	if _, err := fsys.Stat(ctx, a.dir+lockSuffix); !errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if a.cache == nil {
		return false
	}
	info, err := fsys.Stat(ctx, a.name())
	return err != nil || info.Size() != a.size || !info.ModTime().Equal(a.cache.written)
}

func (a *cacheAgreement) add(err error) []VerifyFinding {
	a.found++
	if a.found > a.v.opts.MaxFindings {
		return nil
	}
	return []VerifyFinding{{File: a.name(), Verdict: judgeListing(err), Block: -1, Offset: -1, Reason: err.Error()}}
}

// judgeListing is judge of what beside the points is damaged, and not of what a point
// needs.
func judgeListing(err error) Verdict {
	for _, proof := range []error{errCache, remote.ErrTooLarge, errNotListed, errPhantom, errDisagrees, ErrImmutability} {
		if errors.Is(err, proof) {
			return Corrupt
		}
	}
	return judge(err)
}

// checkImmutability returns what is wrong with what says how long backups are guarded.
func (v *verifier) checkImmutability(ctx context.Context) []VerifyFinding {
	_, err := v.c.Immutability(ctx)
	if err == nil {
		return nil
	}
	return []VerifyFinding{{File: immutabilityName, Verdict: judgeListing(err), Block: -1, Offset: -1, Reason: err.Error()}}
}
