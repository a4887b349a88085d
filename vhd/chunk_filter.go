package vhd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
)

// ChunkFilter names how the files of a disk that is kept as a directory are
// compressed, as XO writes it in chunk-filters.json.
type ChunkFilter string

// The filters that XO has written.
const (
	FilterNone   ChunkFilter = ""
	FilterGzip   ChunkFilter = "gzip"
	FilterBrotli ChunkFilter = "brotli"
)

const filterFile = "chunk-filters.json"

// readFilter returns the filter of the disk in the directory root. XO uses the
// first of the list alone; no file, or an empty list, is no filter.
func readFilter(ctx context.Context, dir Dir, root string) (ChunkFilter, error) {
	name := path.Join(root, filterFile)
	raw, err := dir.ReadFile(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return FilterNone, nil
	}
	if err != nil {
		return "", err
	}
	var filters []ChunkFilter
	if err := json.Unmarshal(raw, &filters); err != nil {
		return "", &FormatError{Name: name, Struct: "chunk filters", Err: fmt.Errorf("%w: %w", ErrFilter, err)}
	}
	if len(filters) == 0 {
		return FilterNone, nil
	}
	switch filters[0] {
	case FilterNone, FilterGzip, FilterBrotli:
		return filters[0], nil
	}
	return "", &FormatError{Name: name, Struct: "chunk filters", Err: fmt.Errorf("filter %.40q: %w", filters[0], ErrUnsupported)}
}

// decoders keeps decompressors for further use: each holds some MiB.
type decoders struct{ brotli, gzip sync.Pool }

// filterReader gives what a filter made of r. Release gives the decompressor back.
type filterReader struct {
	io.Reader
	release func()
}

func (d *decoders) open(filter ChunkFilter, r io.Reader) (filterReader, error) {
	switch filter {
	case FilterBrotli:
		b, ok := d.brotli.Get().(*brotli.Reader)
		if !ok {
			b = new(brotli.Reader)
		}
		return filterReader{b, func() { d.brotli.Put(b) }}, b.Reset(r)
	case FilterGzip:
		z, ok := d.gzip.Get().(*gzip.Reader)
		if !ok {
			z = new(gzip.Reader)
		}
		return filterReader{z, func() { d.gzip.Put(z) }}, z.Reset(r)
	}
	return filterReader{r, func() {}}, nil
}

// chunkSlack is how much longer than its content a compressed chunk may be.
const chunkSlack = 64 << 10

func boundedSize(f DirFile, most int64) (int64, error) {
	size, err := f.Size()
	if err == nil && size > most+most/8+chunkSlack {
		err = fmt.Errorf("%d bytes for a chunk of at most %d: %w", size, most, ErrTrailingData)
	}
	return size, err
}

// decode fills dst with the decoded content of f. Behind it there may be more,
// at most extra bytes of it, which are proven to decode and dropped. Time and
// memory are bounded by the length of dst and extra, whatever the file holds.
func (d *decoders) decode(f DirFile, filter ChunkFilter, dst []byte, extra int64) error {
	size, err := boundedSize(f, int64(len(dst))+extra)
	if err != nil {
		return err
	}
	file := &fileErrors{r: io.NewSectionReader(f, 0, size)}
	r, err := d.open(filter, file)
	if err == nil {
		defer r.release()
		_, err = io.ReadFull(r, dst)
	}
	if err == nil {
		var n int64
		n, err = io.Copy(io.Discard, io.LimitReader(r, extra+1))
		if err == nil && n > extra {
			return fmt.Errorf("a chunk has more than %d bytes: %w", int64(len(dst))+extra, ErrTrailingData)
		}
	}
	return decodeError(err, filter, file)
}

// decodePrefix fills dst with the beginning of a chunk that decodes to most
// bytes. What follows is not looked at.
func (d *decoders) decodePrefix(f DirFile, filter ChunkFilter, dst []byte, most int64) error {
	size, err := boundedSize(f, most)
	if err != nil {
		return err
	}
	file := &fileErrors{r: io.NewSectionReader(f, 0, size)}
	r, err := d.open(filter, file)
	if err == nil {
		defer r.release()
		_, err = io.ReadFull(r, dst)
	}
	return decodeError(err, filter, file)
}

// fileErrors remembers the error of a file, to tell it from one of a decoder.
type fileErrors struct {
	r   io.Reader
	err error
}

func (f *fileErrors) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

func decodeError(err error, filter ChunkFilter, file *fileErrors) error {
	switch {
	case err == nil:
		return nil
	case file.err != nil:
		return file.err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrTruncated
	}
	return fmt.Errorf("%s: %w: %w", filter, ErrFilter, err)
}
