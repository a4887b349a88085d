package xva

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// NewCompressor returns a writer that compresses to w, on all processors; Close ends the compressed stream, waits for what is under way,
// and does not close w. Call it after an error, too. The compressor of None passes everything on. It is for one goroutine.
//
// It is the fastest level. Gzip is one member; Zstd is a frame for every MiB, one after another, which every decoder reads on through.
// One piece of 1 MiB for each processor, at most four, and one more are in memory at a time, before and after compression.
func NewCompressor(w io.Writer, kind Compression) (io.WriteCloser, error) {
	switch kind {
	case None:
		return nopCloser{w}, nil
	case Gzip:
		return newCompressor(w, func() (packer, error) { return newDeflater() }, &gzipFrame{}), nil
	case Zstd:
		return newCompressor(w, func() (packer, error) { return newZstdPacker() }, noFrame{}), nil
	}
	return nil, fmt.Errorf("xva: unknown compression %d", kind)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

const (
	packSize = 1 << 20  // what is compressed at a time
	dictSize = 32 << 10 // of deflate: how far back it looks
)

// packer compresses one piece after another, each for itself.
type packer interface {
	// pack appends data, compressed, to dst. dict is what came before data, as far as it may be referred to.
	pack(dst, dict, data []byte, last bool) ([]byte, error)
}

// framing is what surrounds the pieces.
type framing interface {
	head() []byte
	add(data []byte) // is told of everything in order
	tail() []byte
}

// parcel is a piece on its way.
type parcel struct {
	buf  []byte // dict, then data
	dict int
	out  []byte
	err  error
	pack packer
	done chan struct{}
}

// compressor compresses several pieces at a time and writes them in order.
type compressor struct {
	w         io.Writer
	newPacker func() (packer, error)
	frame     framing
	cur       *parcel
	free      []*parcel
	queue     []*parcel // under way, oldest first
	depth     int
	begun     bool
	err       error
}

func newCompressor(w io.Writer, newPacker func() (packer, error), frame framing) *compressor {
	return &compressor{w: w, newPacker: newPacker, frame: frame, depth: min(runtime.GOMAXPROCS(0), 4) + 1}
}

var errClosed = errors.New("xva: compressor is closed")

// Write takes p; it may be written later.
func (c *compressor) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) && c.err == nil {
		if c.cur == nil {
			c.begin(nil)
			continue
		}
		b := c.cur
		n := min(len(p)-done, packSize-(len(b.buf)-b.dict))
		b.buf = append(b.buf, p[done:done+n]...)
		if done += n; len(b.buf)-b.dict == packSize {
			c.send(false)
			c.begin(b.buf[len(b.buf)-dictSize:])
		}
	}
	return done, c.err
}

// begin begins a piece with what came before it.
func (c *compressor) begin(dict []byte) {
	if len(c.queue) == c.depth {
		c.receive()
	}
	if n := len(c.free); n > 0 {
		c.cur, c.free = c.free[n-1], c.free[:n-1]
	} else {
		pack, err := c.newPacker()
		if err != nil {
			c.fail(err)
			return
		}
		c.cur = &parcel{pack: pack, buf: make([]byte, 0, dictSize+packSize), done: make(chan struct{}, 1)}
	}
	c.cur.buf = append(c.cur.buf[:0], dict...)
	c.cur.dict = len(dict)
}

// send gives the piece to a goroutine, which receive waits for.
func (c *compressor) send(last bool) {
	b := c.cur
	c.cur = nil
	c.frame.add(b.buf[b.dict:])
	c.queue = append(c.queue, b)
	go func() {
		b.out, b.err = b.pack.pack(b.out[:0], b.buf[:b.dict], b.buf[b.dict:], last)
		b.done <- struct{}{}
	}()
}

// receive writes the oldest piece.
func (c *compressor) receive() {
	b := c.queue[0]
	c.queue = c.queue[1:]
	<-b.done
	c.fail(b.err)
	if !c.begun {
		c.begun = true
		c.write(c.frame.head())
	}
	c.write(b.out)
	c.free = append(c.free, b)
}

func (c *compressor) write(p []byte) {
	if c.err == nil && len(p) > 0 {
		_, err := c.w.Write(p)
		c.fail(err)
	}
}

func (c *compressor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// Close ends the stream.
func (c *compressor) Close() error {
	if errors.Is(c.err, errClosed) {
		return nil
	}
	if c.cur == nil && c.err == nil {
		c.begin(nil)
	}
	if c.cur != nil && c.err == nil {
		c.send(true)
	}
	for len(c.queue) > 0 {
		c.receive()
	}
	c.write(c.frame.tail())
	err := c.err
	c.err, c.cur, c.free = errClosed, nil, nil
	return err
}

// deflater makes pieces of a deflate stream.
type deflater struct {
	w   *flate.Writer
	out appender
}

func newDeflater() (*deflater, error) {
	d := &deflater{}
	var err error
	d.w, err = flate.NewWriter(&d.out, flate.BestSpeed)
	return d, err
}

func (d *deflater) pack(dst, dict, data []byte, last bool) ([]byte, error) {
	d.out = dst
	d.w.ResetDict(&d.out, dict)
	_, err := d.w.Write(data)
	if err == nil && last {
		err = d.w.Close()
	} else if err == nil {
		err = d.w.Flush() // ends at a whole byte, so that pieces can follow each other
	}
	return d.out, err
}

// appender is a slice as an io.Writer.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// gzipFrame is the header and the trailer of gzip.
type gzipFrame struct{ crc, size uint32 }

func (*gzipFrame) head() []byte {
	return []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255} // deflate, no flags, no time, fastest, unknown system
}

func (g *gzipFrame) add(data []byte) {
	g.crc = crc32.Update(g.crc, crc32.IEEETable, data)
	g.size += uint32(len(data)) // modulo 2^32 by definition
}

func (g *gzipFrame) tail() []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, g.crc), g.size)
}

// zstdPacker makes frames.
type zstdPacker struct{ enc *zstd.Encoder }

func newZstdPacker() (*zstdPacker, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true))
	return &zstdPacker{enc}, err
}

func (z *zstdPacker) pack(dst, before, data []byte, _ bool) ([]byte, error) {
	if len(data) == 0 && len(before) > 0 { // an empty stream has a frame all the same
		return dst, nil
	}
	return z.enc.EncodeAll(data, dst), nil
}

// noFrame surrounds pieces with nothing.
type noFrame struct{}

func (noFrame) head() []byte { return nil }
func (noFrame) add([]byte)   {}
func (noFrame) tail() []byte { return nil }
