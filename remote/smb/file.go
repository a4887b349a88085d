package smb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// File is an open file of an [FS]. It is opened again by itself when the
// connection was lost and nothing was written since the last Sync; otherwise every
// later call is [remote.ErrLost], because the server may have lost what it had not
// synced, and nobody can tell.
type File struct {
	fsys *FS
	ctx  context.Context //nolint:containedctx // governs the whole life, by contract
	name string
	flag int

	reopening chan struct{} // held by who opens the file again

	mu     sync.Mutex
	handle *handle
	id     info // as it was opened; zero for a new file
	writes int  // begun
	flying int  // of them, or about to begin: not answered
	synced int  // of them
	lost   error
	closed bool
}

// handle is the file on one session. It is closed when nothing uses it any more:
// the library must not close a file with requests under way.
type handle struct {
	session *session
	lib     *libFile

	mu     sync.Mutex
	users  int // the File is one until it is closed
	closed chan error
}

func newHandle(s *session, lib *libFile) *handle {
	return &handle{session: s, lib: lib, users: 1, closed: make(chan error, 1)}
}

func (h *handle) use() {
	h.mu.Lock()
	h.users++
	h.mu.Unlock()
}

// release is called in the goroutine of a request: the last one closes the file.
func (h *handle) release() {
	h.mu.Lock()
	h.users--
	last := h.users == 0
	h.mu.Unlock()
	if last {
		_, err := guarded(func() (struct{}, error) { return struct{}{}, h.lib.Close() })
		h.closed <- meaning(err)
	}
}

const (
	createNew = os.O_RDWR | os.O_CREATE | os.O_EXCL
	rewrite   = os.O_RDWR | os.O_TRUNC
)

// OpenFile opens a file. Others may read and write it at the same time, but
// neither rename nor remove it.
func (f *FS) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	if err := checkName("open", name); err != nil {
		return nil, err
	}
	file, err := f.open(ctx, name, flag)
	if err != nil {
		return nil, remote.PathError("open", name, err)
	}
	if flag == rewrite { // not when opening: Samba hides names with a dot, and refuses to overwrite what is hidden
		if err := file.Truncate(0); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	return file, nil
}

func (f *FS) open(ctx context.Context, name string, flag int) (file *File, err error) {
	if name == "." {
		return nil, syscall.EISDIR
	}
	switch flag {
	case os.O_RDONLY, os.O_RDWR, rewrite:
		err = f.find(ctx, name, func(at string) error {
			file, err = f.openExisting(ctx, at, flag)
			return err
		})
		return file, err
	case createNew:
		if !remote.IsTemp(name) {
			if _, err := f.locate(ctx, name); !errors.Is(err, fs.ErrNotExist) {
				if err == nil {
					err = fs.ErrExist
				}
				return nil, err
			}
		}
		return f.create(ctx, name)
	}
	return nil, remote.MarkError(fmt.Errorf("flag %#x", flag), fs.ErrInvalid)
}

func (f *FS) create(ctx context.Context, name string) (file *File, err error) {
	err = f.files.do(ctx, func(s *session, again bool) error {
		lib, err := f.createOn(ctx, s, name, again)
		if err == nil {
			file = f.newFile(ctx, name, createNew, info{}, newHandle(s, lib))
		}
		return err
	})
	return file, err
}

func (f *FS) openExisting(ctx context.Context, name string, flag int) (file *File, err error) {
	err = f.patient(ctx, isBusy, func() error {
		return f.files.do(ctx, func(s *session, _ bool) error {
			lib, err := f.openOn(ctx, s, name, flag&os.O_RDWR)
			if err != nil {
				return err
			}
			id, err := f.identifyOn(ctx, s, lib)
			if err == nil && id.dir {
				err = syscall.EISDIR
			}
			if err != nil {
				f.discard(s, lib)
				return err
			}
			file = f.newFile(ctx, name, flag, id, newHandle(s, lib))
			return nil
		})
	})
	return file, err
}

func (f *FS) newFile(ctx context.Context, name string, flag int, id info, h *handle) *File {
	return &File{fsys: f, ctx: ctx, name: name, flag: flag, id: id, handle: h, reopening: make(chan struct{}, 1)}
}

// discard closes what was opened in vain, without waiting for it.
func (f *FS) discard(s *session, lib *libFile) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_, _ = call(ended, s, request[struct{}]{run: func() (struct{}, error) { return struct{}{}, lib.Close() }})
}

// take returns the handle of the session there is, after opening the file again
// if the one it was opened on has ended.
func (f *File) take(ctx context.Context) (*handle, error) {
	if h, err := f.taken(nil); h != nil || err != nil {
		return h, err
	}
	select {
	case f.reopening <- struct{}{}:
		defer func() { <-f.reopening }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if h, err := f.taken(nil); h != nil || err != nil {
		return h, err
	}
	s, err := f.fsys.files.get(ctx)
	if err != nil {
		return nil, &lostError{err}
	}
	lib, err := f.reopen(ctx, s)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && f.flag != os.O_RDONLY {
			return nil, f.lose(err)
		}
		return nil, err
	}
	h, err := f.taken(newHandle(s, lib))
	if err != nil {
		f.fsys.discard(s, lib)
	}
	return h, err
}

// taken returns the handle, if its session lives, for one more user. fresh
// replaces one whose session has ended.
func (f *File) taken(fresh *handle) (*handle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, fs.ErrClosed
	case f.lost != nil:
		return nil, f.lost
	case fresh != nil:
		f.handle = fresh
	case !f.handle.session.alive():
		if f.writes != f.synced {
			f.lost = lostData(context.Cause(f.handle.session.life))
			return nil, f.lost
		}
		return nil, nil //nolint:nilnil // neither: it has to be opened again
	}
	f.handle.use()
	return f.handle, nil
}

func lostData(cause error) error {
	return remote.MarkError(fmt.Errorf("the connection was lost before all was synced: %w", cause), remote.ErrLost)
}

// lose makes every later call fail.
func (f *File) lose(cause error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost == nil {
		f.lost = lostData(cause)
	}
	return f.lost
}

var errReplaced = errors.New("the file was replaced while the connection was down: open it again")

// reopen opens the file on another session, if it still is the same.
func (f *File) reopen(ctx context.Context, s *session) (*libFile, error) {
	lib, err := f.fsys.openOn(ctx, s, f.name, f.flag&os.O_RDWR)
	if err != nil || f.id == (info{}) {
		return lib, err
	}
	now, err := f.fsys.identifyOn(ctx, s, lib)
	if err == nil && !now.sameFile(f.id) {
		err = remote.MarkError(errReplaced, remote.ErrUnavailable)
	}
	if err != nil {
		f.fsys.discard(s, lib)
		return nil, err
	}
	return lib, nil
}

func (f *FS) identifyOn(ctx context.Context, s *session, lib *libFile) (info, error) {
	return roomy(ctx, s, request[info]{run: func() (info, error) { return identify(lib) }})
}

// perform makes a request about the file, on new sessions too while the file can
// be opened again. prepare makes the request anew for each.
func perform[T any](f *File, ask func(context.Context, *session, request[T]) (T, error), prepare func(*libFile) request[T]) (T, error) {
	var none T
	deadline := time.Now().Add(f.fsys.files.timeout)
	bounded, cancel := context.WithDeadlineCause(f.ctx, deadline, errSilent)
	defer cancel()
	for {
		if f.ctx.Err() != nil {
			return none, context.Cause(f.ctx)
		}
		h, err := f.take(bounded)
		if err == nil {
			r := prepare(h.lib)
			after := r.after
			r.after = func() {
				h.release()
				if after != nil {
					after()
				}
			}
			var value T
			if value, err = ask(f.ctx, h.session, r); err == nil {
				return value, nil
			}
		}
		if !isLost(err) {
			return none, err
		}
		if final := f.fsys.files.final(f.ctx, deadline, err); final != nil {
			return none, final
		}
	}
}

// flies notes that a write may be under way, until landed.
func (f *File) flies() (landed func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flying++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.flying--
	}
}

// begins notes a write that is about to be sent.
func (f *File) begins() {
	f.mu.Lock()
	f.writes++
	f.mu.Unlock()
}

// Stat describes the file as the server has it now.
func (f *File) Stat() (fs.FileInfo, error) {
	i, err := perform(f, roomy[info], func(lib *libFile) request[info] {
		return request[info]{run: func() (info, error) { return identify(lib) }}
	})
	if err != nil {
		return nil, remote.PathError("stat", f.name, err)
	}
	return i.named(f.name), nil
}

// Truncate sets the size.
func (f *File) Truncate(size int64) error {
	if size < 0 {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: fs.ErrInvalid}
	}
	if err := f.writable("truncate"); err != nil {
		return err
	}
	defer f.flies()()
	_, err := perform(f, call[struct{}], func(lib *libFile) request[struct{}] {
		f.begins()
		return request[struct{}]{cost: 1, run: func() (struct{}, error) { return struct{}{}, lib.Truncate(size) }}
	})
	return remote.PathError("truncate", f.name, err)
}

func (f *File) writable(op string) error {
	if f.flag == os.O_RDONLY {
		return &fs.PathError{Op: op, Path: f.name, Err: remote.MarkError(syscall.EBADF, fs.ErrPermission)}
	}
	return nil
}

// Sync asks the server to flush the file (SMB2 FLUSH), which Samba and Windows do
// to the disk. Writes that are under way meanwhile may or may not be in it: they
// count as not synced.
func (f *File) Sync() error {
	f.mu.Lock()
	writes := f.writes
	if f.flying > 0 {
		writes = 0
	}
	f.mu.Unlock()
	_, err := perform(f, call[struct{}], func(lib *libFile) request[struct{}] {
		return request[struct{}]{cost: 1, run: func() (struct{}, error) { return struct{}{}, lib.Sync() }}
	})
	if err != nil {
		return remote.PathError("sync", f.name, err)
	}
	f.mu.Lock()
	f.synced = max(f.synced, writes)
	f.mu.Unlock()
	return nil
}

// Close closes the file. It waits for the server, but not long once the context
// of the file has ended.
func (f *File) Close() error {
	f.mu.Lock()
	again, h := f.closed, f.handle
	f.closed = true
	f.mu.Unlock()
	if again {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	limit := f.fsys.files.timeout
	if f.ctx.Err() != nil {
		limit = min(limit, busyWait)
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(f.ctx), limit, errSilent)
	defer cancel()
	// The File's own share of the handle is given up in a request: it may be the last.
	_, err := call(ctx, h.session, request[struct{}]{run: func() (struct{}, error) { return struct{}{}, nil }, after: h.release})
	if err == nil {
		select {
		case err = <-h.closed:
		case <-ctx.Done():
			err = errSilent
		case <-h.session.life.Done():
			err = h.session.lost()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case isLost(err) && f.lost == nil && f.writes != f.synced:
		err = lostData(context.Cause(h.session.life))
	case isLost(err):
		err = nil // the server closes what was open on a connection that ended
	case errors.Is(err, errSilent):
		err = remote.MarkError(err, remote.ErrUnavailable)
	}
	return remote.PathError("close", f.name, err)
}
