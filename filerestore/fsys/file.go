package fsys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// copySize is what WriteTo reads at once: it stays in the processor's cache.
const copySize = 256 << 10

// File is a regular file that is open for reading. ReadAt, Size and Extents,
// those of its disk.Source, may be used concurrently; Read, Seek and WriteTo
// share a position and belong to one goroutine. It holds nothing that must be
// released.
type File struct {
	disk.Source
	info Info
	pos  int64
}

// NewFile makes a file of the content that a reader found. The size of content
// must be info.Size.
func NewFile(info *Info, content disk.Source) *File { return &File{Source: content, info: *info} }

// Info describes the file.
func (f *File) Info() Info { return f.info }

// Read implements io.Reader.
func (f *File) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF { //nolint:errorlint // io.ReaderAt promises io.EOF itself
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		offset += f.Size()
	default:
		return 0, fs.ErrInvalid
	}
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	f.pos = offset
	return offset, nil
}

// WriteTo implements io.WriterTo: it writes all from the position to the end,
// zeros for holes, without reading the holes.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	start := f.pos
	if start >= f.Size() {
		return 0, nil
	}
	buf := make([]byte, min(copySize, f.Size()-start))
	for e, err := range f.Extents(context.Background(), start, f.Size()-start) {
		if err != nil {
			return f.pos - start, err
		}
		if e.Kind != disk.Data {
			clear(buf)
		}
		for f.pos < e.End() {
			p := buf[:min(int64(len(buf)), e.End()-f.pos)]
			if e.Kind == disk.Data {
				if n, err := f.ReadAt(p, f.pos); n < len(p) {
					return f.pos - start, fmt.Errorf("fsys: read at %d: %w", f.pos, unexpected(err))
				}
			}
			n, err := w.Write(p)
			f.pos += int64(n)
			if err != nil {
				return f.pos - start, err
			}
		}
	}
	return f.pos - start, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Close implements io.Closer. There is nothing to release.
func (f *File) Close() error { return nil }
