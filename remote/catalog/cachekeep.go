package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/xenbackup/xenbackup/remote"
)

// fewReads is how many files a change of one point may read to complete the cache:
// with more missing in it, making it is left to [Session.Merge].
const fewReads = 256

// cacheKeeper keeps the cache of a VM right while its points change. Before the first
// change the cache is removed, durably, so that whoever is killed leaves none that says
// what is not so; after the last it is written anew. Xen Orchestra lists by it
// alone, and makes one where there is none: so none is always right.
type cacheKeeper struct {
	s       *Session
	exists  bool
	written time.Time         // when it was read; zero if it is of no use
	entries map[string][]byte // by base name; nil where the file has to be read
	reads   int               // how many files may be read for it
}

// keepCache reads the cache. Nothing is changed yet.
func (s *Session) keepCache(ctx context.Context, reads int) (*cacheKeeper, error) {
	k := &cacheKeeper{s: s, entries: map[string][]byte{}, reads: reads}
	l := s.c.list(ctx, s.vm)
	if l.err != nil {
		return nil, l.err
	}
	k.exists = l.hasCache
	s.c.useCache(ctx, l)
	if l.cache != nil && len(l.cache.entries) == len(l.files) {
		k.written = l.cache.written
	}
	for _, e := range l.files {
		k.entries[e.Name()] = nil
		if info, err := e.Info(); err == nil {
			k.entries[e.Name()] = l.cache.holds(info)
		}
	}
	return k, nil
}

// beginCache reads the cache and removes it, before points are changed.
func (s *Session) beginCache(ctx context.Context) (*cacheKeeper, error) {
	k, err := s.keepCache(ctx, fewReads)
	if err != nil {
		return nil, err
	}
	return k, k.remove(ctx)
}

// remove removes the cache, durably, if there is one.
func (k *cacheKeeper) remove(ctx context.Context) error {
	if !k.exists {
		return nil
	}
	if err := k.s.dropCache(ctx); err != nil {
		return err
	}
	if err := remote.SyncDir(ctx, k.s.fsys, k.s.dir); err != nil {
		return fmt.Errorf("catalog: vm %s: %w", k.s.vm, err)
	}
	k.exists = false
	return nil
}

// drop is remove by a caller who syncs the directory of the VM himself before he
// changes a point.
func (k *cacheKeeper) drop(ctx context.Context) error {
	if !k.exists {
		return nil
	}
	if err := k.s.dropCache(ctx); err != nil {
		return err
	}
	k.exists = false
	return nil
}

// put notes that the file of a point has this content now; nil: it is to be read.
func (k *cacheKeeper) put(name string, content []byte) {
	k.entries[path.Base(name)] = nil
	if content != nil {
		k.entries[path.Base(name)] = encodeEntry(name, content)
	}
}

// forget notes that the file of a point is gone.
func (k *cacheKeeper) forget(name string) { delete(k.entries, path.Base(name)) }

// isRight tells whether the cache that is there can stay. One that was written just
// after some file may stay for the moment, since a new one would be no better.
func (k *cacheKeeper) isRight() bool {
	missing := slices.ContainsFunc(slices.Collect(maps.Values(k.entries)), func(entry []byte) bool { return entry == nil })
	return k.exists && !k.written.IsZero() && (!missing || time.Since(k.written) < cacheGrain)
}

// save replaces the cache. When it fails there is none.
func (k *cacheKeeper) save(ctx context.Context) error {
	if err := k.remove(ctx); err != nil {
		return err
	}
	if len(k.entries) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(k.entries)) {
		if err := k.complete(ctx, name); err != nil {
			k.s.c.log.InfoContext(ctx, "no cache is kept", "vm", k.s.vm, "error", err)
			return nil
		}
	}
	packed, err := k.encode()
	if err != nil {
		return err
	}
	if err := remote.WriteFile(ctx, k.s.fsys, path.Join(k.s.dir, cacheName), packed); err != nil {
		return fmt.Errorf("catalog: vm %s: %w", k.s.vm, err)
	}
	return nil
}

// saveLate is save after a change that has succeeded: a failure is logged.
func (k *cacheKeeper) saveLate(ctx context.Context) {
	if err := k.save(ctx); err != nil {
		k.s.c.log.WarnContext(ctx, "cache not written", "vm", k.s.vm, "error", err)
	}
}

var errManyReads = errors.New("too many points are in no cache")

// complete reads an entry that is missing.
func (k *cacheKeeper) complete(ctx context.Context, name string) error {
	if k.entries[name] != nil {
		return nil
	}
	if k.reads--; k.reads < 0 {
		return errManyReads
	}
	id := path.Join(k.s.dir, name)
	content, err := remote.ReadFile(ctx, k.s.fsys, id, maxJSON)
	if errors.Is(err, fs.ErrNotExist) {
		delete(k.entries, name)
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := parsePoint(id, content); err != nil {
		return err // Xen Orchestra may think otherwise of it
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, content); err != nil {
		return err
	}
	k.entries[name] = encodeEntry(id, compact.Bytes())
	return nil
}

// encode makes the file.
func (k *cacheKeeper) encode() ([]byte, error) {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	before := "{"
	for _, name := range slices.Sorted(maps.Keys(k.entries)) {
		if _, err := fmt.Fprintf(z, "%s%q:%s", before, "/"+path.Join(k.s.dir, name), k.entries[name]); err != nil {
			return nil, err
		}
		before = ","
	}
	if _, err := io.WriteString(z, "}"); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}
