package xva

import (
	"bufio"
	"fmt"
	"io"
)

const (
	// ChunkSize is the size in bytes of every chunk of a disk but the last, as all known exporters make it.
	ChunkSize = 1 << 20
	// MaxChunk is the largest chunk that is read.
	MaxChunk = 16 << 20
	// MaxOVA is the largest ova.xml that is read.
	MaxOVA = 8 << 20
	// maxPadding is how many zeros may follow the end: tar pads to its record size, a few KiB.
	maxPadding = 1 << 20
	// ovaName is the first member.
	ovaName = "ova.xml"
)

// ReaderOptions of [NewReader]; nil and zero fields mean the default.
type ReaderOptions struct {
	// Unlisted accepts disks that ova.xml does not list, with Size -1. No pool imports such an archive, and nothing proves that
	// such a disk is complete.
	Unlisted bool
}

// A Chunk is a piece of a disk that the archive holds; what lies between chunks is zero.
type Chunk struct {
	Disk Disk
	Off  int64  // in the disk, in bytes
	Data []byte // verified; valid until the next call of Next
}

// Stats counts what a Reader has seen.
type Stats struct {
	Chunks     int64 // with data
	Bytes      int64 // of data in them
	Gaps       int64 // chunks left out because they are zero, before a chunk that is there
	Keepalives int64 // chunks of length 0, sent so that a connection does not look dead
	Checksums  Checksum
}

// A Reader reads an archive from a stream, once, in constant memory. It is for one goroutine.
type Reader struct {
	opts        ReaderOptions
	src         *source
	in          io.Reader // the plain archive
	release     func()
	compression Compression
	off         int64 // of in
	member      string
	at          int64 // offset of the member's header

	ova   *OVA
	disks []Disk
	next  int // index in disks of the disk that must come next
	cur   progress
	unit  int64 // length of the first chunk of the archive: the size of each gap
	small bool  // that chunk is a whole disk, so it says nothing of others
	began bool
	buf   []byte
	block [blockSize]byte
	stats Stats
	err   error
}

// progress of the disk that is being read.
type progress struct {
	disk   Disk
	pos    int64 // end of the last chunk
	number int64 // of the last chunk, -1 before the first
}

// NewReader reads the beginning of an archive, up to and with ova.xml. Compression is found out by itself. Close the Reader when it is
// no longer needed. Errors are *FormatError, with the error of r inside when that failed.
func NewReader(r io.Reader, opts *ReaderOptions) (*Reader, error) {
	rd := &Reader{src: &source{r: r}, release: func() {}}
	if opts != nil {
		rd.opts = *opts
	}
	in, kind, release, err := decompress(bufio.NewReaderSize(rd.src, 16<<10))
	if err != nil {
		return nil, rd.fail(rd.src.classify(err))
	}
	rd.in, rd.compression, rd.release = in, kind, release
	if err := rd.begin(); err != nil {
		rd.release()
		return nil, err
	}
	return rd, nil
}

// begin reads ova.xml.
func (r *Reader) begin() error {
	h, end, err := r.header()
	if err != nil || end || h.name != ovaName {
		if r.src.err == nil && !isTruncated(err) && !isCompression(err) {
			return &FormatError{Err: ErrNotXVA}
		}
		return err
	}
	if h.size > MaxOVA {
		return r.fail(ErrTooLarge)
	}
	text, err := r.body(h.size)
	if err != nil {
		return err
	}
	if r.ova, err = parseOVA(text); err != nil {
		return r.fail(fmt.Errorf("%w: %w", ErrOVA, err))
	}
	if r.disks, err = r.ova.Disks(); err != nil {
		return r.fail(err)
	}
	if v := r.ova.Version; v.ExportVSN < 1 && len(r.ova.Objects) > 0 || v.ExportVSN > 2 {
		return r.fail(fmt.Errorf("%w: export_vsn %d", ErrUnsupported, v.ExportVSN))
	}
	r.skipEmpty()
	return nil
}

// OVA returns what ova.xml says.
func (r *Reader) OVA() *OVA { return r.ova }

// Disks returns the disks that ova.xml lists, in the order they come; the archive has all of them when Next has returned io.EOF.
func (r *Reader) Disks() []Disk { return r.disks }

// Compression returns how the archive is compressed.
func (r *Reader) Compression() Compression { return r.compression }

// Stats returns what was seen so far.
func (r *Reader) Stats() Stats { return r.stats }

// Covered reports whether every listed disk was read up to its size. A pool stops reading an import there; the archive is proven
// complete only by io.EOF of Next.
func (r *Reader) Covered() bool {
	return r.next == len(r.disks) && r.cur.pos >= r.cur.disk.Size
}

// Next returns the next chunk, its checksum verified: disks in their order, chunks ascending. At the end it is io.EOF, and that is a
// proof: the archive has its end, every disk that ova.xml lists is covered, nothing but zeros follows, and a compressed stream is
// intact. All other errors are *FormatError, with the error of the underlying reader inside when that failed. Errors are final.
func (r *Reader) Next() (Chunk, error) {
	if r.err != nil {
		return Chunk{}, r.err
	}
	for {
		c, more, err := r.chunk()
		if err == nil && !more {
			err = io.EOF
		}
		if err != nil {
			r.err = err
			return Chunk{}, err
		}
		if len(c.Data) > 0 {
			return c, nil
		}
	}
}

// Close frees the decompressor; it does not close the underlying reader.
func (r *Reader) Close() error {
	if r.err == nil {
		r.err = r.fail(io.ErrClosedPipe)
	}
	r.release()
	r.release, r.buf = func() {}, nil
	return nil
}

// chunk reads one chunk and its checksum. Without data, and with more true, it is one to pass over.
func (r *Reader) chunk() (c Chunk, more bool, err error) {
	h, end, err := r.header()
	switch {
	case err != nil:
		return c, false, err
	case end:
		return c, false, r.finish()
	case r.ova.Version.ExportVSN == 1 && h.name == "checksum.xml": // repeats what was verified
		if h.size > MaxOVA {
			return c, false, r.fail(ErrTooLarge)
		}
		_, err := r.body(h.size)
		return c, true, err
	}
	id, number, err := parseName(h.name)
	if err != nil {
		return c, false, r.fail(err)
	}
	if h.size > MaxChunk {
		return c, false, r.fail(fmt.Errorf("%w: chunk of %d bytes", ErrTooLarge, h.size))
	}
	if err := r.place(id, number, h.size); err != nil {
		return c, false, r.fail(err)
	}
	data, err := r.body(h.size)
	if err != nil {
		return c, false, err
	}
	if err := r.verify(h.name, data); err != nil {
		return c, false, err
	}
	c = Chunk{r.cur.disk, r.cur.pos, data}
	if r.cur.disk.Size >= 0 { // some writers fill up the last chunk
		c.Data = data[:min(int64(len(data)), r.cur.disk.Size-r.cur.pos)]
	}
	r.cur.pos += h.size
	if h.size == 0 {
		r.stats.Keepalives++
		return c, true, nil
	}
	r.stats.Chunks++
	r.stats.Bytes += int64(len(c.Data))
	return c, true, nil
}

// verify reads the checksum that must follow the chunk.
func (r *Reader) verify(name string, data []byte) error {
	at := r.at
	h, end, err := r.header()
	if err != nil {
		return err
	}
	var sum Checksum
	switch {
	case !end && h.name == name+SHA1.suffix():
		sum = SHA1
	case !end && h.name == name+XXHash.suffix():
		sum = XXHash
	default:
		return &FormatError{name, at, fmt.Errorf("%w: there is none", ErrChecksum)}
	}
	if h.size != sum.length() {
		return r.fail(fmt.Errorf("%w: %d bytes long", ErrChecksum, h.size))
	}
	if err := r.read(r.block[:]); err != nil {
		return err
	}
	if got := sum.sum(data); got != string(r.block[:h.size]) {
		return &FormatError{name, at, fmt.Errorf("%w: %s is %s, should be %.40q", ErrChecksum, sum, got, r.block[:h.size])}
	}
	r.stats.Checksums = sum
	return nil
}

// header reads the next header, or the first of the two blocks that end the archive.
func (r *Reader) header() (h header, end bool, err error) {
	r.member, r.at = "", r.off
	if err := r.read(r.block[:]); err != nil {
		return h, false, err
	}
	if r.block == [blockSize]byte{} {
		return h, true, nil
	}
	h, err = parseHeader(&r.block)
	r.member = h.name
	if err != nil {
		return h, false, r.fail(err)
	}
	return h, false, nil
}

// body reads a member's content and its padding into the buffer; the caller has bounded size.
func (r *Reader) body(size int64) ([]byte, error) {
	total := padded(size)
	// A header may promise what the stream does not hold: memory follows what has come.
	for have := int64(0); have < total; {
		want := min(total, max(int64(cap(r.buf)), have+ChunkSize+blockSize))
		if want > int64(cap(r.buf)) {
			r.buf = append(make([]byte, 0, want), r.buf[:have]...)
		}
		r.buf = r.buf[:want]
		if err := r.read(r.buf[have:]); err != nil {
			return nil, err
		}
		have = want
	}
	return r.buf[:size], nil
}

// read fills p.
func (r *Reader) read(p []byte) error {
	n, err := io.ReadFull(r.in, p)
	r.off += int64(n)
	if err != nil {
		return r.fail(r.src.classify(err))
	}
	return nil
}

// finish proves the end, of which the first block was read.
func (r *Reader) finish() error {
	if err := r.read(r.block[:]); err != nil {
		return err
	}
	if r.block != [blockSize]byte{} {
		return r.fail(fmt.Errorf("%w: half an end of archive", ErrHeader))
	}
	if err := r.leave(); err != nil {
		return r.fail(err)
	}
	if r.next < len(r.disks) {
		return r.fail(fmt.Errorf("%w: %s is missing", ErrIncomplete, r.disks[r.next].ID))
	}
	for padding := 0; ; {
		n, err := r.in.Read(r.block[:])
		for _, c := range r.block[:n] {
			if c != 0 {
				return r.fail(ErrTrailingData)
			}
		}
		r.off += int64(n)
		if padding += n; padding > maxPadding {
			return r.fail(ErrTrailingData)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return r.fail(r.src.classify(err))
		}
	}
}

// fail puts the place before err.
func (r *Reader) fail(err error) error { return &FormatError{r.member, r.at, err} }
