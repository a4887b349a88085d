package catalog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// batch is how many pieces are read between two checkpoints: 256 MiB of them.
const batch = 128

func sumOf(data []byte) digest { return sha256.Sum256(data) }

// finding is what a worker found in a piece.
type pieceFinding struct {
	file       string
	block, off int64
	err        error
}

// pieces runs check for each piece of a file that is left to do, several at a time,
// and adds what they find in the order of the file.
func (k *diskCheck) pieces(ctx context.Context, n int, check func(ctx context.Context, i int) *pieceFinding) error {
	for from := k.f.Next; from < n; from += batch {
		to := min(n, from+batch)
		found := make([]*pieceFinding, to-from)
		var workers sync.WaitGroup
		next := make(chan int)
		for range min(k.opts.Workers, to-from) {
			workers.Go(func() {
				for i := range next {
					found[i-from] = check(ctx, i)
				}
			})
		}
		for i := from; i < to && ctx.Err() == nil; i++ {
			next <- i
		}
		close(next)
		workers.Wait()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, p := range found {
			if p != nil {
				k.f.fail(p.file, p.block, p.off, p.err)
			}
		}
		k.f.Next = to
		current := k.f.VerifiedFile
		k.state.Current = &current
		if to < n {
			if err := k.checkpoint(); err != nil {
				return &stopError{err}
			}
		}
	}
	return nil
}

// checkFile reads a disk that is a file.
func (k *diskCheck) checkFile(ctx context.Context, d *diskFile) error {
	img := d.img
	if e := k.e; e != nil && e.Disk.HeadLength > 0 {
		if img.FileSize() != e.Disk.FileSize {
			k.f.fail(k.f.File, -1, -1, fmt.Errorf("%d bytes, where %d were written: %w", img.FileSize(), e.Disk.FileSize, errShort))
		}
		if err := k.wait(ctx, min(e.Disk.HeadLength, img.FileSize())); err != nil {
			return err
		}
		sum, err := sumRange(d.file, 0, e.Disk.HeadLength)
		if err == nil && sum != e.Disk.Head {
			err = fmt.Errorf("footer, header or table: %w", errNotWritten)
		}
		if err != nil {
			k.f.fail(k.f.File, -1, 0, err)
		}
	}
	if !k.atLeast(VerifyData) {
		return nil
	}
	r := &fileReader{diskCheck: k, file: d.file, regions: regionsOf(img), head: headLength(img), end: img.FileSize() - footerSize, used: k.used()}
	r.buffers.New = func() any {
		b := make([]byte, img.BlockSize()+footerSize+maxGap)
		return &b
	}
	if err := k.lacks(img); err != nil {
		k.f.fail(k.f.File, -1, -1, err)
	}
	return k.pieces(ctx, len(r.regions)+1, r.check)
}

// lacks tells that a block which was written is not listed.
func (k *diskCheck) lacks(img *vhd.Image) error {
	if k.e == nil {
		return nil
	}
	for index := range k.e.blocks {
		if !img.HasBlock(int(index)) {
			return fmt.Errorf("block %d is missing: %w", index, errNotWritten)
		}
	}
	return nil
}

// used returns the gaps that are not zeros, by offset.
func (k *diskCheck) used() map[int64]gap {
	used := map[int64]gap{}
	if k.e != nil {
		for _, g := range k.e.Disk.Used {
			used[g.Off] = g
		}
	}
	return used
}

// fileReader reads the blocks of a file, each with what lies before it, in the order
// of the file.
type fileReader struct {
	*diskCheck
	file      io.ReaderAt
	regions   []region
	head, end int64
	used      map[int64]gap
	buffers   sync.Pool
}

// check reads one piece: a block, or after all of them what lies before the footer.
func (r *fileReader) check(ctx context.Context, i int) *pieceFinding {
	at := r.head
	if i > 0 {
		at = max(at, r.regions[i-1].end)
	}
	if i == len(r.regions) {
		return r.checkGap(ctx, at, r.end, nil)
	}
	reg := r.regions[i]
	buf, _ := r.buffers.Get().(*[]byte)
	defer r.buffers.Put(buf)
	from := at
	if reg.bitmap-at >= maxGap || reg.bitmap < at {
		from = reg.bitmap
	}
	data := (*buf)[:min(reg.end, r.end)-from]
	fail := func(off int64, err error) *pieceFinding {
		return &pieceFinding{r.f.File, int64(reg.block), off, err}
	}
	if err := r.wait(ctx, int64(len(data))); err != nil {
		return nil // the end of ctx
	}
	if n, err := r.file.ReadAt(data, from); n < len(data) {
		return fail(from+int64(n), err)
	}
	content := data[reg.data-from:]
	sum, known := digest{}, false
	if r.e != nil {
		sum, known = r.e.blocks[reg.block]
	}
	switch {
	case !known && r.e != nil && r.e.Disk.Complete:
		return fail(reg.bitmap, fmt.Errorf("it was not written: %w", errNotWritten))
	case !known:
	case slices.ContainsFunc(data[reg.bitmap-from:reg.data-from], func(b byte) bool { return b != 0xff }):
		return fail(reg.bitmap, fmt.Errorf("bitmap: %w", errNotWritten))
	case sumOf(content) != sum:
		return fail(reg.data, errNotWritten)
	}
	if from < reg.bitmap {
		return r.checkGap(ctx, at, reg.bitmap, data[:reg.bitmap-from])
	}
	return r.checkGap(ctx, at, reg.bitmap, nil)
}

// checkGap looks at what belongs to no structure; data is what is there, nil if it
// is still to be read.
func (r *fileReader) checkGap(ctx context.Context, from, to int64, data []byte) *pieceFinding {
	if r.e == nil || !r.e.Disk.Gaps || to <= from {
		return nil
	}
	fail := func(err error) *pieceFinding { return &pieceFinding{r.f.File, -1, from, err} }
	if g, ok := r.used[from]; ok && g.Len == to-from {
		if data == nil && r.wait(ctx, to-from) != nil {
			return nil // the end of ctx
		}
		if sum, err := sumRange(r.file, from, to-from); err != nil {
			return fail(err)
		} else if sum != g.Digest {
			return fail(errNotWritten)
		}
		return nil
	}
	if data == nil {
		data = make([]byte, min(to-from, 1<<20))
		if r.wait(ctx, int64(len(data))) != nil {
			return nil // the end of ctx
		}
		if n, err := r.file.ReadAt(data, from); n < len(data) {
			return fail(err)
		}
	}
	if i := slices.IndexFunc(data, func(b byte) bool { return b != 0 }); i >= 0 {
		return &pieceFinding{r.f.File, -1, from + int64(i), errNotZero}
	}
	return nil
}

// checkDirectory reads a disk that is kept as a directory.
func (k *diskCheck) checkDirectory(ctx context.Context, img *vhd.Image) error {
	dir := path.Dir(k.f.File)
	target, err := vhd.AliasTarget(ctx, &diskDir{k.fsys(), dir}, path.Base(k.f.File))
	if err != nil {
		return err
	}
	if err := k.lacks(img); err != nil {
		k.f.fail(path.Join(dir, target, "bat"), -1, -1, err)
	}
	if !k.atLeast(VerifyData) {
		return nil
	}
	blocks := slices.Collect(img.Blocks())
	return k.pieces(ctx, len(blocks), func(ctx context.Context, i int) *pieceFinding {
		name := path.Join(dir, target, blockName(uint32(blocks[i])))
		if err := k.checkBlock(ctx, img, name, uint32(blocks[i])); err != nil && ctx.Err() == nil {
			return &pieceFinding{name, int64(blocks[i]), -1, err}
		}
		return nil
	})
}

// maxBlockFile bounds the file of a block: what does not compress is longer than it was.
const maxBlockFile = 4 << 20

func (k *diskCheck) checkBlock(ctx context.Context, img *vhd.Image, name string, index uint32) error {
	if err := k.wait(ctx, disk.BlockSize); err != nil {
		return err
	}
	known := false
	var sum digest
	if k.e != nil {
		sum, known = k.e.blocks[index]
	}
	if known {
		data, err := remote.ReadFile(ctx, k.fsys(), name, maxBlockFile)
		if err == nil && sumOf(data) != sum {
			err = errNotWritten
		}
		return err
	}
	if k.e != nil && k.e.Disk.Complete {
		return fmt.Errorf("it was not written: %w", errNotWritten)
	}
	off := int64(index) * img.BlockSize()
	data := make([]byte, min(img.BlockSize(), img.Size()-off))
	n, err := img.ReadAt(data, off)
	if errors.Is(err, io.EOF) && n == len(data) || errors.Is(err, vhd.ErrParentNeeded) {
		err = nil
	}
	return err
}
