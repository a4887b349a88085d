package xapitest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// diskStore keeps the content of disks: one sparse raw file per VDI, named by
// its uuid. A disk that nobody has written has no file until someone asks for
// it, so that thousands of machines cost little.
type diskStore struct {
	dir       string
	temporary bool
	lock      *os.File  // of a directory in which a pool is kept
	buffers   sync.Pool // of *[bufferSize]byte
	zero      *version  // of all disks that were made empty

	mu    sync.Mutex
	disks map[string]*content // by uuid of the disk
	kept  bool                // files are removed when a state without them is stored
	gone  []*content          // whose files are to be removed then
	logs  map[string]*cbtLog  // by uuid of the disk
	held  bool                // chains are not coalesced
}

func openDiskStore(dir string) (*diskStore, error) {
	s := &diskStore{
		dir: dir, temporary: dir == "", zero: new(version),
		disks: make(map[string]*content), logs: make(map[string]*cbtLog),
	}
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
	var err error
	if s.lock != nil {
		err = s.lock.Close()
	}
	if s.temporary {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
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

// newContent describes a disk of the store that is not in it yet.
func (s *diskStore) newContent(uuid string, size int64) *content {
	return &content{path: filepath.Join(s.dir, uuid+".raw"), size: size}
}

func (s *diskStore) add(uuid string, c *content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disks[uuid] = c
}

// disk returns the content of a disk, or fs.ErrNotExist when it has none: it is
// hidden, or its data was destroyed.
func (s *diskStore) disk(uuid string) (*content, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.disks[uuid]
	if !ok {
		return nil, fmt.Errorf("disk %s: %w", uuid, fs.ErrNotExist)
	}
	return c, nil
}

// create makes an empty disk.
func (s *diskStore) create(uuid string, size int64) {
	c := s.newContent(uuid, size)
	c.since, c.exact = s.zero, true
	s.add(uuid, c)
}

// load makes a disk whose file somebody else has written.
func (s *diskStore) load(uuid, path string, size int64) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	c := s.newContent(uuid, size)
	c.since = new(version)
	if err := c.makeFrom(in); err != nil {
		return err
	}
	s.add(uuid, c)
	return nil
}

// restore takes up a disk of an earlier pool. What has changed since can only be
// found by comparing.
func (s *diskStore) restore(uuid string, size int64, frozen, empty bool) {
	c := s.newContent(uuid, size)
	_, err := os.Stat(c.path)
	if err != nil && !empty {
		return // hidden, or its data is destroyed
	}
	c.since, c.frozen = new(version), frozen
	c.made.Store(err == nil)
	s.add(uuid, c)
}

// keep returns what restore and setLog want to know later.
func (s *diskStore) keep() (logs map[string]*cbtLog, empty []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	logs = make(map[string]*cbtLog, len(s.logs))
	for uuid, l := range s.logs {
		copied := *l
		logs[uuid] = &copied
	}
	for uuid, c := range s.disks {
		if !c.made.Load() {
			empty = append(empty, uuid)
		}
	}
	slices.Sort(empty)
	return logs, empty
}

// copy makes disk uuid a copy of another as it is now, of the given size. A
// frozen one is not written again.
func (s *diskStore) copy(uuid, from string, size int64, frozen bool) error {
	src, err := s.disk(from)
	if err != nil {
		return err
	}
	c := s.newContent(uuid, size)
	if err := src.fork(c, frozen); err != nil {
		return err
	}
	s.add(uuid, c)
	return nil
}

// path returns the file of a disk, which exists from then on, or "" when the
// disk has none.
func (s *diskStore) path(uuid string) string {
	c, err := s.disk(uuid)
	if err != nil || c.make() != nil {
		return ""
	}
	return c.path
}

// open returns the file of a disk for reading.
func (s *diskStore) open(uuid string) (*os.File, error) {
	c, err := s.disk(uuid)
	if err != nil {
		return nil, err
	}
	if err := c.make(); err != nil {
		return nil, err
	}
	return os.Open(c.path)
}

// writer opens a disk for writing: what changes is noted.
func (s *diskStore) writer(uuid string) (*contentWriter, error) {
	c, err := s.disk(uuid)
	if err != nil {
		return nil, err
	}
	return c.writer()
}

func (s *diskStore) resize(uuid string, size int64) error {
	c, err := s.disk(uuid)
	if err != nil {
		return err
	}
	return c.resize(size)
}

// remove forgets the content of a disk, not its history of changes.
func (s *diskStore) remove(uuid string) error {
	s.mu.Lock()
	c, ok := s.disks[uuid]
	delete(s.disks, uuid)
	kept := s.kept
	if ok && kept {
		s.gone = append(s.gone, c)
	}
	s.mu.Unlock()
	if !ok {
		return nil
	}
	if kept {
		c.retire()
		return nil
	}
	return c.remove()
}

// retired hands over the contents that are gone and whose files are still there.
func (s *diskStore) retired() []*content {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := s.gone
	s.gone = nil
	return gone
}

// retire takes them back.
func (s *diskStore) retire(gone []*content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = append(gone, s.gone...)
}

// forget removes what is left of a disk.
func (s *diskStore) forget(uuid string) error {
	s.setLog(uuid, nil)
	return s.remove(uuid)
}

// allocated returns the bytes that a disk takes on the store.
func (s *diskStore) allocated(uuid string) int64 {
	c, err := s.disk(uuid)
	if err != nil || !c.made.Load() {
		return 0
	}
	info, err := os.Stat(c.path)
	if err != nil {
		return 0
	}
	return allocatedBytes(info)
}

// overwrite makes a disk a copy of another.
func (s *diskStore) overwrite(uuid, source string) error {
	target, err := s.disk(uuid)
	if err != nil {
		return err
	}
	in, err := s.open(source)
	if err != nil {
		return err
	}
	return errors.Join(target.overwrite(in), in.Close())
}
