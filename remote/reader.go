package remote

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
)

// Reader reads a range of a file from its begin to its end. Where [Properties]
// say that several reads at once are useful, it reads ahead: up to PipelineDepth
// pieces of IOSize are under way or wait in memory, begun with the first Read and
// sparing short files more than they need. It is not safe for concurrent use.
type Reader struct {
	src   io.ReaderAt
	off   int64 // of the next byte to hand out
	end   int64
	size  int // of a piece
	depth int

	queue  []*readPiece // in order of their offsets, the first being handed out
	next   int64        // the next byte to ask for
	free   [][]byte
	err    error // what all later calls return
	cancel context.CancelFunc
	file   File // to close, nil if the caller does
}

// readPiece is a read under way; done is closed after it.
type readPiece struct {
	buf  []byte // what is not handed out yet
	mem  []byte
	err  error
	done chan struct{}
}

// NewReader reads n bytes of src from off on. A source that ends earlier is
// [io.ErrUnexpectedEOF]. The caller closes the Reader, which waits for reads under
// way, before it closes src.
func NewReader(src io.ReaderAt, off, n int64, p Properties) *Reader {
	size := p.IOSize
	if size <= 0 {
		size = defaultIOSize
	}
	return &Reader{src: src, off: off, next: off, end: off + max(n, 0), size: size, depth: max(p.PipelineDepth, 1)}
}

// OpenReader opens the file name to read all of it. Its Close ends what is read
// ahead and closes the file.
func OpenReader(ctx context.Context, fsys Filesystem, name string) (*Reader, error) {
	ctx, cancel := context.WithCancel(ctx)
	file, err := fsys.OpenFile(ctx, name, os.O_RDONLY)
	if err != nil {
		cancel()
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		cancel()
		return nil, err
	}
	r := NewReader(file, 0, info.Size(), fsys.Properties())
	r.file, r.cancel = file, cancel
	return r, nil
}

// Remaining is the number of bytes that are not read yet.
func (r *Reader) Remaining() int64 { return r.end - r.off }

// Read implements io.Reader. An error is final.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.depth == 1 && r.err == nil {
		return r.direct(p)
	}
	head, err := r.head()
	if err != nil {
		return 0, err
	}
	n := copy(p, head.buf)
	r.advance(head, n)
	return n, nil
}

// WriteTo implements io.WriterTo: it hands on pieces without a copy.
func (r *Reader) WriteTo(w io.Writer) (written int64, err error) {
	if r.depth == 1 {
		return io.CopyBuffer(w, struct{ io.Reader }{r}, make([]byte, min(int64(r.size), max(r.Remaining(), 1))))
	}
	for {
		head, err := r.head()
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		n, err := w.Write(head.buf)
		written += int64(n)
		r.advance(head, n)
		if err != nil {
			return written, err
		}
	}
}

// Close waits for the reads under way. It closes the file that [OpenReader]
// opened, and of others none.
func (r *Reader) Close() error {
	if r.cancel != nil {
		r.cancel()
	}
	for _, piece := range r.queue {
		<-piece.done
	}
	r.queue, r.free = nil, nil
	r.err = fs.ErrClosed
	file := r.file
	r.file = nil
	if file == nil {
		return nil
	}
	return file.Close()
}

// direct reads without a buffer: the storage reads ahead by itself, or nothing
// is gained by it.
func (r *Reader) direct(p []byte) (int, error) {
	if r.off == r.end {
		return 0, r.fail(io.EOF)
	}
	p = p[:min(int64(len(p)), r.end-r.off)]
	n, err := r.src.ReadAt(p, r.off)
	r.off += int64(n)
	r.next = r.off
	if n == len(p) {
		return n, nil
	}
	return n, r.fail(shortRead(err))
}

// head waits for the first piece that has something to hand out.
func (r *Reader) head() (*readPiece, error) {
	if r.err != nil {
		return nil, r.err
	}
	for r.next < r.end && len(r.queue) < r.depth {
		r.ask()
	}
	if len(r.queue) == 0 {
		return nil, r.fail(io.EOF)
	}
	piece := r.queue[0]
	<-piece.done
	if len(piece.buf) == 0 {
		return nil, r.fail(piece.err)
	}
	return piece, nil
}

// ask begins to read one more piece. Close waits for it.
func (r *Reader) ask() {
	piece := &readPiece{done: make(chan struct{})}
	if last := len(r.free) - 1; last >= 0 {
		piece.mem, r.free = r.free[last], r.free[:last]
	} else {
		piece.mem = make([]byte, min(int64(r.size), r.end-r.next))
	}
	off := r.next
	want := min(int64(len(piece.mem)), r.end-off)
	r.next += want
	r.queue = append(r.queue, piece)
	go func() {
		defer close(piece.done)
		n, err := r.src.ReadAt(piece.mem[:want], off)
		piece.buf = piece.mem[:n]
		if int64(n) < want {
			piece.err = shortRead(err)
		}
	}()
}

// advance takes n bytes off the first piece, and the piece away when it is empty
// and whole.
func (r *Reader) advance(piece *readPiece, n int) {
	piece.buf = piece.buf[n:]
	r.off += int64(n)
	if len(piece.buf) == 0 && piece.err == nil {
		r.queue = r.queue[1:]
		r.free = append(r.free, piece.mem)
	}
}

func (r *Reader) fail(err error) error {
	if r.err == nil {
		r.err = err
	}
	return r.err
}

// shortRead is why a ReadAt gave less than there should be.
func shortRead(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
