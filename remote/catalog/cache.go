package catalog

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/xenbackup/xenbackup/remote"
)

const (
	// maxUnpacked bounds what a cache is unpacked to. What is longer is not used.
	maxUnpacked = 128 << 20
	// cacheSlack is what the names of an entry may take in the cache beyond its file.
	cacheSlack = 512
	// cacheGrain is the coarsest clock of a storage: what was written that close to the
	// cache may have been written after it.
	cacheGrain = 2 * time.Second
)

// errCache says that a cache is not one. Then it is as if there were none.
var errCache = errors.New("not a cache")

// cache is the listing of a VM in cache.json.gz, as Xen Orchestra keeps it: a gzipped
// object, whose keys are "/xo-vm-backups/<vm>/<date>.json", and whose values are
// those files with the key added as "_filename" and "id", sometimes "isImmutable".
//
// Nobody vouches for it: other programs add and remove files without it. So each entry
// is believed only while its file is there, is as long as the entry says, and was last
// changed before the cache was written.
type cache struct {
	entries map[string][]byte // by the base name of the file
	written time.Time
}

// holds returns the entry of a file if it is the file's content.
func (c *cache) holds(file fs.FileInfo) []byte {
	if c == nil || !file.ModTime().Before(c.written.Add(-cacheGrain)) {
		return nil
	}
	entry, ok := c.entries[file.Name()]
	if !ok {
		return nil
	}
	if n, err := sizeInFile(entry); err != nil || n != file.Size() {
		return nil
	}
	return entry
}

// readCache reads the cache of the VM in dir, which is unpacked to at most limit bytes.
// An error says that there is none to be used.
func (c *Catalog) readCache(ctx context.Context, dir string, limit int64) (*cache, error) {
	name := path.Join(dir, cacheName)
	f, err := c.fsys.OpenFile(ctx, name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	limit = min(limit, maxUnpacked)
	if info.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes: %w", name, info.Size(), remote.ErrTooLarge)
	}
	packed := make([]byte, info.Size())
	if n, err := f.ReadAt(packed, 0); n < len(packed) {
		return nil, cmp.Or(err, errCache)
	}
	content, err := gunzip(packed, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	k := &cache{entries: map[string][]byte{}, written: info.ModTime()}
	err = eachMember(content, func(key string, value []byte) error {
		k.entries[path.Base(key)] = value
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return k, nil
}

// gunzip unpacks at most limit bytes.
func gunzip(packed []byte, limit int64) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCache, err)
	}
	var content bytes.Buffer
	if n := len(packed); n >= 4 { // the length, which may be a lie
		content.Grow(int(min(int64(binary.LittleEndian.Uint32(packed[n-4:])), limit)) + bytes.MinRead)
	}
	n, err := content.ReadFrom(io.LimitReader(z, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCache, err)
	}
	if n > limit {
		return nil, fmt.Errorf("more than %d bytes: %w", limit, remote.ErrTooLarge)
	}
	return content.Bytes(), nil
}

// isCacheMember tells whether a member of an entry is not of the file.
func isCacheMember(key string) bool {
	return key == "_filename" || key == "id" || key == "isImmutable"
}

// sizeInFile returns how long the file of an entry is, which is written compactly.
func sizeInFile(entry []byte) (int64, error) {
	n := int64(len(entry))
	err := eachMember(entry, func(key string, value []byte) error {
		if isCacheMember(key) {
			n -= int64(len(`"":,`) + len(key) + len(value))
		}
		return nil
	})
	return n, err
}

// encodeEntry makes the entry of a file from its content.
func encodeEntry(id string, content []byte) []byte {
	key := fmt.Sprintf("%q", "/"+id)
	entry := bytes.TrimRight(content, " \t\r\n")
	entry = append(make([]byte, 0, len(entry)+2*len(key)+32), bytes.TrimSuffix(entry, []byte("}"))...)
	return fmt.Appendf(entry, `,"_filename":%s,"id":%s}`, key, key)
}
