package xapitest

import (
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"sync"
)

// diskStore keeps the content of disks: one sparse raw file per VDI, named by
// its uuid.
type diskStore struct {
	dir       string
	temporary bool
	buffers   sync.Pool // of *[bufferSize]byte
	seed      maphash.Seed

	mu   sync.Mutex
	logs map[string]*cbtLog // by uuid of the disk
	held bool               // chains are not coalesced
}

func openDiskStore(dir string) (*diskStore, error) {
	s := &diskStore{dir: dir, temporary: dir == "", seed: maphash.MakeSeed()}
	s.buffers.New = func() any { return new([bufferSize]byte) }
	if s.temporary {
		temp, err := os.MkdirTemp("", "xapitest-")
		if err != nil {
			return nil, fmt.Errorf("xapitest: %w", err)
		}
		s.dir = temp
	}
	abs, err := filepath.Abs(s.dir)
	if err != nil {
		return nil, fmt.Errorf("xapitest: %w", err)
	}
	s.dir = abs
	return s, os.MkdirAll(s.dir, 0o750)
}

func (s *diskStore) close() error {
	if !s.temporary {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// bufferSize holds a block with its bitmap in front.
const bufferSize = sectorSize + blockSize

// buffer lends a buffer; give returns it.
func (s *diskStore) buffer() *[bufferSize]byte {
	b, ok := s.buffers.Get().(*[bufferSize]byte)
	if !ok {
		return new([bufferSize]byte)
	}
	return b
}

func (s *diskStore) give(b *[bufferSize]byte) { s.buffers.Put(b) }

func (s *diskStore) path(uuid string) string { return filepath.Join(s.dir, uuid+".raw") }

// create makes an empty disk.
func (s *diskStore) create(uuid string, size int64) error {
	f, err := os.OpenFile(s.path(uuid), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// copy makes disk uuid a copy of the raw file src as it is now, of the given
// size: shared blocks where the filesystem has them, else a sparse copy.
func (s *diskStore) copy(uuid, src string, size int64) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(s.path(uuid), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	err = errors.Join(copySparse(out, in), out.Truncate(size), out.Close())
	if err != nil {
		return errors.Join(err, s.remove(uuid))
	}
	return nil
}

func (s *diskStore) resize(uuid string, size int64) error { return os.Truncate(s.path(uuid), size) }

func (s *diskStore) remove(uuid string) error { return os.Remove(s.path(uuid)) }

// allocated returns the bytes that a disk takes on the store.
func (s *diskStore) allocated(uuid string) int64 {
	info, err := os.Stat(s.path(uuid))
	if err != nil {
		return 0
	}
	return allocatedBytes(info)
}
