package vhd

import (
	"bytes"
	"fmt"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
)

// encodeChunk returns what decodes to content, at the levels that XO uses.
func encodeChunk(filter ChunkFilter, content []byte) ([]byte, error) {
	var out bytes.Buffer
	var err error
	switch filter {
	case FilterNone:
		return content, nil
	case FilterGzip:
		var z *gzip.Writer
		if z, err = gzip.NewWriterLevel(&out, gzip.BestSpeed); err == nil {
			if _, err = z.Write(content); err == nil {
				err = z.Close()
			}
		}
	case FilterBrotli:
		z := brotli.NewWriterLevel(&out, brotli.BestSpeed)
		if _, err = z.Write(content); err == nil {
			err = z.Close()
		}
	default:
		err = ErrUnsupported
	}
	if err != nil {
		return nil, fmt.Errorf("filter %s: %w", filter, err)
	}
	return out.Bytes(), nil
}
