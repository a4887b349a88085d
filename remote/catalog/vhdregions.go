package catalog

import (
	"cmp"
	"crypto/sha256"
	"io"
	"iter"
	"slices"

	"github.com/xenbackup/xenbackup/vhd"
)

const (
	footerSize = 512
	// maxGap is more than what alignment leaves between blocks. A longer gap is the
	// place that a block had.
	maxGap = 4096
)

// region is the place of a block in a file.
type region struct {
	block             uint32
	bitmap, data, end int64
}

// regionsOf returns the blocks of a file in the order in which they are there.
func regionsOf(img *vhd.Image) []region {
	regions := make([]region, 0, img.Allocated())
	for i := range img.Blocks() {
		if bitmap, data, ok := img.BlockPlace(i); ok {
			regions = append(regions, region{uint32(i), bitmap, data, data + img.BlockSize()})
		}
	}
	slices.SortFunc(regions, func(a, b region) int { return cmp.Compare(a.bitmap, b.bitmap) })
	return regions
}

// headLength returns where the table ends.
func headLength(img *vhd.Image) int64 {
	h := img.Header()
	return int64(h.TableOffset) + (4*int64(h.MaxTableEntries)+511)/512*512
}

// gapsOf yields what belongs to no structure of a file, ascending.
func gapsOf(img *vhd.Image) iter.Seq[gap] {
	return func(yield func(gap) bool) {
		at := headLength(img)
		for _, r := range regionsOf(img) {
			if r.bitmap > at && !yield(gap{Off: at, Len: r.bitmap - at}) {
				return
			}
			at = max(at, r.end)
		}
		if end := img.FileSize() - footerSize; end > at {
			yield(gap{Off: at, Len: end - at})
		}
	}
}

func sumRange(r io.ReaderAt, off, n int64) (digest, error) {
	h := sha256.New()
	copied, err := io.CopyBuffer(h, io.NewSectionReader(r, off, n), make([]byte, min(n, 1<<20)+1))
	if err == nil && copied < n {
		err = io.ErrUnexpectedEOF
	}
	return digest(h.Sum(nil)), err
}
