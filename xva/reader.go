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
	// MaxOVA is the largest ova.xml that is read; more than 131,072 values in it are refused too.
	MaxOVA = 8 << 20
	// maxPadding is how many zeros may follow the end: tar pads to its record size, a few KiB.
	maxPadding = 1 << 20
	// maxKeepalives is what a host sends in two years and a half: one every five seconds.
	maxKeepalives = 1 << 24
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
	walk

	src         *source
	in          io.Reader // the plain archive
	release     func()
	compression Compression
	off         int64  // of in
	member      []byte // name of the one that was begun last
	at          int64  // offset of its header
	chunk       []byte // name of the chunk

	ova   *OVA
	scan  *scanner // passes over the data instead of reading it; nil otherwise
	buf   []byte
	block [blockSize]byte
	part  *DiskReader // of NextDisk
	held  *Chunk      // that ended it, and begins the next
	err   error
}

// NewReader reads the beginning of an archive, up to and with ova.xml. Compression is found out by itself. Close the Reader when it is
// no longer needed. Errors are *FormatError, with the error of r inside when that failed.
func NewReader(r io.Reader, opts *ReaderOptions) (*Reader, error) {
	rd := &Reader{src: &source{r: r}, release: func() {}}
	if opts != nil {
		rd.unlisted = opts.Unlisted
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
	if err != nil || end || string(h.name) != ovaName {
		if r.src.err == nil && !isTruncated(err) && !isCompression(err) {
			return &FormatError{Err: ErrNotXVA}
		}
		return err
	}
	if h.size > MaxOVA {
		return r.fail(ErrTooLarge)
	}
	if err := r.body(h.size, &r.buf); err != nil {
		return err
	}
	if r.ova, err = parseOVA(r.buf[:h.size]); err != nil {
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
func (r *Reader) Covered() bool { return r.covered() }

// Next returns the next chunk, its checksum verified: disks in their order, chunks ascending. At the end it is io.EOF, and that is a
// proof: the archive has its end, every disk that ova.xml lists is covered, nothing but zeros follows, and a compressed stream is
// intact. All other errors are *FormatError, with the error of the underlying reader inside when that failed. Errors are final.
func (r *Reader) Next() (Chunk, error) {
	if r.err != nil {
		return Chunk{}, r.err
	}
	for {
		p, err := r.readPiece(&r.buf)
		if err == nil {
			err = p.verify()
		}
		if err != nil {
			r.err = err
			return Chunk{}, err
		}
		if p.used > 0 {
			return p.chunk(), nil
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

// piece is a chunk with its checksum, not yet compared.
type piece struct {
	disk   Disk
	off    int64
	used   int64  // bytes of data that are of the disk
	data   []byte // as the archive has it, with what fills up a last chunk
	sum    digest
	number int64
	at     int64 // offset of its header in the archive
}

func (p *piece) chunk() Chunk { return Chunk{p.disk, p.off, p.data[:p.used]} }

// verify compares the checksum.
func (p *piece) verify() error {
	if ok, got := p.sum.matches(p.data); !ok {
		return p.fail(fmt.Errorf("%w: %s is %s, should be %.40q", ErrChecksum, p.sum.kind, got.text(), p.sum.text()))
	}
	return nil
}

func (p *piece) fail(err error) error {
	return &FormatError{string(appendNumber([]byte(p.disk.ID+"/"), p.number)), p.at, err}
}

// readPiece reads a chunk into buf, and its checksum. io.EOF is the proven end.
func (r *Reader) readPiece(buf *[]byte) (piece, error) {
	h, end, err := r.header()
	if err == nil && !end && r.ova.Version.ExportVSN == 1 && string(h.name) == "checksum.xml" { // repeats what each chunk has; it is the last
		if h.size > MaxOVA {
			return piece{}, r.fail(ErrTooLarge)
		}
		if err = r.content(h.size, buf); err == nil {
			h, end, err = r.header()
		}
		if err == nil && !end {
			return piece{}, r.fail(ErrMember)
		}
	}
	if err == nil && end {
		err = r.finish()
	}
	if err != nil {
		return piece{}, err
	}
	id, number, ok := parseName(h.name)
	if !ok {
		return piece{}, r.fail(ErrMember)
	}
	if h.size > MaxChunk {
		return piece{}, r.fail(fmt.Errorf("%w: chunk of %d bytes", ErrTooLarge, h.size))
	}
	if err := r.place(id, number, h.size); err != nil {
		return piece{}, r.fail(err)
	}
	p := piece{disk: r.cur.disk, off: r.cur.pos, number: number, at: r.at}
	if err := r.content(h.size, buf); err != nil {
		return p, err
	}
	if r.scan == nil {
		p.data = (*buf)[:h.size]
	}
	if p.sum, err = r.checksum(&p); err != nil {
		return p, err
	}
	if p.used = r.advance(h.size); r.stats.Keepalives > maxKeepalives {
		return p, p.fail(fmt.Errorf("%w: more than %d chunks of length 0", ErrTooLarge, maxKeepalives))
	}
	return p, nil
}

// checksum reads the one that must follow a chunk.
func (r *Reader) checksum(p *piece) (d digest, err error) {
	r.chunk = append(r.chunk[:0], r.member...)
	h, end, err := r.header()
	if err != nil {
		return d, err
	}
	kind, ok := checksumOf(h.name, r.chunk)
	if end || !ok {
		return d, p.fail(fmt.Errorf("%w: there is none", ErrChecksum))
	}
	if h.size != kind.length() {
		return d, r.fail(fmt.Errorf("%w: %d bytes long", ErrChecksum, h.size))
	}
	if err := r.read(r.block[:]); err != nil {
		return d, err
	}
	d.kind, d.n = kind, uint8(h.size)
	copy(d.hex[:], r.block[:h.size])
	r.stats.Checksums = kind
	return d, nil
}

// header reads the next header, or the first of the two blocks that end the archive.
func (r *Reader) header() (h header, end bool, err error) {
	r.member, r.at = r.member[:0], r.off
	if err := r.read(r.block[:]); err != nil {
		return h, false, err
	}
	if r.block == [blockSize]byte{} {
		return h, true, nil
	}
	h, err = parseHeader(&r.block)
	r.member = append(r.member, h.name...)
	if err != nil {
		return h, false, r.fail(err)
	}
	return h, false, nil
}

// content reads a member as body does, or passes over it.
func (r *Reader) content(size int64, buf *[]byte) error {
	if r.scan == nil {
		return r.body(size, buf)
	}
	if padded(size) > r.scan.size-r.off {
		return r.fail(r.src.classify(io.ErrUnexpectedEOF))
	}
	r.scan.skip(padded(size))
	r.off += padded(size)
	return nil
}

// body reads a member's content and its padding into buf, which grows; the caller has bounded size.
func (r *Reader) body(size int64, buf *[]byte) error {
	total := padded(size)
	// A header may promise what the stream does not hold: memory follows what has come.
	for have := int64(0); have < total; {
		b := *buf
		want := min(total, max(int64(cap(b)), 2*have, have+ChunkSize+blockSize))
		if want > int64(cap(b)) {
			b = append(make([]byte, 0, want), b[:have]...)
		}
		*buf = b[:want]
		if err := r.read((*buf)[have:]); err != nil {
			return err
		}
		have = want
	}
	return nil
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

// finish proves the end, of which the first block was read. It is io.EOF then.
func (r *Reader) finish() error {
	if err := r.read(r.block[:]); err != nil {
		return err
	}
	if r.block != [blockSize]byte{} {
		return r.fail(fmt.Errorf("%w: half an end of archive", ErrHeader))
	}
	if err := r.end(); err != nil {
		return r.fail(err)
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
			return io.EOF
		}
		if err != nil {
			return r.fail(r.src.classify(err))
		}
	}
}

// fail puts the place before err.
func (r *Reader) fail(err error) error { return &FormatError{string(r.member), r.at, err} }
