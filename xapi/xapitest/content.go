package xapitest

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// content is the raw file of one disk and what is known of its changes.
//
// Writes that go through this package are noted in written. Anyone may write the
// file besides, and is found out: the time of the file's last change is set to a
// moment of our choosing after each write of our own, so that any other writer
// moves it. That nobody else wrote at the very same time is made sure of by a
// lease, which the system grants to the only one who has the file open. Where
// there is doubt exact is false, and contents are compared.
type content struct {
	path string
	made atomic.Bool // the file exists; without it the disk is zeros

	mu      sync.Mutex
	removed bool
	frozen  bool // a snapshot: nobody writes the file
	size    int64
	stamp   time.Time // the file's time of change as long as nobody else writes
	since   *version
	written bitmap // since then
	exact   bool   // written is all
}

// make makes the file, if there is none.
func (c *content) make() error {
	if c.made.Load() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.makeLocked()
}

func (c *content) makeLocked() error {
	if c.removed {
		return fs.ErrNotExist
	}
	if c.made.Load() {
		return nil
	}
	f, err := os.OpenFile(c.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(c.size), c.seal(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(c.path))
	}
	c.made.Store(true)
	return nil
}

// makeFrom makes the file a copy of another: shared blocks where the filesystem
// has them, else a sparse copy.
func (c *content) makeFrom(in *os.File) error {
	out, err := os.OpenFile(c.path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	err = errors.Join(copySparse(out, in), out.Truncate(c.size), c.seal(out), out.Close())
	if err != nil {
		return errors.Join(err, os.Remove(c.path))
	}
	c.made.Store(true)
	return nil
}

// sealAge is how far in the past the time is that marks a file as unchanged by
// others: more than the coarsest clock of a filesystem.
const sealAge = 3 * time.Second

// seal sets the file's time of change, so that it shows when somebody else
// writes.
func (c *content) seal(f *os.File) error {
	if c.frozen || !c.exact {
		return nil
	}
	past := time.Now().Add(-sealAge)
	if err := os.Chtimes(f.Name(), past, past); err != nil {
		c.exact = false
		return err
	}
	info, err := f.Stat()
	if err != nil {
		c.exact = false
		return err
	}
	c.stamp = info.ModTime()
	return nil
}

// sealed says that nobody else has written the file.
func (c *content) sealed(f *os.File) bool {
	if c.frozen {
		return true
	}
	info, err := f.Stat()
	return err == nil && c.exact && info.ModTime().Equal(c.stamp)
}

// unchanged says whether written is all that has changed since that version.
func (c *content) unchanged() (since *version, written bitmap, exact bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.made.Load() {
		return c.since, nil, true
	}
	f, err := os.Open(c.path)
	if err != nil {
		return c.since, nil, false
	}
	defer func() { _ = f.Close() }()
	return c.since, c.written.clone(), c.sealed(f)
}

// fork makes next, which nobody knows yet, a copy of this disk as it is now. Who
// wants to open the file for writing waits meanwhile where the system can make
// them wait, so that the copy is of one instant.
func (c *content) fork(next *content, frozen bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next.frozen, next.exact = frozen, true
	if c.removed {
		return fs.ErrNotExist
	}
	if !c.made.Load() {
		next.since = c.since
		return nil
	}
	in, err := os.Open(c.path)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	l := leaseAgainstWriters(in)
	defer l.release()
	if err := next.makeFrom(in); err != nil {
		return err
	}
	exact := c.sealed(in)
	next.since = c.since
	if !exact || !c.written.empty() {
		next.since = c.since.next(c.written, exact)
	}
	if c.frozen {
		return nil
	}
	c.since, c.written, c.exact = next.since, nil, exact
	if !exact && l.held() {
		c.exact = true
		return c.seal(in)
	}
	return nil
}

// resize changes the size of the disk.
func (c *content) resize(size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size = size
	if !c.made.Load() {
		return nil
	}
	f, err := os.OpenFile(c.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(c.change(f, func() error { return f.Truncate(size) }), f.Close())
}

// overwrite makes the disk a copy of a file. What has changed is not known then.
func (c *content) overwrite(in *os.File) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.makeLocked(); err != nil {
		return err
	}
	c.exact = false
	out, err := os.OpenFile(c.path, os.O_RDWR|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	return errors.Join(copySparse(out, in), out.Truncate(c.size), out.Close())
}

// change changes the file, which is open for writing, as its only writer if that
// can be had. It is called under the lock.
func (c *content) change(f *os.File, how func() error) error {
	if !c.exact || c.frozen {
		c.exact, c.frozen = false, false
		return how()
	}
	l := leaseAgainstAll(f)
	defer l.release()
	c.exact = l.held() && c.sealed(f)
	err := how()
	if c.exact = c.exact && l.held(); c.exact {
		return errors.Join(err, c.seal(f))
	}
	return err
}

// retire says that the disk is gone: its file is not made any more, and may be
// removed.
func (c *content) retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = true
}

func (c *content) remove() error {
	c.retire()
	if !c.made.Load() {
		return nil
	}
	err := os.Remove(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody was faster
	}
	return err
}

// contentWriter writes a disk.
type contentWriter struct {
	content *content
	file    *os.File
}

// writer opens a disk for writing.
func (c *content) writer() (*contentWriter, error) {
	if err := c.make(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(c.path, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return &contentWriter{content: c, file: f}, nil
}

// WriteAt writes, and notes what changes.
func (w *contentWriter) WriteAt(p []byte, off int64) (n int, err error) {
	c := w.content
	c.mu.Lock()
	defer c.mu.Unlock()
	err = c.change(w.file, func() error {
		n, err = w.file.WriteAt(p, off)
		c.written.set(off, int64(len(p)))
		return err
	})
	return n, err
}

// Close ends writing.
func (w *contentWriter) Close() error { return w.file.Close() }
