package smb

import (
	"io"
	"io/fs"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
)

var (
	_ remote.File = (*File)(nil)

	// buffers of maxIO: what a request reads or writes must stay its own when its
	// caller has gone.
	buffers = sync.Pool{New: func() any { return new([maxIO]byte) }}
)

// pooledFrom is the size from which a buffer comes from the pool.
const pooledFrom = 64 << 10

type buffer struct {
	data   []byte
	pooled *[maxIO]byte
}

func newBuffer(size int) buffer {
	if size < pooledFrom {
		return buffer{data: make([]byte, size)}
	}
	b := buffers.Get().(*[maxIO]byte) //nolint:forcetypeassert // of New
	return buffer{data: b[:size], pooled: b}
}

func (b buffer) free() {
	if b.pooled != nil {
		buffers.Put(b.pooled)
	}
}

// ReadAt reads with one request for each MiB, all of them in flight at once.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.inPieces("read", p, off, f.read)
}

// WriteAt writes with one request for each MiB, all of them in flight at once.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if err := f.writable("write"); err != nil {
		return 0, err
	}
	return f.inPieces("write", p, off, f.write)
}

// inPieces returns how much was done before the first piece that failed.
func (f *File) inPieces(op string, p []byte, off int64, one func([]byte, int64) (int, error)) (int, error) {
	if off < 0 || off+int64(len(p)) < off {
		return 0, &fs.PathError{Op: op, Path: f.name, Err: fs.ErrInvalid}
	}
	var n int
	var err error
	if len(p) <= maxIO {
		n, err = one(p, off)
	} else {
		n, err = together(p, off, one)
	}
	if err == io.EOF { //nolint:errorlint // as it comes from meaning, and as io.ReaderAt wants it
		return n, io.EOF
	}
	return n, remote.PathError(op, f.name, err)
}

func together(p []byte, off int64, one func([]byte, int64) (int, error)) (int, error) {
	type piece struct {
		n   int
		err error
	}
	pieces := make([]piece, (len(p)+maxIO-1)/maxIO)
	slots := make(chan struct{}, depth)
	var all sync.WaitGroup
	for i := range pieces {
		slots <- struct{}{}
		all.Go(func() {
			at := i * maxIO
			pieces[i].n, pieces[i].err = one(p[at:min(at+maxIO, len(p))], off+int64(at))
			<-slots
		})
	}
	all.Wait()
	n := 0
	for _, piece := range pieces {
		n += piece.n
		if piece.err != nil {
			return n, piece.err
		}
	}
	return n, nil
}

// got is what a read has brought.
type got struct {
	buffer buffer
	n      int
	eof    bool
}

func (f *File) read(p []byte, off int64) (int, error) {
	g, err := perform(f, call[got], func(lib *libFile) request[got] {
		return request[got]{
			cost: creditsFor(len(p)),
			run: func() (got, error) {
				b := newBuffer(len(p))
				n, err := readFull(lib, b.data, off)
				if err != nil && meaning(err) != io.EOF { //nolint:errorlint // bare, as meaning gives it
					b.free()
					return got{}, err
				}
				return got{buffer: b, n: n, eof: err != nil}, nil
			},
			drop: func(g got) { g.buffer.free() },
		}
	})
	if err != nil {
		return 0, err
	}
	defer g.buffer.free()
	n := copy(p, g.buffer.data[:g.n])
	if g.eof {
		return n, io.EOF
	}
	return n, nil
}

func (f *File) write(p []byte, off int64) (int, error) {
	defer f.flies()()
	return perform(f, call[int], func(lib *libFile) request[int] {
		f.begins()
		b := newBuffer(len(p))
		copy(b.data, p)
		return request[int]{
			cost:  creditsFor(len(p)),
			run:   func() (int, error) { return lib.WriteAt(b.data, off) },
			after: b.free,
		}
	})
}

func creditsFor(size int) int64 { return int64((max(size, 1)-1)/creditSize + 1) }
