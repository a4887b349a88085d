package xva

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression of a whole archive.
type Compression uint8

const (
	// None is a plain tar.
	None Compression = iota
	// Gzip is as hosts write it when asked for compression, all of them.
	Gzip
	// Zstd is as newer hosts write it.
	Zstd
)

// String returns none, gzip or zstd.
func (c Compression) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Zstd:
		return "zstd"
	}
	return "unknown"
}

// maxWindow is the largest zstd window that is read, in bytes: twice what zstd uses at its highest ordinary level.
const maxWindow = 16 << 20

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// Sniff tells a compression by the first four bytes of a stream. What is not compressed is None, whatever it is.
func Sniff(start []byte) Compression {
	switch {
	case bytes.HasPrefix(start, zstdMagic):
		return Zstd
	case bytes.HasPrefix(start, gzipMagic):
		return Gzip
	default:
		return None
	}
}

// decompress returns the plain archive and what frees the decompressor. Memory is bounded whatever the stream says.
func decompress(r *bufio.Reader) (io.Reader, Compression, func(), error) {
	start, err := r.Peek(len(zstdMagic))
	if err != nil {
		return nil, None, nil, err
	}
	switch kind := Sniff(start); kind {
	case Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, kind, nil, err
		}
		return z, kind, z.Close, nil
	case Gzip:
		z, err := gzip.NewReader(r)
		return z, kind, func() {}, err
	default:
		return r, kind, func() {}, nil
	}
}

// source remembers how reading it failed, so that an error of the storage is never taken for one of the archive.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// classify tells what err, of reading the plain archive, means.
func (s *source) classify(err error) error {
	switch {
	case s.err != nil:
		return s.err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", ErrTruncated, io.ErrUnexpectedEOF)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	default:
		return fmt.Errorf("%w: %w", ErrCompression, err)
	}
}
