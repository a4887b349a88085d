package xva

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// WriterOptions of [NewWriter], [Size] and [Write]; nil and zero fields mean the default.
type WriterOptions struct {
	Checksum Checksum  // default SHA1
	ModTime  time.Time // of ova.xml; default the epoch. Chunks have none.
}

// A Writer writes a plain archive forward, as hosts write it: V7 headers, ova.xml first, a checksum after every chunk, two blocks of
// zeros and no padding at the end. For a compressed one give it a [NewCompressor]. It is for one goroutine. After an error it is of
// no more use.
type Writer struct {
	w     io.Writer
	opts  WriterOptions
	disks []Disk
	dense bool // no gaps anywhere
	cur   int  // index in disks
	pos   int64
	block [blockSize]byte
	buf   []byte // of WriteChunk
	size  int64
	err   error
}

var (
	errNoSize   = errors.New("disk of no bytes")
	errChunk    = errors.New("a chunk is 1 MiB at a multiple of 1 MiB, or what is left of its disk")
	errFinished = errors.New("archive is closed")
)

// NewWriter writes ova.xml. The disks that it lists, see [OVA.Disks], must then be written, each once and in that order.
func NewWriter(w io.Writer, ova *OVA, opts *WriterOptions) (*Writer, error) {
	p, err := newPlan(ova, opts)
	if err != nil {
		return nil, err
	}
	wr := &Writer{w: w, opts: p.opts, disks: p.disks, dense: p.dense}
	putHeader(wr.block[:], ovaName, int64(len(p.ova)), p.opts.ModTime)
	wr.write(wr.block[:])
	wr.write(p.ova)
	wr.write(make([]byte, padded(int64(len(p.ova)))-int64(len(p.ova))))
	return wr, wr.err
}

// plan is what a writer knows before the first byte.
type plan struct {
	opts  WriterOptions
	ova   []byte
	disks []Disk
	dense bool
}

func newPlan(ova *OVA, opts *WriterOptions) (*plan, error) {
	p := &plan{opts: WriterOptions{ModTime: time.Unix(0, 0)}}
	if opts != nil {
		p.opts.Checksum = opts.Checksum
		if !opts.ModTime.IsZero() {
			p.opts.ModTime = opts.ModTime
		}
	}
	var err error
	if p.disks, err = ova.Disks(); err != nil {
		return nil, err
	}
	for _, d := range p.disks {
		if d.Size == 0 {
			return nil, fmt.Errorf("xva: %s: %w", d.ID, errNoSize)
		}
	}
	if ova.Version.ExportVSN != 2 {
		return nil, fmt.Errorf("xva: %w: export_vsn %d, only 2 is written", ErrUnsupported, ova.Version.ExportVSN)
	}
	if p.ova, err = ova.Append(nil); err != nil {
		return nil, err
	}
	if len(p.ova) > MaxOVA {
		return nil, fmt.Errorf("xva: ova.xml: %w", ErrTooLarge)
	}
	// Importers take the length of the archive's first chunk for that of every gap.
	p.dense = len(p.disks) > 0 && p.disks[0].Size < ChunkSize
	return p, nil
}

// WriteChunk writes the chunk of disk id at off, a multiple of [ChunkSize]: ChunkSize bytes, or all that is left of the disk. Chunks
// that are zero may be left out, but not the first and the last of a disk, and none at all when the first disk of the archive is
// smaller than ChunkSize. What breaks an order is ErrOrder, what lacks is ErrIncomplete; nothing was written then.
func (w *Writer) WriteChunk(id string, off int64, data []byte) error {
	if w.err != nil {
		return w.err
	}
	if err := w.admit(id, off, int64(len(data))); err != nil {
		return fmt.Errorf("xva: %s: chunk at %d: %w", id, off, err)
	}
	w.buf = w.frame(w.buf, id, off, len(data))
	copy(w.buf[blockSize:], data)
	w.seal(w.buf, len(data))
	w.write(w.buf)
	w.pos = off + int64(len(data))
	return w.err
}

// frame returns buf, made as long as a chunk with all that belongs to it, with its headers.
func (w *Writer) frame(buf []byte, id string, off int64, length int) []byte {
	size := int(padded(int64(length))) + 3*blockSize
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	var room [nameSize]byte
	name := appendNumber(append(append(room[:0], id...), '/'), off/ChunkSize)
	putHeader(buf, name, int64(length), time.Unix(0, 0))
	clear(buf[blockSize+length:])
	name = append(name, w.opts.Checksum.suffix()...)
	putHeader(buf[size-2*blockSize:], name, w.opts.Checksum.length(), time.Unix(0, 0))
	return buf
}

// seal puts in the checksum of the data.
func (w *Writer) seal(frame []byte, length int) {
	w.opts.Checksum.putSum(frame[len(frame)-blockSize:], frame[blockSize:blockSize+length])
}

// admit checks that a chunk may come now, and moves to its disk.
func (w *Writer) admit(id string, off, length int64) error {
	cur, pos := w.cur, w.pos
	if cur < len(w.disks) && w.disks[cur].ID != id && pos > 0 {
		if pos < w.disks[cur].Size {
			return fmt.Errorf("%w: %s ends at %d of %d", ErrIncomplete, w.disks[cur].ID, pos, w.disks[cur].Size)
		}
		cur, pos = cur+1, 0
	}
	switch {
	case cur == len(w.disks) || w.disks[cur].ID != id:
		return fmt.Errorf("%w: not the disk that is next", ErrOrder)
	case off < pos || off >= w.disks[cur].Size:
		return ErrOrder
	case off%ChunkSize != 0 || length != min(ChunkSize, w.disks[cur].Size-off):
		return errChunk
	case off > pos && (pos == 0 || w.dense):
		return fmt.Errorf("%w: the chunk at %d is missing", ErrIncomplete, pos)
	}
	w.cur, w.pos = cur, pos
	return nil
}

// WriteDisk writes the disk id from src: the chunks that hold data by src.Extents, and those that must be there. Chunks are read, by
// several goroutines, and hashed while others are written; all goroutines have ended when it returns. An error of src is wrapped.
func (w *Writer) WriteDisk(ctx context.Context, id string, src disk.Source) error {
	if err := checkSize(w.disks, id, src); err != nil {
		return err
	}
	next, stop := iter.Pull2(offsets(ctx, src, w.dense))
	defer stop()
	frames := relay[frame]{
		feed: func(f *frame) error {
			off, err, ok := next()
			if !ok {
				return errFed
			}
			f.off, f.length = off, int(min(ChunkSize, src.Size()-off))
			return err
		},
		work: func(f *frame) error {
			f.buf = w.frame(f.buf, id, f.off, f.length)
			if n, err := src.ReadAt(f.buf[blockSize:blockSize+f.length], f.off); n < f.length {
				if err == nil || errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return fmt.Errorf("xva: %s: read at %d: %w", id, f.off, err)
			}
			w.seal(f.buf, f.length)
			return nil
		},
		take: func(f *frame) error { return w.writeFrame(id, f) },
	}
	return frames.run(ctx)
}

// frame is a chunk on its way into the archive.
type frame struct {
	off    int64
	length int
	buf    []byte
}

func (w *Writer) writeFrame(id string, f *frame) error {
	if w.err != nil {
		return w.err
	}
	if err := w.admit(id, f.off, int64(f.length)); err != nil {
		return fmt.Errorf("xva: %s: chunk at %d: %w", id, f.off, err)
	}
	w.write(f.buf)
	w.pos = f.off + int64(f.length)
	return w.err
}

// offsets yields those of the chunks that an archive holds.
func offsets(ctx context.Context, src disk.Source, dense bool) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		err := runs(ctx, src, dense, func(first, end int64) error {
			for off := first; off < end; off += ChunkSize {
				if !yield(off, nil) {
					return errStop
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(0, err)
		}
	}
}

// Size returns how many bytes were written.
func (w *Writer) Size() int64 { return w.size }

// Close ends the archive. It is ErrIncomplete when something of a disk is missing; the end is not written then. It does not close the
// underlying writer.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	for i := w.cur; i < len(w.disks); i++ {
		if i > w.cur || w.pos < w.disks[i].Size {
			return fmt.Errorf("xva: %s: %w", w.disks[i].ID, ErrIncomplete)
		}
	}
	w.write(make([]byte, 2*blockSize))
	if w.err != nil {
		return w.err
	}
	w.err = fmt.Errorf("xva: %w", errFinished)
	return nil
}

func (w *Writer) write(p []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(p)
	w.size += int64(n)
	w.err = err
}
