package xva

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
)

// What bounds the memory of an index.
const (
	maxRuns   = (128 << 20) / 40
	maxChunks = 1 << 28 // 256 TiB
)

// run is a run of chunks of one length, each right behind the one before it, on the disk and in the archive.
type run struct {
	off    int64  // in the disk, of the first chunk
	at     int64  // in the archive, of its data
	first  int64  // how many chunks of the disk come before
	stride int64  // from chunk to chunk in the archive
	count  uint32 // of chunks
	length uint32 // of the data of each
}

func (r *run) end() int64 { return r.off + int64(r.count)*int64(r.length) }

// chunk says where a chunk of an image lies.
type chunk struct {
	off    int64 // in the disk
	at     int64 // in the archive
	length int64
	index  int64 // among the chunks of the disk that are there
}

// chunk returns the i-th one of a run.
func (r *run) chunk(i int64) chunk {
	return chunk{r.off + i*int64(r.length), r.at + i*r.stride, int64(r.length), r.first + i}
}

// indexer makes the images of an archive from its chunks as they come.
type indexer struct {
	archive *Archive
	r       io.ReaderAt
	verify  bool
	runs    int
	chunks  int64
}

// add takes a chunk of which the header and the checksum were found; end is where it ends on its disk.
func (x *indexer) add(p *piece, end int64) error {
	length := end - p.off
	if x.chunks++; x.chunks > maxChunks {
		return fmt.Errorf("%w: more than %d chunks", ErrTooLarge, maxChunks)
	}
	images := x.archive.images
	if len(images) == 0 || images[len(images)-1].id != p.disk.ID {
		images = append(images, &Image{id: p.disk.ID, size: p.disk.Size, r: x.r, verify: x.verify})
		x.archive.images = images
	}
	m := images[len(images)-1]
	at := p.at + blockSize
	if n := len(m.runs); n > 0 {
		last := &m.runs[n-1]
		stride := at - last.at - int64(last.count-1)*last.stride
		if last.end() == p.off && int64(last.length) == length && (last.count == 1 || stride == last.stride) {
			last.stride = stride
			last.count++
			m.chunks++
			return nil
		}
	}
	if x.runs++; x.runs > maxRuns {
		return fmt.Errorf("%w: more than %d runs of chunks", ErrTooLarge, maxRuns)
	}
	m.runs = append(m.runs, run{off: p.off, at: at, first: m.chunks, count: 1, length: uint32(length)})
	m.chunks++
	return nil
}

// finish adds the disks that have no chunks, because their size is 0.
func (x *indexer) finish(listed []Disk) {
	a := x.archive
	for _, d := range listed {
		if d.Size == 0 && a.Image(d.ID) == nil {
			a.images = append(a.images, &Image{id: d.ID, r: x.r})
		}
	}
	slices.SortFunc(a.images, func(a, b *Image) int { return strings.Compare(a.id, b.id) })
	for _, m := range a.images {
		if m.size < 0 {
			m.size = m.runs[len(m.runs)-1].end()
		}
		m.runs = slices.Clip(m.runs)
		m.proven = make([]atomic.Uint32, (m.chunks+31)/32)
	}
}

// after returns the run that holds off, or with ok false the one behind the gap that holds it.
func (m *Image) after(off int64) (i int, ok bool) {
	i = sort.Search(len(m.runs), func(i int) bool { return m.runs[i].end() > off })
	return i, i < len(m.runs) && m.runs[i].off <= off
}

// find returns the chunk that holds off; in a gap ok is false, and length how much is left of it.
func (m *Image) find(off int64) (c chunk, ok bool) {
	i, ok := m.after(off)
	if !ok {
		return chunk{length: m.gapEnd(i) - off}, false
	}
	r := &m.runs[i]
	return r.chunk((off - r.off) / int64(r.length)), true
}

// gapEnd returns where the gap before run i ends.
func (m *Image) gapEnd(i int) int64 {
	if i < len(m.runs) {
		return min(m.runs[i].off, m.size)
	}
	return m.size
}
