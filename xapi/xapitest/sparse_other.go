//go:build !linux

package xapitest

import (
	"io"
	"iter"
	"os"
)

// copySparse copies src to the empty file dst.
func copySparse(dst, src *os.File) error {
	_, err := io.Copy(dst, src)
	return err
}

// dataExtents yields all of a file, since holes cannot be told here.
func dataExtents(_ *os.File, size int64) iter.Seq2[extent, error] {
	return func(yield func(extent, error) bool) {
		if size > 0 {
			yield(extent{0, size}, nil)
		}
	}
}

func allocatedBytes(info os.FileInfo) int64 { return info.Size() }
